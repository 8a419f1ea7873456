"""One real cosigner, its disk and its token: calls to them that go wrong on purpose, and what left it.

The node is the running one (``NodeRuntime``, ``Signer``, ``NodeLog``, a ``NodeStore`` on disk) without
its door. Its token is the memory that outlives the process; a scripted coordinator and the other
cosigners' signatures come from the test.
"""

import inspect
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, cast

from policy.encoding import Json, canonical
from policy.errors import OperationalError
from policy.log.checkpoint import parse_checkpoint
from policy.log.merkle import leaf_hash
from policy.roster import COORDINATOR, parse_roster
from policy.state import KeyRecord
from signer_nodes.adapters.store import NodeStore
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.boot_statement import BootStatement
from signer_nodes.api.errors import Refused
from signer_nodes.api.handler import Caller, Role
from signer_nodes.mpc.curve import Q, base_mul
from signer_nodes.mpc.presignature import Presignature, rho_commitment
from signer_nodes.node_log import NodeLog, RolledBack
from signer_nodes.ports import Hsm, RuntimeStore
from signer_nodes.presignatures import Held, PresignaturePool
from signer_nodes.runtime import NodeRuntime, Parts
from signer_nodes.schnorr_wire import FinishItem, Unsigned
from signer_nodes.signing import Signer
from signer_nodes.token_head import HEAD_RECORD, TokenHead
from signer_nodes.witness import Identity
from tests.simulation.cluster import SKEW_MS, cosign, cosigned, note_of
from tests.simulation.world import KEY, ORIGIN, PAIR, Book, World, identity_key, public_key, seed

T = TypeVar("T")
ME, PARTNER = PAIR
OTHERS = ("node-2", "node-3", "witness-1")
WORLD = World()
CALLER = Caller(COORDINATOR, Role.COORDINATOR)
STARTS_MAX = 4
STORE_EVERY = 2  # as often as there is something new


def no_schnorr(_key: KeyRecord, _items: Sequence[FinishItem]) -> Sequence[bytes | Unsigned]:
    raise OperationalError("the key of these tests is for ECDSA")


class Way(Enum):
    """How a call goes wrong; killed is the whole process."""

    NOT_DONE = "not-done"
    DONE_NOT_TOLD = "done-not-told"
    KILLED_BEFORE = "killed-before"
    KILLED_AFTER = "killed-after"


NEVER_S = 3600.0
"""A node tidies when the script has it do so: faults are counted by calls."""


class Killed(BaseException):
    """The process is gone; nothing of it runs after this."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The ``number``-th call (from 1) of a kind, such as ``RuntimeStore.append``, goes wrong."""

    kind: str
    number: int
    way: Way


LOOKED_AT = ("disk_free_bytes", "try_disk")
"""What is for people who look; nothing is decided by it."""


def kinds() -> list[str]:
    """Every call of the two ports, by which something is decided."""
    return sorted(
        f"{port.__name__}.{name}"
        for port in (Hsm, RuntimeStore)
        for name, _ in inspect.getmembers(port, inspect.isfunction)
        if not name.startswith("_") and name not in LOOKED_AT
    )


@dataclass
class Faults:
    """Counts the calls of every kind, and has one of them go wrong."""

    fault: Fault | None = None
    calls: Counter[str] = field(default_factory=Counter)
    happened: bool = False

    def around(self, kind: str, call: Callable[[], T]) -> T:
        """Make a call, or have it go wrong."""
        way = self.way(kind)
        if way is None:
            return call()
        if way in (Way.DONE_NOT_TOLD, Way.KILLED_AFTER):
            call()
        raise broken(kind, way)

    def way(self, kind: str) -> Way | None:
        """Count a call; how it goes wrong, if it does."""
        self.calls[kind] += 1
        fault = self.fault
        if fault is None or (fault.kind, fault.number) != (kind, self.calls[kind]):
            return None
        self.happened = True
        return fault.way


def broken(kind: str, way: Way) -> BaseException:
    """What a call that goes wrong ends in."""
    if way in (Way.KILLED_BEFORE, Way.KILLED_AFTER):
        return Killed()
    return OperationalError(f"{kind} fails on purpose: {way.value}")


class Faulty:
    """A port with faults around its calls."""

    def __init__(self, port: type, inner: object, *, faults: Faults) -> None:
        self._port, self._inner, self._faults = port.__name__, inner, faults

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._inner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            return self._faults.around(f"{self._port}.{name}", lambda: member(*arguments, **options))

        return call


