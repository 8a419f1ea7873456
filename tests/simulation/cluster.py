"""Cosigners and a coordinator in one process, built on the pure parts of a node. No network, no clock.

A ``SimNode`` keeps what a disk would keep (entries, marks, notes) apart from what a restart loses (the
pool). Its partial signatures are fake; what matters is whether it would give one, and when.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from policy.encoding import Json
from policy.errors import ProtocolError
from policy.log.checkpoint import (
    Checkpoint,
    Note,
    NoteSignature,
    cosignature,
    cosignature_message,
    log_signature,
    log_signature_message,
    parse_checkpoint,
    parse_note,
)
from policy.log.merkle import frontier_at, leaf_hash, leaf_reader
from policy.roster import COORDINATOR
from policy.state import Job, JobStatus
from signer_nodes.gate import Admitted, Declined, Node, admit, may_burn, may_sign
from signer_nodes.late import Late, noted
from signer_nodes.mpc.presignature import Presignature
from signer_nodes.presignatures import Held, PresignaturePool
from signer_nodes.session import Event, Phase, advance
from signer_nodes.witness import (
    NOTE_BYTES_MAX,
    Branch,
    Cosigner,
    Extension,
    Identity,
    Refusal,
    abandon,
    after_leaving,
    check_fork,
    check_leave,
    extend,
    fold_entries,
    last_quorum,
    new_cosigner,
    note_quorum,
)
from tests.simulation.world import KEY, ORIGIN, Book, World, identity_key, public_key, seed, state_as

SKEW_MS = 30_000
Statement = tuple[Json, bytes]


@dataclass
class Clock:
    """The real time of everybody in a simulation."""

    now_ms: int


@dataclass(frozen=True)
class Given:
    """A partial signature that a node gave: for which job, and when by the log's time and its own clock."""

    job: Job
    log_ms: int
    at_ms: int


def note_of(book: Book, *, by: str = COORDINATOR) -> bytes:
    """A book's checkpoint, signed by the log's key; ``by`` is whose key that is."""
    body = Checkpoint(ORIGIN, book.frontier.size, book.frontier.root(), book.state.digest).body()
    signature = identity_key(by).sign(log_signature_message(body))
    return Note(body, (log_signature(ORIGIN, public_key(by), signature=signature),)).to_bytes()


def cosign(name: str, note: bytes, time_s: int = 1) -> NoteSignature:
    """The line of cosigner ``name``, whatever the note says."""
    body = parse_note(note, NOTE_BYTES_MAX).body
    signature = identity_key(name).sign(cosignature_message(body, time_s=time_s))
    return cosignature(name, public_key(name), time_s=time_s, signature=signature)


def cosigned(note: bytes, *lines: NoteSignature) -> bytes:
    """The note with more lines."""
    return parse_note(note, NOTE_BYTES_MAX).with_signatures(*lines).to_bytes()


