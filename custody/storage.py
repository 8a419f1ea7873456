"""The coordinator's database as a port: every method is one transaction, and durable when it returns.

Every method raises ``OperationalError`` when the database cannot be reached or written.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from custody.records import (
    Applied,
    Change,
    Duty,
    NewRequest,
    PaidTo,
    PendingApproval,
    PooledPresignature,
    ReportRecord,
    RequestRecord,
    SignedTransaction,
)
from custody.requests import Effect, State
from policy.approval import Slot
from policy.errors import InvariantError, OperationalError

ENTRIES_BYTES_MAX = 1024 * 1024


class LeaseTaken(OperationalError):
    """Another coordinator writes the database until ``until_ms`` at least, and serves at ``doors``."""

    def __init__(self, holder: str, *, until_ms: int, doors: Mapping[str, str]) -> None:
        super().__init__(
            f"coordinator {holder} writes this database: stop it, or give both the line 'advertise', and "
            "this one waits to take over"
        )
        self.until_ms, self.doors = until_ms, doors


class LeaseLost(InvariantError):
    """This coordinator writes the database no more, and stops; to callers it is one that cannot answer."""


class Database(Protocol):
    """What ``custody.adapters.store.Store`` does, for asyncio."""

    async def take_lease(self, now_ms: int, lease_ms: int) -> int:
        """Become the one writer of the database; the fencing number.

        Raises ``LeaseTaken`` while another one is. Everything else that writes raises
        ``InvariantError`` before this, and once another writer has taken over.
        """

    async def renew_lease(self, now_ms: int, lease_ms: int) -> None:
        """Say that this writer lives; with 0 that it ended."""

    async def show_doors(self, doors: Mapping[str, str]) -> None:
        """Tell those who wait for the lease where this writer serves: addresses by the door's name."""

    async def head(self) -> tuple[int, bytes]:
        """Size and note of the newest checkpoint; (0, b"") for an empty log."""

    async def quorum_note(self) -> bytes:
        """The newest checkpoint's note with w cosignatures, or b"" when there is none yet."""

    async def entries(
        self, start: int, stop: int, *, bytes_max: int = ENTRIES_BYTES_MAX
    ) -> tuple[bytes, ...]:
        """Entries from ``start`` up to ``stop``, at least one if there is one, within ``bytes_max``."""

    async def checkpoint_between(self, above: int, at_most: int) -> tuple[int, bytes] | None:
        """The largest checkpoint with ``above < size <= at_most``; if none, the smallest above."""

    async def quorum_between(self, above: int, at_most: int) -> tuple[int, bytes] | None:
        """The largest note with w cosignatures and ``above < size <= at_most``."""

    async def first_quorum(self, above: int) -> tuple[int, bytes] | None:
        """The smallest note with w cosignatures and ``above < size``."""

    async def set_aside_log(self, now_ms: int) -> None:
        """Forget the log and what it says of requests, which are owed anew; another branch takes its place.

        What was received and what was signed is kept; a cold ceremony was of that log and is over.
        """

    async def append(
        self, start: int, entries: Sequence[bytes], *, note: bytes, changes: Sequence[Change], now_ms: int
    ) -> tuple[Applied, ...]:
        """Make entries, their checkpoint and what they change durable, together."""

    async def set_quorum(self, size: int, note: bytes) -> None:
        """Keep the note of the checkpoint of ``size`` with its w cosignatures."""

    async def submit(self, new: NewRequest, now_ms: int) -> tuple[RequestRecord, bool]:
        """Store a request once; the record and whether it is new.

        Raises ``IdempotencyConflict`` when its initiator used the key for another body.
        """

    async def get(self, request: bytes) -> RequestRecord | None:
        """One request, or None."""

    async def requests(
        self, *, state: str = "", initiator: str = "", limit: int = 100, before: bytes = b""
    ) -> tuple[RequestRecord, ...]:
        """Requests, newest first, continuing after ``before``."""

    async def settled(
        self, chain: str, blocks: int, *, states: Collection[State]
    ) -> tuple[RequestRecord, ...]:
        """Requests in these states whose block on a chain is among the last ones, as far as any is known."""

    async def counts(self, initiator: str = "") -> dict[str, int]:
        """How many requests, of one initiator or of all, are in each state."""

    async def overdue(self, now_ms: int) -> tuple[RequestRecord, ...]:
        """Requests past their expiry that wait for something and are not being signed."""

    async def apply(self, change: Change, now_ms: int) -> Applied | None:
        """Make one event durable; None when it changes nothing."""

    async def duties(self) -> tuple[Duty, ...]:
        """Everything still owed, oldest first: where a start goes on."""

    async def postpone(self, duty: Duty, *, due_ms: int, error: str) -> None:
        """Try a duty again at ``due_ms``, and show why on its request."""

    async def drop_duty(self, request: bytes, effect: Effect, *, now_ms: int) -> None:
        """Nothing is owed by this effect any more."""

    async def slots(self) -> tuple[tuple[Slot, bytes], ...]:
        """Every slot a request holds or held."""

    async def release_slot(self, request: bytes) -> None:
        """Give back a slot that no transaction of the log ever named."""

    async def slot_is_waited_for(self, request: bytes) -> bool:
        """Whether the account has a later slot, which cannot confirm before this one is used up."""

    async def waiting_by_account(self, chain: str) -> dict[str, int]:
        """How many requests wait for approvals on each account."""

    async def add_approval(self, approval: PendingApproval) -> None:
        """Keep an approval until it is in the log; the same one twice is one."""

    async def pending_approvals(self) -> tuple[PendingApproval, ...]:
        """Approvals received and not logged."""

    async def drop_approval(self, approval_id: bytes) -> None:
        """Forget an approval that is in the log, or that the log refused."""

    async def transactions(self, request: bytes) -> tuple[SignedTransaction, ...]:
        """Every transaction ever signed for a request."""

    async def paid_to(self, chain: str, destination: str) -> tuple[PaidTo, ...]:
        """What was paid to a destination, by initiator and asset, newest first."""

    async def add_presignatures(self, items: Iterable[PooledPresignature]) -> None:
        """Put fresh presignatures into the pool."""

    async def free_presignatures(self) -> tuple[PooledPresignature, ...]:
        """What is left in the pool."""

    async def put_report(self, report: ReportRecord) -> None:
        """Keep a rebalancer's report, unless one that is not older is kept of it."""

    async def reports(self) -> tuple[ReportRecord, ...]:
        """The newest report of each rebalancer, by name."""

    async def ceremonies(self) -> bytes:
        """What was kept of cold ceremonies last, or b"" when nothing is."""

    async def keep_ceremonies(self, document: bytes) -> None:
        """Keep how cold ceremonies stand, in place of what was kept before."""

    async def set_aside_ceremonies(self) -> int:
        """Move what is kept to a place where nothing is written over it; which place that is."""

    def close(self) -> None:
        """Finish the calls under way and close the database."""
