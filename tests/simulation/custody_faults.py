"""Calls of the coordinator that go wrong on purpose: at its ports, at any number, in four ways.

A call fails before it is done, or after it is done and before the answer is there; or the whole
coordinator is killed at one of these two points, and another one starts on what it left.
"""

import asyncio
import contextlib
import inspect
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, cast

import rlp

from custody import coordinator, ports, storage
from custody.api.errors import CallRefused
from custody.chains.evm import endpoint
from custody.chains.evm.transaction import transaction_hash
from custody.following import Followed
from custody.parts import Parts
from custody.requests import State
from custody.service import Service
from policy.encoding import parse_canonical
from policy.errors import OperationalError, QuorumkeepError
from tests.unit.custody_cluster import complete_approval, make_request
from tests.unit.custody_house import FakeChain, House, Running

T = TypeVar("T")
LIVES_MAX = 4
AGAIN_S = 0.02
LOOKS_MAX = 4_500
"""Before a story hangs: each takes as long as the machine is busy, so that a slow one is given its time."""
LIFE_MS = 600_000
SIGNING_S = 5.0
"""A busy machine that gives jobs up whose partial signatures are out begins them without end."""


class Way(Enum):
    """How a call goes wrong."""

    NOT_DONE = "not-done"
    DONE_NOT_TOLD = "done-not-told"
    KILLED_BEFORE = "killed-before"
    KILLED_AFTER = "killed-after"


@dataclass(frozen=True, slots=True)
class Fault:
    """The ``number``-th call (from 1) of a kind, such as ``Node.append``, goes wrong in this way."""

    kind: str
    number: int
    way: Way


def protocols() -> dict[str, type]:
    """Every port of the coordinator by its name; of a chain, what answers for it."""
    ours = {module.__name__: module for module in (ports, storage, endpoint)}
    chains = (ports.Chain, ports.CoinChain, ports.PlaceChain)
    found = [one for module in ours.values() for one in vars(module).values() if one not in chains]
    return {p.__name__: p for p in found if getattr(p, "_is_protocol", False) and p.__module__ in ours}


def kinds() -> list[str]:
    """Every call of every port, as in ``Node.append``."""
    return sorted(
        f"{name}.{method}"
        for name, port in protocols().items()
        for method, _ in inspect.getmembers(port, inspect.iscoroutinefunction)
    )


