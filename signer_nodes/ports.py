"""What a node needs of the world, as ports: its token, its disk, its peers, its worker processes.

The adapters that implement them are wired in ``main.py`` and nowhere else.
"""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from policy.errors import FaultyParticipant, OperationalError
from policy.stored.keeping import PageStore
from signer_nodes.api import node_pb2 as pb
from signer_nodes.hsm.context import SealContext
from signer_nodes.worker_wire import Job, Outcome

MarkKind: TypeAlias = Literal["bound", "sent", "burned"]


class Hsm(Protocol):
    """The token, as far as following the log and signing go. Every method may raise ``OperationalError``."""

    def identity_public_key(self) -> bytes:
        """The 32-byte Ed25519 key of ``cosign``."""

    def sign_statement(self, message: bytes) -> bytes:
        """A 64-byte signature by ``cosign``."""

    def read_record(self, name: str) -> tuple[int, bytes] | None:
        """The newest version of a record and its sequence number."""

    def write_record(self, name: str, data: bytes) -> int:
        """Replace a record; the new one is there before the old one goes."""

    def tidy(self) -> None:
        """Destroy what was replaced and is still there."""

    @property
    def trouble(self) -> str:
        """Why the last record could not be written; empty when it was. Writing wears, so no trial is made."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What holds for ever of one signature of a job; ``data`` of ``sent`` is the partial's bytes."""

    kind: MarkKind
    job: bytes
    index: int
    data: bytes = field(default=b"", repr=False)


class StoreBusy(OperationalError):
    """Another process holds the store: a store belongs to one node, and a node to one process."""


class StoreOlder(OperationalError):
    """The store is of an older program, which a start of this one upgrades."""


class LogStore(PageStore, Protocol):
    """The node's disk, as far as the log and its marks go. A returned call is durable.

    ``set_cosigned`` alone, and ``set_quorum`` where asked, are so with the next call that is.
    """

    def size(self) -> int:
        """How many entries are stored."""

    def entries(self, start: int, stop: int) -> list[bytes]:
        """Entries of [start, stop)."""

    def append(
        self, start: int, entries: Sequence[bytes], *, checkpoint: bytes, marks: Sequence[Mark] = ()
    ) -> None:
        """Store entries, the checkpoint they lead to, and marks, together."""

    def checkpoint_at(self, size: int) -> bytes | None:
        """The note of the checkpoint at exactly this size."""

    def put_statement(self, name: str, data: bytes) -> None:
        """Keep a statement that something was done on."""

    def set_cosigned(self, size: int, note: bytes) -> None:
        """Keep the note with this node's own cosignature."""

    def latest_cosigned(self) -> tuple[int, bytes] | None:
        """Size and note of the highest head this node cosigned on its branch."""

    def set_quorum(self, note: bytes, size: int, *, with_next: bool = False) -> None:
        """Keep a note with w cosignatures that is higher than the one kept; ``flush`` at the latest."""

    def flush(self) -> None:
        """Write what waits for the next call that writes."""

    def quorum(self) -> tuple[int, bytes] | None:
        """Size and note of the highest head with w cosignatures."""

    def truncate(self, size: int) -> int:
        """Leave a branch: entries from ``size`` on go to a table of their own. How many."""

    def add_marks(self, marks: Sequence[Mark]) -> None:
        """Store marks together; ``sent`` and ``burned`` of one signature exclude one another."""

    def marks_for(self, job: bytes) -> list[Mark]:
        """The marks of a job, oldest first."""

    def marks_head(self) -> tuple[int, bytes]:
        """How many marks there are and the hash of their chain."""

    def marks_chain_at(self, count: int) -> bytes | None:
        """The hash of the chain after ``count`` marks; None if there are fewer."""

    def keep_evidence(self, kind: str, data: bytes) -> None:
        """Keep what froze the node."""

    def evidence(self) -> list[tuple[str, bytes]]:
        """What froze the node, oldest first."""

    def put_meta(self, name: str, value: bytes) -> None:
        """Replace a small value."""

    def meta(self, name: str) -> bytes | None:
        """A small value, None if it was never put."""


