"""Whole nodes in one process: runtime, log, signer, key sessions and a store on disk, without their doors.

In place of the token there is one in memory, in place of the network calls straight into the other nodes, in
place of worker processes ``Machines``. Each call that a node makes to one of these is counted, and one of
them can go wrong: it fails, or the node is killed just before it or just after it.
"""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast

from policy.errors import OperationalError, ProtocolError
from policy.log.merkle import leaf_hash
from policy.roster import COORDINATOR, Roster
from policy.state import KeyRecord
from signer_nodes.adapters.store import NodeStore
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.boot_statement import BootStatement
from signer_nodes.api.errors import Refused, Unreachable
from signer_nodes.api.handler import Caller, Role
from signer_nodes.key_sessions import KeySessions
from signer_nodes.node_log import NodeLog, RolledBack
from signer_nodes.presignatures import PresignaturePool
from signer_nodes.runtime import NodeRuntime, Parts
from signer_nodes.schnorr_wire import FinishItem, Unsigned
from signer_nodes.signing import Signer
from signer_nodes.witness import Identity
from tests.simulation.cluster import SKEW_MS, SimNode
from tests.simulation.machines import MachineRun, Machines
from tests.simulation.memory_token import MemoryToken
from tests.simulation.node_faults import NEVER_S, STORE_EVERY, Faults, Killed, Way, broken
from tests.simulation.world import ORIGIN, public_key, seed

T = TypeVar("T")
Post = Callable[[str, bytes], Awaitable[bytes]]
STARTS_MAX: Final = 4
OF_COORDINATOR: Final = Caller(COORDINATOR, Role.COORDINATOR)


def no_schnorr(key: KeyRecord, items: Sequence[FinishItem]) -> tuple[bytes | Unsigned, ...]:
    """The keys here are for ECDSA."""
    raise NotImplementedError


class Life:
    """One process of a node. Once it is over none of its calls comes through, whatever still runs."""

    def __init__(self, faults: Callable[[], Faults]) -> None:
        self.over = asyncio.Event()
        self._faults, self._loop = faults, asyncio.get_running_loop()
        self._lock, self._ended = threading.RLock(), False
        self._tasks: set[asyncio.Future[Any]] = set()
        self.workers: list[MachineRun] = []

    def end(self) -> None:
        """kill -9. Waits for a call that is under way in a thread."""
        with self._lock:
            self._ended = True
        self._loop.call_soon_threadsafe(self.over.set)

    async def ended(self) -> None:
        """Stop whatever the process still ran."""
        self.end()
        for worker in self.workers:
            worker.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Answer a call; ``Unreachable`` when the process ends meanwhile."""
        task, over = asyncio.ensure_future(work), asyncio.ensure_future(self.over.wait())
        self._tasks.add(task)
        try:
            await asyncio.wait((task, over), return_when=asyncio.FIRST_COMPLETED)
            if self.over.is_set() or self._ended or not task.done():
                raise Unreachable("the node is gone: whether it did what was asked is unknown")
            self._tasks.discard(task)
            return task.result()
        finally:
            over.cancel()

    def around(self, kind: str, call: Callable[[], T]) -> T:
        """A call to disk or token."""
        with self._lock:
            self._check()
            try:
                return self._faults().around(kind, call)
            except Killed:
                self.end()
                raise

    async def around_later(self, kind: str, call: Callable[[], Awaitable[T]]) -> T:
        """A call to a peer or a worker."""
        self._check()
        way = self._faults().way(kind)
        if way not in (None, Way.DONE_NOT_TOLD, Way.KILLED_AFTER):
            raise self._broken(kind, way)
        answer = await call()
        self._check()
        if way is not None:
            raise self._broken(kind, way)
        return answer

    def _broken(self, kind: str, way: Way | None) -> BaseException:
        error = broken(kind, way or Way.NOT_DONE)
        if isinstance(error, Killed):
            self.end()
        return error

    def _check(self) -> None:
        if self._ended:
            raise Killed


class Mortal:
    """A port as one life of a node has it. A worker that is started through it is one too."""

    def __init__(self, port: str, inner: object, life: Life) -> None:
        self._port, self._inner, self._life = port, inner, life

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._inner, name)
        kind = f"{self._port}.{name}"
        if inspect.iscoroutinefunction(member):

            async def later(*arguments: Any, **options: Any) -> Any:
                answer = await self._life.around_later(kind, lambda: member(*arguments, **options))
                if not isinstance(answer, MachineRun):
                    return answer
                self._life.workers.append(answer)
                return Mortal("Run", answer, self._life)

            return later
        if not callable(member) or kind == "Run.cancel":  # a worker ends with its node anyway
            return member

        def call(*arguments: Any, **options: Any) -> Any:
            return self._life.around(kind, lambda: member(*arguments, **options))

        return call


class Answers(Protocol):
    """Somebody on the network."""

    async def ask(self, method: str, caller: Caller, *, call: Any) -> Any: ...


@dataclass(frozen=True)
class Lines:
    """A node's links to the others: the port ``Peers``."""

    me: "Node"
    others: Mapping[str, Answers]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.others))

    async def head(self, peer: str) -> pb.HeadReply:
        return cast("pb.HeadReply", await self._ask(peer, "head", pb.HeadQuery()))

    async def entries(self, peer: str, start: int, *, stop: int) -> list[bytes]:
        reply = await self._ask(peer, "entries", pb.EntriesQuery(start=start, stop=stop))
        return list(reply.entries)

    async def send_protocol(self, peer: str, session: bytes, *, payload: bytes) -> None:
        if self.me.post is not None:
            payload = await self.me.post(peer, payload)
        await self._ask(peer, "protocol", pb.Protocol(session=session, payload=payload))

    async def boot_id(self, peer: str) -> bytes:
        other = self.others[peer]
        if not isinstance(other, Node) or other.runtime is None:
            raise Unreachable(f"{peer} has not shown its boot statement")
        return other.boot.boot_id

    async def _ask(self, peer: str, method: str, call: Any) -> Any:
        caller = Caller(self.me.name, Role.PEER, self.me.boot)
        return await self.others[peer].ask(method, caller, call=call)