@dataclass
class Token:
    """A token: it outlives every process, and notes what it signed and what it remembered then."""

    records: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    signed: list[tuple[bytes, TokenHead]] = field(default_factory=list)
    trouble: str = ""

    @property
    def head(self) -> TokenHead:
        """What it remembers of the disk."""
        return TokenHead.from_bytes(self.records[HEAD_RECORD][1])

    def identity_public_key(self) -> bytes:
        return public_key(ME)

    def sign_statement(self, message: bytes) -> bytes:
        self.signed.append((message, self.head))
        return identity_key(ME).sign(message)

    def read_record(self, name: str) -> tuple[int, bytes] | None:
        return self.records.get(name)

    def write_record(self, name: str, data: bytes) -> int:
        sequence = self.records.get(name, (0, b""))[0] + 1
        self.records[name] = (sequence, data)
        return sequence

    def tidy(self) -> None:
        """What is replaced is gone."""

    def cosigned(self) -> list[tuple[int, bytes, TokenHead]]:
        """Size and root of every head it cosigned, and what it remembered when it did."""
        found = []
        for message, head in self.signed:
            if message.startswith(b"cosignature/"):
                checkpoint = parse_checkpoint(message.split(b"\n", 2)[2])
                found.append((checkpoint.size, checkpoint.root, head))
        return found


class NoPeers:
    """A node that nobody answers has nobody to ask: what peers do is tested elsewhere."""

    names: tuple[str, ...] = ()


def dealt(number: int) -> dict[str, Presignature]:
    """The pair's presignature of this number: a dealer knows all of it."""
    source = random.Random(f"presignature {number}")
    r, phis = source.randrange(1, Q), [source.randrange(1, Q) for _ in PAIR]
    session, rhos = source.randbytes(32), [source.randbytes(32) for _ in PAIR]
    us, vs = (_split(secret * sum(phis) % Q, source) for secret in (r, WORLD.secret))
    commitments = tuple(rho_commitment(session, i, b=0, rho=rho) for i, rho in enumerate(rhos, 1))
    return {
        name: Presignature(
            session=session,
            index=0,
            signers=(1, 2),
            me=i + 1,
            group_key=base_mul(WORLD.secret),
            R=base_mul(r),
            commitments=commitments,
            rho=rhos[i],
            phi=phis[i],
            u=us[i],
            v=vs[i],
        )
        for i, name in enumerate(PAIR)
    }


def _split(secret: int, source: random.Random) -> tuple[int, int]:
    first = source.randrange(Q)
    return first, (secret - first) % Q


@dataclass
class Seen:
    """What the outside has of the node: the answers that left it."""

    partials: dict[bytes, set[bytes]] = field(default_factory=dict)
    burns: set[bytes] = field(default_factory=set)
    refusals: set[str] = field(default_factory=set)