class RuntimeStore(LogStore, Protocol):
    """The node's disk, as far as a running node needs it."""

    def boot_of(self, peer: str) -> tuple[int, bytes] | None:
        """The highest boot counter a peer has shown, and its boot id."""

    def put_boot(self, peer: str, counter: int, *, boot_id: bytes) -> None:
        """Keep a peer's newest boot."""

    def disk_free_bytes(self) -> int:
        """How much room is left on the disk."""

    @property
    def trouble(self) -> str:
        """Why the disk took nothing when it was last written to or tried; empty when it did."""

    def try_disk(self) -> None:
        """See whether the disk takes something now, and note it in ``trouble``."""


class Peers(Protocol):
    """The other cosigners, to ask. Raises ``OperationalError`` when one cannot be reached."""

    @property
    def names(self) -> tuple[str, ...]:
        """Who they are."""

    async def head(self, peer: str) -> pb.HeadReply:
        """A peer's head."""

    async def entries(self, peer: str, start: int, *, stop: int) -> list[bytes]:
        """All entries of [start, stop) from a peer."""

    async def send_protocol(self, peer: str, session: bytes, *, payload: bytes) -> None:
        """Bring a protocol message to a peer, once."""

    async def boot_id(self, peer: str) -> bytes:
        """The boot id of the process now at the other end."""


class SealingHsm(Hsm, Protocol):
    """The token, as far as keys go."""

    def random(self, count: int) -> bytes:
        """Fresh random bytes."""

    def prf(self, label: str, data: bytes) -> bytes:
        """32 bytes that only this token can compute from ``data``."""

    def create_sealing_key(self, key_id: str, epoch: int) -> bool:
        """Make the sealing key of an epoch; false when it is there already."""

    def destroy_sealing_key(self, key_id: str, epoch: int) -> bool:
        """Destroy an epoch's sealing key for ever; false when there was none."""

    def sealing_epochs(self, key_id: str) -> tuple[int, ...]:
        """The epochs whose sealing key exists, rising."""

    def seal_file_key(self, context: SealContext, file_key: bytes) -> bytes:
        """Wrap a file key."""

    def unseal_file_key(self, context: SealContext, wrapped: bytes) -> bytes:
        """Unwrap a file key. SECRET."""


@dataclass(frozen=True, slots=True)
class Ban:
    """A peer that no session of this key and epoch may run with."""

    peer: str
    key_id: str
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A blob sealed under a file key, and that key as the HSM wrapped it."""

    blob: bytes = field(repr=False)
    wrapped_key: bytes = field(repr=False)


class SecretStore(Protocol):
    """The node's disk, as far as keys go."""

    def put_all_sealed(self, secrets: dict[str, SealedSecret]) -> None:
        """Store sealed secrets together."""

    def get_sealed(self, name: str) -> SealedSecret | None:
        """A sealed secret."""

    def sealed_names(self, prefix: str = "") -> list[str]:
        """The names of sealed secrets that begin with ``prefix``."""

    def drop_sealed(self, names: Collection[str]) -> int:
        """Destroy sealed secrets together; how many were there."""

    def put_meta(self, name: str, value: bytes) -> None:
        """Replace a small value."""

    def meta(self, name: str) -> bytes | None:
        """A small value, None if it was never put."""

    def add_ban(self, ban: Ban) -> None:
        """Keep a ban, durably."""

    def bans(self) -> list[Ban]:
        """All bans of this node."""


class WorkerRun(Protocol):
    """One run in a worker process."""

    def outgoing(self) -> AsyncIterator[tuple[int, bytes]]:
        """What to send to which party; ends with the run."""

    async def deliver(self, sender: int, payload: bytes) -> None:
        """Hand over what a party sent."""

    async def result(self) -> Outcome:
        """Wait for the outcome, or raise what ended the run."""

    def on_fault(self, call: Callable[[FaultyParticipant], None]) -> None:
        """Have ``call`` told of a participant's fault the moment it is known, before ``result`` raises it."""

    def cancel(self) -> None:
        """End the run."""


class Workers(Protocol):
    """Where runs that open a share happen."""

    async def start(self, job: Job, *, randomness: bytes, timeout_s: float) -> WorkerRun:
        """Start a run."""