@dataclass
class WitnessLine:
    """The witness, as far as nodes that start ask it."""

    witness: SimNode

    async def ask(self, method: str, caller: Caller, *, call: Any) -> Any:
        witness = self.witness
        if method == "head":
            return pb.HeadReply(head=witness.head, quorum=witness.quorum, size=witness.size)
        return pb.EntriesReply(entries=witness.entries[call.start : call.stop])


@dataclass
class Node:
    """A node's machine: disk and token stay, processes come and go.

    ``post`` sees each protocol message it sends, and may keep it a while or send something else.
    ``sessions`` is for bad nodes.
    """

    name: str
    folder: Path
    genesis: bytes
    roster: Roster
    clock_ms: Callable[[], int]
    machines: Machines
    token: MemoryToken
    faults: Faults = field(default_factory=Faults)
    network: dict[str, Answers] = field(default_factory=dict)
    post: Post | None = None
    sessions: type[KeySessions] = KeySessions
    life: Life | None = None
    boots: int = 0
    trouble: list[str] = field(default_factory=list)

    runtime: NodeRuntime | None = None  # None until it listens
    keys: KeySessions = field(init=False)
    pool: PresignaturePool = field(init=False)
    store: NodeStore = field(init=False)

    @property
    def listens(self) -> bool:
        """Whether its process runs."""
        return self.runtime is not None and self.life is not None and not self.life.over.is_set()

    @property
    def boot(self) -> BootStatement:
        """What it states of its present boot."""
        tls = seed(f"tls {self.name} {self.boots}")
        return BootStatement(
            ORIGIN, self.name, self.boots, seed(f"boot {self.name} {self.boots}"), tls, 0, bytes(32)
        )

    async def up(self) -> None:
        """Start it, as its supervisor does, until it stays up."""
        for _ in range(STARTS_MAX):
            if self.listens:
                return
            await self.down()
            self.life = Life(lambda: self.faults)
            try:
                await self.life.run(self._start(self.life))
            except RolledBack:
                raise
            except (OperationalError, ProtocolError) as error:
                self.trouble.append(str(error))
                await self.down()
        assert self.life is not None, f"{self.name} does not start: {self.trouble}"

    async def down(self) -> None:
        """The process is gone, with all it had in memory."""
        if self.life is not None:
            await self.life.ended()
            self.store._connection.close()  # what waited for company is lost
        comparing = self.runtime._comparing if self.runtime is not None else []
        for task in comparing:
            task.cancel()
        await asyncio.gather(*comparing, return_exceptions=True)
        self.life = self.runtime = None

    async def ask(self, method: str, caller: Caller, *, call: Any) -> Any:
        """One call to it: its answer, also ``Refused`` for what failed inside it, or ``Unreachable``."""
        if self.life is None or self.runtime is None or not self.listens:
            raise Unreachable(f"{self.name} is down")
        try:
            return await self.life.run(getattr(self.runtime, method)(caller, call))
        except (Unreachable, Refused):
            raise
        except (OperationalError, ProtocolError) as error:
            self.trouble.append(str(error))
            raise Refused("failed", str(error)) from error
        except Killed:
            raise Unreachable(f"{self.name} is gone") from None

    async def _start(self, life: Life) -> None:
        self.boots += 1
        self.folder.mkdir(exist_ok=True, parents=True)
        self.store = NodeStore(self.folder / "node.db")
        store = cast("Any", Mortal("Store", self.store, life))
        hsm = cast("Any", Mortal("Hsm", self.token, life))
        identity = Identity(self.name, ORIGIN, leaf_hash(self.genesis), public_key(COORDINATOR))
        log = NodeLog(identity, hsm, store=store, skew_ms=SKEW_MS, store_every=STORE_EVERY)
        log.load()
        self.pool = PresignaturePool()
        signer = Signer(self.name, log, hsm, store, self.pool, no_schnorr)
        peers = cast("Any", Mortal("Peers", Lines(self, self.network), life))
        workers = cast("Any", Mortal("Workers", self.machines, life))
        self.keys = self.sessions(
            name=self.name,
            boot_id=self.boot.boot_id,
            state=lambda: log.cosigner.state,
            hsm=hsm,
            store=store,
            peers=peers,
            workers=workers,
            pool=self.pool,
            quorum_size=lambda: (store.quorum() or (0, b""))[0],
        )
        made = (log, signer, store, peers, self.keys, self.boot, self.roster)
        parts = Parts(*made, self.clock_ms, idle_after_s=NEVER_S)
        self.runtime = runtime = NodeRuntime(parts)
        self._greet(runtime)
        await asyncio.sleep(0)  # others that start now listen, too, before anybody asks for heads
        await runtime.become_ready()

    def _greet(self, runtime: NodeRuntime) -> None:
        """Links come up: both ends see whether the other has started anew."""
        for other in self.network.values():
            if isinstance(other, Node) and other.runtime is not None:
                with suppress(Killed, OperationalError):  # it is about to be down, or to dial again
                    other.runtime.peer_booted(self.name, self.boot)
                runtime.peer_booted(other.name, other.boot)