class SimNode:
    """An honest cosigner; one that is among a job's signers also signs."""

    def __init__(self, name: str, genesis: bytes, clock: Clock) -> None:
        identity = Identity(name, ORIGIN, leaf_hash(genesis), public_key(COORDINATOR))
        self.name, self.clock = name, clock
        self.cosigner: Cosigner = new_cosigner(identity)
        self.entries: list[bytes] = []
        self.head = self.quorum = b""
        self.phases: dict[bytes, Phase] = {}
        self.given: dict[bytes, Given] = {}
        self.pool = PresignaturePool()
        self.frozen = False
        self.late: Late = {}

    @property
    def size(self) -> int:
        """How many entries it has folded."""
        return self.cosigner.size

    def append(self, start: int, entries: Sequence[bytes], note: bytes) -> NoteSignature:
        """Round 1: fold, keep, bind what the gate admits, cosign. Raises ``Refusal``."""
        self._check_open()
        extension = self._extended(start, entries, note)
        self.late = noted(
            self.late,
            entries,
            outcomes=extension.outcomes,
            state=extension.cosigner.state,
            now_ms=self.clock.now_ms,
        )
        self._bind(extension)
        self.cosigner = extension.cosigner
        self.entries += entries
        line = cosign(self.name, note, self.clock.now_ms // 1000)
        self.head = cosigned(note, line)
        return line

    def _extended(self, start: int, entries: Sequence[bytes], note: bytes) -> Extension:
        return extend(
            self.cosigner, start, entries=entries, note=note, now_ms=self.clock.now_ms, skew_ms=SKEW_MS
        )

    def learn(self, note: bytes) -> Checkpoint:
        """Take in a note with w cosignatures. Raises ``Refusal`` or ``Contradiction``."""
        self._check_open()
        self.cosigner, checkpoint = note_quorum(self.cosigner, note, root_at=self._root_at)
        self.quorum = note
        return checkpoint

    def finish(self, note: bytes, job_id: bytes) -> Given:
        """Round 2: give a partial signature, the same whenever asked again. Raises ``Refusal``."""
        return self._give(job_id, self.learn(note).size)

    def finish_all(self, note: bytes) -> int:
        """Round 2 for every job it knows; how many partial signatures are out. May refuse the note."""
        size = self.learn(note).size
        for job_id, job in self.cosigner.state.jobs.items():
            if job.status is JobStatus.RESERVED:
                attempt(partial(self._give, job_id, size))
        return len(self.given)

    def _give(self, job_id: bytes, size: int) -> Given:
        if job_id in self.given:
            return self.given[job_id]
        job = may_sign(self.cosigner.state, job_id, node=self._node(), quorum_size=size)
        if isinstance(job, Declined):
            raise Refusal("declined", job.reason)
        self.phases[job_id] = advance(self.phases.get(job_id, Phase.NEW), Event.SEND)
        if not self.pool.bound_to(job.presignatures[0], job_id, index=0):
            raise Refusal("declined", "the presignature is gone")
        self.pool.take(job.presignatures[0], job_id, index=0)
        self.given[job_id] = Given(job, self.cosigner.state.time_ms, self.clock.now_ms)
        return self.given[job_id]

    def burn(self, job_id: bytes) -> bytes:
        """State that it never signs a job. Raises ``ProtocolError``."""
        objection = may_burn(self.cosigner.state, job_id, node=self._node())
        if objection is not None:
            raise Refusal("burn", objection.reason)
        self.phases[job_id] = advance(self.phases.get(job_id, Phase.NEW), Event.BURN)
        if job_id in self.cosigner.state.jobs:
            self.pool.drop(self.cosigner.state.jobs[job_id].presignatures)
        return state_as("burn", {"origin": ORIGIN, "job": job_id.hex()}, self.name)

    def abandon(self, branch: Branch) -> Statement:
        """State that it never cosigns a branch. Raises ``Refusal``."""
        self._check_open()
        self.cosigner = abandon(self.cosigner, branch, leaf_at=self._leaf_at, root_at=self._root_at)
        body = branch.body(ORIGIN, self.name)
        return body, state_as("abandon", body, self.name)

    def leave(self, statements: Sequence[Statement]) -> None:
        """Leave its branch on the statements of others. Raises ``Refusal``."""
        self._check_open()
        self._go_back(check_leave(self.cosigner, statements, leaf_at=self._leaf_at))

    def leave_by_fork(self, entry: bytes) -> None:
        """Leave its branch on the administrators' word. Raises ``Refusal``."""
        self._go_back(check_fork(self.cosigner, entry, root_at=self._root_at))

    def restart(self) -> None:
        """Lose what is only in memory, and fold again what is kept."""
        self.pool = PresignaturePool()
        old = self.cosigner
        fresh, _ = fold_entries(new_cosigner(old.identity), self.entries)
        self.cosigner = replace(
            fresh,
            quorum_head=old.quorum_head,
            floor=old.floor,
            refused=old.refused,
            left=old.left,
            delays=fresh.delays.resumed(old.delays.held, quorum_size=last_quorum(old)[0]),
        )

    def _go_back(self, size: int) -> None:
        old = self.cosigner
        for job in old.state.jobs.values():
            if job.index >= size and self.name in job.signers:
                self.pool.drop(job.presignatures)
                if self.phases.get(job.job_id, Phase.NEW) is not Phase.SENT:
                    self.phases[job.job_id] = Phase.BURNED
        left = leaf_hash(self.entries[size])
        self.entries = self.entries[:size]
        refolded, _ = fold_entries(new_cosigner(old.identity), self.entries)
        self.cosigner = after_leaving(old, refolded, left=left)

    def _bind(self, extension: Extension) -> None:
        jobs = [o.subject for o in extension.outcomes if o.kind == "reserve" and o.accepted]
        fresh = [job for job in jobs if self.phases.get(job, Phase.NEW) is Phase.NEW]
        for decision in admit(extension.cosigner.state, fresh, node=self._node(), pool=self.pool):
            if isinstance(decision, Admitted):
                job_id = decision.job.job_id
                self.phases[job_id] = advance(self.phases.get(job_id, Phase.NEW), Event.BIND)
                self.pool.bind(decision.presignatures[0], job_id, index=0)

    def _node(self) -> Node:
        return Node(self.name, self.clock.now_ms, self.frozen, self.late)

    def _check_open(self) -> None:
        if self.frozen:
            raise Refusal("frozen", "it holds evidence")

    def _leaf_at(self, index: int) -> bytes:
        return leaf_hash(self.entries[index])

    def _root_at(self, size: int) -> bytes:
        if size == self.size:
            return self.cosigner.frontier.root()
        return frontier_at(leaf_reader([leaf_hash(entry) for entry in self.entries]), size).root()


def deal(nodes: Mapping[str, SimNode], signers: Sequence[str], batch: int, *, count: int = 8) -> list[bytes]:
    """Give a set of nodes presignatures made together; their ids."""
    session = seed(f"session {signers} {batch}")
    dealt = []
    for index in range(count):
        for me, name in enumerate(signers, 1):
            presignature = Presignature(
                session=session,
                index=index,
                signers=tuple(range(1, len(signers) + 1)),
                me=me,
                group_key=bytes(33),
                R=bytes(33),
                commitments=(bytes(32),) * len(signers),
                rho=bytes(32),
                phi=1,
                u=1,
                v=1,
            )
            if name in nodes:
                nodes[name].pool.add([Held(presignature, KEY, 0, tuple(signers))])
        dealt.append(presignature.presign_id)
    return dealt


class Coordinator:
    """An honest coordinator: one book, replicated to whoever is up."""

    def __init__(self, book: Book, nodes: Mapping[str, SimNode]) -> None:
        self.book, self.nodes = book, nodes
        self.lines: dict[bytes, dict[str, NoteSignature]] = {}

    @classmethod
    def recovered(cls, world: World, nodes: Mapping[str, SimNode]) -> "Coordinator":
        """One without a database: the longest branch that anyone cosigned, byte for byte."""
        up = [node for node in nodes.values() if node.head]
        longest = max(up, key=lambda node: parse_checkpoint(parse_note(node.head, NOTE_BYTES_MAX).body).size)
        book = Book(world, start=False)
        for entry in longest.entries:
            book.append(entry)
        book.now_ms = max(book.state.time_ms, longest.clock.now_ms)
        return cls(book, nodes)

    def send(self, *names: str) -> bytes:
        """Send the head to these cosigners, each what it lacks; the note with the lines so far."""
        note = note_of(self.book)
        lines = self.lines.setdefault(note, {})
        for name in names or tuple(self.nodes):
            node = self.nodes[name]
            lines[name] = node.append(node.size, self.book.entries[node.size :], note)
        return cosigned(note, *lines.values())

    def pay(self, amount: int, *, nonce: int, presignature: bytes, **changed: Any) -> bytes:
        """Log a request and a reservation for it; the job."""
        request = self.book.request(amount)
        return self.book.reserve(request, nonce=nonce, presignatures=[presignature.hex()], **changed)


def started(
    world: World, clock: Clock, *, kind: type[SimNode] = SimNode
) -> tuple[Coordinator, dict[str, SimNode]]:
    """A coordinator and all cosigners, who have cosigned genesis and key."""
    book = Book(world)
    book.now_ms = clock.now_ms
    nodes = {name: kind(name, book.entries[0], clock) for name in world.cosigners}
    coordinator = Coordinator(book, nodes)
    note = coordinator.send()
    for node in nodes.values():
        node.learn(note)
    return coordinator, nodes


def branch_of(node: SimNode) -> Branch:
    """The branch that a node is on beyond its last quorum head."""
    size, root = last_quorum(node.cosigner)
    return Branch(size, root, leaf_hash(node.entries[size]))


def attempt(work: Callable[[], object]) -> bool:
    """Whether a call was not refused."""
    try:
        work()
    except ProtocolError:
        return False
    return True


def refusal(work: Callable[..., object], *arguments: Any) -> str:
    """The code by which a call is refused; fails the test when it is not."""
    with pytest.raises(Refusal) as caught:
        work(*arguments)
    return caught.value.code


def sign_with(nodes: dict[str, SimNode], names: tuple[str, ...], note: bytes, job: bytes) -> bool:
    """Whether all of these nodes give their partial signature for a job."""
    return {nodes[name].finish(note, job).job.job_id for name in names} == {job}