@dataclass
class Faults:
    """Counts the calls of every kind, and has one of them go wrong."""

    fault: Fault | None = None
    calls: Counter[str] = field(default_factory=Counter)
    killed: asyncio.Event = field(default_factory=asyncio.Event)
    happened: bool = False
    stopping: bool = False

    async def around(self, kind: str, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call, or have it go wrong."""
        if self.killed.is_set():  # a dead process does nothing any more, not even to tidy up
            raise asyncio.CancelledError
        self.calls[kind] += 1
        fault = None if self.stopping else self.fault
        if fault is None or (fault.kind, fault.number) != (kind, self.calls[kind]):
            return await call()
        self.happened = True
        if fault.way in (Way.DONE_NOT_TOLD, Way.KILLED_AFTER):
            await call()
        if fault.way in (Way.KILLED_BEFORE, Way.KILLED_AFTER):
            self.killed.set()
            await asyncio.Event().wait()
        raise OperationalError(f"{kind} fails on purpose: {fault.way.value}")


class Faulty:
    """Any port with faults around its calls; all else passes through."""

    def __init__(self, port: str, inner: object, faults: Faults) -> None:
        self._port, self._inner, self._faults = port, inner, faults

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(member):
            return member

        def call(*arguments: Any, **options: Any) -> Coroutine[Any, Any, Any]:
            return self._faults.around(f"{self._port}.{name}", lambda: member(*arguments, **options))

        return call


class WatchedChain(FakeChain):
    """A chain that keeps the transactions it has mined."""

    def __init__(self) -> None:
        super().__init__()
        self.raw: dict[bytes, bytes] = {}

    async def broadcast(self, raw: bytes) -> None:
        self.raw[transaction_hash(raw)] = raw
        await super().broadcast(raw)

    def paid(self) -> list[int]:
        """The amounts of all mined transactions; a cancellation pays nothing."""
        return [int.from_bytes(rlp.decode(self.raw[tx_hash][1:])[6], "big") for tx_hash in self.mined]


class FaultyHouse(House):
    """A house whose coordinators reach the world through ports that can fail."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder)
        self.chain = self.watched = WatchedChain()
        self.signing_s = SIGNING_S
        self.faults = faults
        self.asked: dict[str, tuple[bytes, bytes]] = {}
        self.later_ms = 0
        self.now_ms = lambda: time.time_ns() // 1_000_000 + self.later_ms

    def build(self) -> Parts:
        nodes, chain = self.nodes, self.chain
        self.nodes = {name: cast("Any", Faulty("Node", node, self.faults)) for name, node in nodes.items()}
        self.chain = cast("Any", Faulty("EvmEndpoint", chain, self.faults))
        self.around_database = lambda inner: cast("Any", Faulty("Database", inner, self.faults))
        try:
            return super().build()
        finally:
            self.nodes, self.chain = nodes, chain

    def jump(self, milliseconds: int) -> None:
        """Let that much time be gone, for everybody."""
        self.later_ms += milliseconds

    def request(self, name: str, amount: int) -> tuple[bytes, bytes]:
        """A request of the shop and its signature: the same bytes whenever it is asked for."""
        if name not in self.asked:
            now = self.now_ms()
            _, body, signature = make_request(name, amount=amount, now_ms=now, expires_ms=now + LIFE_MS)
            self.asked[name] = (body, signature)
        return self.asked[name]

    @contextlib.asynccontextmanager
    async def life(self) -> AsyncIterator[tuple[Running, "asyncio.Task[None]"]]:
        """One coordinator from its start to its sudden end."""
        parts = self.build()
        self.faults.stopping = False
        task: asyncio.Task[None] | None = None
        stored = self.stored()
        try:
            await coordinator.start(parts, self.genesis, followed=Followed(parts.database, stored))
            service = Service(parts)
            task = asyncio.create_task(coordinator.run(parts, None))
            yield Running(parts, service), task
        finally:
            self.faults.stopping = True
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            stored.close()
            parts.database.close()


Story = Callable[["Player"], Awaitable[None]]


@dataclass
class Player:
    """Plays a story against whichever coordinator runs now, as patient clients would."""

    house: FaultyHouse
    running: Running | None = None
    ends: list[BaseException] = field(default_factory=list)

    async def live(self, story: Story) -> None:
        """Play the story to its end through as many lives of the coordinator as that takes."""
        for _ in range(LIVES_MAX):
            if await self._one_life(story):
                return
        raise AssertionError(f"the story has not ended within {LIVES_MAX} lives of the coordinator")

    async def _one_life(self, story: Story) -> bool:
        life = asyncio.create_task(self._live(story))
        killed = asyncio.create_task(self.house.faults.killed.wait())
        try:
            for _ in range(LOOKS_MAX):
                await asyncio.wait((life, killed), return_when=asyncio.FIRST_COMPLETED, timeout=AGAIN_S)
                if life.done() or killed.done():
                    break
            if life.done():
                return life.result()
            assert killed.done(), f"the story hangs: {await self._states()}"
            return False
        finally:
            for task in (life, killed):
                task.cancel()
            await asyncio.gather(life, killed, return_exceptions=True)
            self.house.faults.killed.clear()

    async def _live(self, story: Story) -> bool:
        """Whether the story ended; False when this coordinator did before, as its supervisor sees it."""
        try:
            async with self.house.life() as (self.running, task):
                playing = asyncio.ensure_future(story(self))
                try:
                    await asyncio.wait((playing, task), return_when=asyncio.FIRST_COMPLETED)
                    if playing.done():
                        playing.result()
                        return True
                    self.ends += _flat(task.exception())
                    return False
                finally:
                    playing.cancel()
                    await asyncio.gather(playing, return_exceptions=True)
        except QuorumkeepError as error:  # it did not come up
            self.ends.append(error)
            return False

    @property
    def service(self) -> Service:
        assert self.running is not None
        return self.running.service

    async def patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until there is an answer."""
        while True:
            with contextlib.suppress(OperationalError, CallRefused):
                return await call()
            await asyncio.sleep(AGAIN_S)

    async def key(self) -> None:
        """Have the key made unless it is there."""
        while not self.service_state().keys:
            with contextlib.suppress(CallRefused):
                await self.service.change_key("admin", "hot", change="generate")
            await asyncio.sleep(0)

    def service_state(self) -> Any:
        assert self.running is not None
        return self.running.parts.sequencer.state

    async def submit(self, name: str, amount: int) -> bytes:
        """Hand a request in until it is taken."""
        body, signature = self.house.request(name, amount)
        return (await self.patiently(lambda: self.service.submit(body, signature))).request

    async def reach(self, request: bytes, *states: State) -> None:
        """Wait until a request is in one of these states."""
        while (await self.patiently(lambda: self.service.get(request))).state not in states:  # noqa: ASYNC110
            await asyncio.sleep(AGAIN_S)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that nobody tells of."""
        while not holds():  # noqa: ASYNC110 - the nodes of the test have no events
            await asyncio.sleep(AGAIN_S)

    async def approve(self, request: bytes) -> None:
        """Have an operator approve a request for as long as it waits and the draft is offered."""
        while (await self.patiently(lambda: self.service.get(request))).state is not State.SETTLED:
            for draft in await self.patiently(lambda: self.service.pending("otto")):
                document = cast("dict[str, Any]", parse_canonical(draft, bytes_max=10_000))
                if document["request"] == request.hex():
                    with contextlib.suppress(CallRefused, OperationalError):
                        await self.service.approve(*complete_approval(document, "otto"))
            await asyncio.sleep(AGAIN_S)

    async def _states(self) -> list[tuple[str, str]]:
        if self.running is None:
            return []
        records = await self.running.parts.database.requests()
        return [(record.state, record.error) for record in records]


def _flat(error: BaseException | None) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [one for inner in error.exceptions for one in _flat(inner)]
    return [error] if error is not None else []