class Machine:
    """The node's machine: disk and token stay, processes come and go. ``log_type`` is for bad nodes."""

    def __init__(self, folder: Path, book: Book, *, log_type: type[NodeLog] = NodeLog) -> None:
        self.folder, self.book, self.log_type = folder, book, log_type
        folder.mkdir(exist_ok=True)
        self.token, self.faults, self.seen = Token(), Faults(), Seen()
        self.runtime: NodeRuntime | None = None
        self.store: NodeStore | None = None
        self.pool = PresignaturePool()
        self.starts = self.dealt = 0

    async def up(self) -> NodeRuntime:
        """The running node: started if it is down, as its supervisor does."""
        for _ in range(STARTS_MAX):
            if self.runtime is not None:
                return self.runtime
            try:
                self.runtime = await self._start()
            except RolledBack:
                raise
            except (OperationalError, Killed):
                self.down()
        raise AssertionError(f"it does not start within {STARTS_MAX} tries")

    def down(self) -> None:
        """The process is gone, with all it had in memory."""
        if self.store is not None:
            self.store._connection.close()  # what waited for company is lost
        self.runtime = self.store = None

    async def ask(self, call: Callable[[NodeRuntime], Awaitable[T]]) -> T | None:
        """One call to the node; None when it failed, died or refused."""
        runtime, answer = await self.up(), None
        try:
            answer = await call(runtime)
            await runtime.tidy()  # nobody asks for anything for a while
        except Killed:
            self.down()
        except OperationalError as error:
            assert not isinstance(error, RolledBack), error
        except Refused as refusal:
            self.seen.refusals.add(refusal.code)
        return answer

    async def surely(self, call: Callable[[NodeRuntime], Awaitable[T]]) -> T:
        """Call until there is an answer, as a coordinator repeats what it owes."""
        for _ in range(STARTS_MAX):
            answer = await self.ask(call)
            if answer is not None:
                return answer
        raise AssertionError(f"no answer within {STARTS_MAX} tries: {self.seen.refusals}")

    async def send(self, book: Book) -> bytes:
        """Round 1 to the end of ``book``: the answer's cosignature is in the token's order; the note."""
        note = note_of(book)

        async def once(runtime: NodeRuntime) -> pb.AppendReply:
            size = (await runtime.head(CALLER, pb.HeadQuery())).size
            call = pb.Append(start=size, entries=book.entries[size:], checkpoint=note)
            reply = await runtime.append(CALLER, call)
            self._check_covered(reply, book)
            return reply

        await self.surely(once)
        return cosigned(note, *(cosign(name, note) for name in OTHERS))

    async def quorum(self, note: bytes) -> None:
        """Tell it of a note with w cosignatures."""
        await self.surely(lambda runtime: runtime.quorum(CALLER, pb.Quorum(note=note)))

    async def finish(self, note: bytes, job: bytes, *, number: int) -> bytes | None:
        """Round 2 for one job: its partial signature, or None when it is declined."""
        rhos = {name: one.rho for name, one in dealt(number).items()}
        opened = [pb.Opened(index=0, signer=name, rho=rho) for name, rho in rhos.items()]
        call = pb.Finish(note=note, jobs=[pb.FinishJob(job=job, opened=opened)])
        reply = await self.surely(lambda runtime: runtime.finish(CALLER, call))
        for partial in reply.partials:
            self.seen.partials.setdefault(partial.job, set()).add(partial.partial)
            self._check_mark("sent", partial.job)
        return reply.partials[0].partial if reply.partials else None

    async def burn(self, job: bytes) -> bytes | None:
        """Its burn statement, or None when it refuses in one try or two."""
        for _ in range(2):
            reply = await self.ask(lambda runtime: runtime.burn(CALLER, pb.Burn(job=job)))
            if reply is not None:
                self.seen.burns.add(job)
                self._check_mark("burned", job)
                return reply.signature
        return None

    def pair(self) -> int:
        """Give this process its half of the next presignature; its number."""
        self.dealt += 1
        self.pool.add([Held(dealt(self.dealt)[ME], KEY, 0, PAIR)])
        return self.dealt

    def _check_covered(self, reply: pb.AppendReply, book: Book) -> None:
        head = self.token.head
        assert (head.size, head.root) == (book.frontier.size, book.frontier.root())
        for opening in reply.openings:
            self._check_mark("bound", opening.job)

    def _check_mark(self, kind: str, job: bytes) -> None:
        """The mark of what has just left is on the disk, and among those that the token remembers."""
        with self._disk() as disk:
            marks, head = disk.marks(), self.token.head
            numbers = [number for number, mark in enumerate(marks) if (mark.kind, mark.job) == (kind, job)]
            assert numbers and numbers[0] < head.marks
            assert disk.marks_chain_at(head.marks) == head.marks_chain

    @contextmanager
    def _disk(self) -> Iterator[NodeStore]:
        """What is stored, though the process may have been killed once it had answered."""
        if self.store is not None:
            yield self.store
            return
        with closing(NodeStore(self.folder / "node.db")) as left:
            yield left

    async def _start(self) -> NodeRuntime:
        self.starts += 1
        self.store = NodeStore(self.folder / "node.db")
        store = cast("Any", Faulty(RuntimeStore, self.store, faults=self.faults))
        hsm = cast("Any", Faulty(Hsm, self.token, faults=self.faults))
        identity = Identity(ME, ORIGIN, leaf_hash(self.book.entries[0]), public_key(COORDINATOR))
        log = self.log_type(identity, hsm, store=store, skew_ms=SKEW_MS, store_every=STORE_EVERY)
        log.load()
        self.pool = PresignaturePool()
        signer = Signer(ME, log, hsm, store, self.pool, no_schnorr)
        roster = parse_roster(WORLD.roster())
        boot = boot_of(ME, self.starts)
        peers = cast("Any", NoPeers())
        made = (log, signer, store, peers, None, boot, roster)
        runtime = NodeRuntime(Parts(*made, lambda: self.book.now_ms, idle_after_s=NEVER_S))
        await runtime.become_ready()
        return runtime


def boot_of(name: str, counter: int) -> BootStatement:
    """A boot statement."""
    return BootStatement(ORIGIN, name, counter, seed(f"boot {counter}"), seed("tls"), 0, bytes(32))


def statement_bytes(statement: tuple[Json, bytes]) -> bytes:
    """A statement as calls carry it."""
    return canonical({"body": statement[0], "signature": statement[1].hex()})
