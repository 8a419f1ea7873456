"""The store for asyncio: every call runs on one thread of its own, in the order it was asked for.

Calls that wait while another is carried out are one transaction together (``together``).
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from custody.adapters.store import Store
from custody.adapters.together import CallsTogether
from custody.feeds import Backlog, Delivery, Deposit, DepositAddress, Event, NonceUse
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
from custody.storage import ENTRIES_BYTES_MAX
from policy.approval import Slot

P = ParamSpec("P")
R = TypeVar("R")


class StoreThread:
    """Implements ``custody.storage.Database`` and ``custody.feeds.FeedStorage`` by a store and one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="database")
        self._calls = CallsTogether(self._thread, store.together)

    def close(self) -> None:
        """Finish the calls under way and close the store."""
        self._calls.finish()
        self._store.close()

    async def _call(self, method: Callable[Concatenate[Store, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        answer: R = await self._calls.ask(partial(method, self._store, *args, **kwargs))
        return answer

    async def take_lease(self, now_ms: int, lease_ms: int) -> int:
        """Become the one writer of the database; the fencing number."""
        alone = partial(self._store.take_lease, now_ms, lease_ms)
        return await asyncio.get_running_loop().run_in_executor(self._thread, alone)

    async def renew_lease(self, now_ms: int, lease_ms: int) -> None:
        """Say that this writer lives, before all that waits; with 0 that it ended, after that."""
        if not lease_ms:
            return await self._call(Store.renew_lease, now_ms, lease_ms)
        await self._calls.ask_urgently(partial(self._store.renew_lease, now_ms, lease_ms))
        return None

    async def show_doors(self, doors: Mapping[str, str]) -> None:
        """Tell those who wait for the lease where this writer serves."""
        return await self._call(Store.show_doors, doors)

    async def head(self) -> tuple[int, bytes]:
        """Size and note of the newest checkpoint; (0, b"") for an empty log."""
        return await self._call(Store.head)

    async def quorum_note(self) -> bytes:
        """The newest checkpoint's note with w cosignatures, or b"" when there is none yet."""
        return await self._call(Store.quorum_note)

    async def entries(
        self, start: int, stop: int, *, bytes_max: int = ENTRIES_BYTES_MAX
    ) -> tuple[bytes, ...]:
        """Entries from ``start`` up to ``stop``, at least one if there is one, within ``bytes_max``."""
        return await self._call(Store.entries, start, stop, bytes_max=bytes_max)

    async def checkpoint_between(self, above: int, at_most: int) -> tuple[int, bytes] | None:
        """The largest checkpoint with ``above < size <= at_most``; if none, the smallest above."""
        return await self._call(Store.checkpoint_between, above, at_most)

    async def quorum_between(self, above: int, at_most: int) -> tuple[int, bytes] | None:
        """The largest note with w cosignatures and ``above < size <= at_most``."""
        return await self._call(Store.quorum_between, above, at_most)

    async def first_quorum(self, above: int) -> tuple[int, bytes] | None:
        """Forwards to ``Store.first_quorum``."""
        return await self._call(Store.first_quorum, above)

    async def set_aside_log(self, now_ms: int) -> None:
        """Forget the log and what it says of requests, which are owed anew."""
        return await self._call(Store.set_aside_log, now_ms)

    async def append(
        self, start: int, entries: Sequence[bytes], *, note: bytes, changes: Sequence[Change], now_ms: int
    ) -> tuple[Applied, ...]:
        """Make entries, their checkpoint and what they change durable, together."""
        work = partial(self._store.append, start, entries, note=note, changes=changes, now_ms=now_ms)
        applied: tuple[Applied, ...] = await self._calls.ask(work, welcomes=True)
        return applied

    async def set_quorum(self, size: int, note: bytes) -> None:
        """Keep the note of the checkpoint of ``size`` with its w cosignatures: nobody waits for it."""
        await self._calls.ask_patiently(partial(self._store.set_quorum, size, note))

    async def submit(self, new: NewRequest, now_ms: int) -> tuple[RequestRecord, bool]:
        """Store a request once; the record and whether it is new."""
        return await self._call(Store.submit, new, now_ms)

    async def get(self, request: bytes) -> RequestRecord | None:
        """One request, or None."""
        return await self._call(Store.get, request)

    async def requests(
        self, *, state: str = "", initiator: str = "", limit: int = 100, before: bytes = b""
    ) -> tuple[RequestRecord, ...]:
        """Requests, newest first, continuing after ``before``."""
        return await self._call(Store.requests, state=state, initiator=initiator, limit=limit, before=before)

    async def settled(
        self, chain: str, blocks: int, *, states: Collection[State]
    ) -> tuple[RequestRecord, ...]:
        """Requests in these states whose block on a chain is among the last ones, as far as any is known."""
        return await self._call(Store.settled, chain, blocks, states=states)

    async def counts(self, initiator: str = "") -> dict[str, int]:
        """How many requests, of one initiator or of all, are in each state."""
        return await self._call(Store.counts, initiator)

    async def overdue(self, now_ms: int) -> tuple[RequestRecord, ...]:
        """Requests past their expiry that wait for something and are not being signed."""
        return await self._call(Store.overdue, now_ms)

    async def apply(self, change: Change, now_ms: int) -> Applied | None:
        """Make one event durable; None when it changes nothing."""
        return await self._call(Store.apply, change, now_ms)

    async def duties(self) -> tuple[Duty, ...]:
        """Everything still owed, oldest first: where a start goes on."""
        return await self._call(Store.duties)

    async def postpone(self, duty: Duty, *, due_ms: int, error: str) -> None:
        """Try a duty again at ``due_ms``, and show why on its request."""
        return await self._call(Store.postpone, duty, due_ms=due_ms, error=error)

    async def drop_duty(self, request: bytes, effect: Effect, *, now_ms: int) -> None:
        """Nothing is owed by this effect any more."""
        return await self._call(Store.drop_duty, request, effect, now_ms=now_ms)

    async def slots(self) -> tuple[tuple[Slot, bytes], ...]:
        """Every slot a request holds or held."""
        return await self._call(Store.slots)

    async def release_slot(self, request: bytes) -> None:
        """Give back a slot that no transaction of the log ever named."""
        return await self._call(Store.release_slot, request)

    async def slot_is_waited_for(self, request: bytes) -> bool:
        """Whether the account has a later slot, which cannot confirm before this one is used up."""
        return await self._call(Store.slot_is_waited_for, request)

    async def waiting_by_account(self, chain: str) -> dict[str, int]:
        """How many requests wait for approvals on each account."""
        return await self._call(Store.waiting_by_account, chain)

    async def add_approval(self, approval: PendingApproval) -> None:
        """Keep an approval until it is in the log; the same one twice is one."""
        return await self._call(Store.add_approval, approval)

    async def pending_approvals(self) -> tuple[PendingApproval, ...]:
        """Approvals received and not logged."""
        return await self._call(Store.pending_approvals)

    async def drop_approval(self, approval_id: bytes) -> None:
        """Forget an approval that is in the log, or that the log refused."""
        return await self._call(Store.drop_approval, approval_id)

    async def transactions(self, request: bytes) -> tuple[SignedTransaction, ...]:
        """Every transaction ever signed for a request."""
        return await self._call(Store.transactions, request)

    async def paid_to(self, chain: str, destination: str) -> tuple[PaidTo, ...]:
        """What was paid to a destination, by initiator and asset, newest first."""
        return await self._call(Store.paid_to, chain, destination)

    async def add_presignatures(self, items: Iterable[PooledPresignature]) -> None:
        """Put fresh presignatures into the pool."""
        return await self._call(Store.add_presignatures, items)

    async def free_presignatures(self) -> tuple[PooledPresignature, ...]:
        """What is left in the pool."""
        return await self._call(Store.free_presignatures)

    async def ceremonies(self) -> bytes:
        """What was kept of cold ceremonies last, or b"" when nothing is."""
        return await self._call(Store.ceremonies)

    async def keep_ceremonies(self, document: bytes) -> None:
        """Keep how cold ceremonies stand, in place of what was kept before."""
        return await self._call(Store.keep_ceremonies, document)

    async def set_aside_ceremonies(self) -> int:
        """Move what is kept to a place where nothing is written over it; which place that is."""
        return await self._call(Store.set_aside_ceremonies)

    # What backends are told.

    async def feed(self, initiator: str = "") -> tuple[str, int]:
        """Name and newest number of an initiator's feed; for an empty one, of everybody's."""
        return await self._call(Store.feed, initiator)

    async def events(
        self, after: int, *, request: bytes = b"", initiator: str = "", limit: int = 100
    ) -> tuple[Event, ...]:
        """Events in order; of one request, and of one initiator in its own feed, or of all for empty ones."""
        return await self._call(Store.events, after, request=request, initiator=initiator, limit=limit)

    async def newest_events(self, requests: Sequence[bytes], *, own: bool = False) -> dict[bytes, Event]:
        """The newest event of each request, as everybody's feed has it, or the initiator's ``own``."""
        return await self._call(Store.newest_events, requests, own=own)

    async def put_report(self, report: ReportRecord) -> None:
        """Keep a rebalancer's report, unless one that is not older is kept of it."""
        return await self._call(Store.put_report, report)

    async def reports(self) -> tuple[ReportRecord, ...]:
        """The newest report of each rebalancer, by name."""
        return await self._call(Store.reports)

    async def queue_deliveries(
        self, webhook: str, initiator: str, *, now_ms: int, state: State | None = None
    ) -> None:
        """Owe a webhook the events since it was last asked for; nothing for one that is new."""
        return await self._call(Store.queue_deliveries, webhook, initiator, now_ms=now_ms, state=state)

    async def queue_again(self, webhook: str, initiator: str, *, first: int, last: int, now_ms: int) -> int:
        """Owe a webhook these events of the initiator's own feed (once more); how many."""
        return await self._call(Store.queue_again, webhook, initiator, first=first, last=last, now_ms=now_ms)

    async def deliveries(self, webhook: str, now_ms: int, *, limit: int) -> tuple[Delivery, ...]:
        """What is due: of each request its oldest event alone, as its initiator's own feed has it."""
        return await self._call(Store.deliveries, webhook, now_ms, limit=limit)

    async def delivered(self, webhook: str, place: int) -> None:
        """A webhook has taken an event."""
        return await self._call(Store.delivered, webhook, place)

    async def postpone_delivery(self, webhook: str, place: int, *, due_ms: int, error: str) -> None:
        """Try again at ``due_ms``."""
        return await self._call(Store.postpone_delivery, webhook, place, due_ms=due_ms, error=error)

    async def backlog(self, webhook: str) -> Backlog:
        """What a webhook is still owed."""
        return await self._call(Store.backlog, webhook)

    async def doubt_addresses(self, now_ms: int) -> None:
        """From here on nobody knows whether all addresses that were given stand here."""
        return await self._call(Store.doubt_addresses, now_ms)

    async def addresses_in_doubt(self) -> str:
        """The name of the newest doubt, or "" for none."""
        return await self._call(Store.addresses_in_doubt)

    async def doubted_ms(self) -> int:
        """Since when this database may lack what another one knew; 0 for never."""
        return await self._call(Store.doubted_ms)

    async def promoted_ms(self) -> int:
        """When this writer began, if its server was ever promoted, maybe just before; 0 otherwise."""
        return self._store.promoted_ms()

    async def give_address(
        self, wanted: Sequence[DepositAddress], *, claims: bool = False, vouched: str = ""
    ) -> DepositAddress | None:
        """The first of these that nobody was given, or what has their label; None when all are given."""
        return await self._call(Store.give_address, wanted, claims=claims, vouched=vouched)

    async def addresses(
        self, wallet: str, initiator: str, *, after: str, limit: int
    ) -> tuple[DepositAddress, ...]:
        """What an initiator (or, for none, all) was given of a wallet, oldest first; after an address."""
        return await self._call(Store.addresses, wallet, initiator, after=after, limit=limit)

    async def deposits(self, wallet: str, initiator: str, *, after: bytes, limit: int) -> tuple[Deposit, ...]:
        """What was paid to a wallet, or to what an initiator was given of it, as first stated; after one."""
        return await self._call(Store.deposits, wallet, initiator, after=after, limit=limit)

    async def label_address(self, wanted: DepositAddress) -> DepositAddress | None:
        """Change a given address's label; None when it is not the initiator's. Raises ``LabelTaken``."""
        return await self._call(Store.label_address, wanted)

    # What is kept for a while only.

    async def use_nonce(
        self, caller: str, nonce: str, *, until_s: int, now_s: int, nonces_max: int
    ) -> NonceUse:
        """Use a nonce up until ``until_s``; those whose time is over are forgotten."""
        return await self._call(
            Store.use_nonce, caller, nonce, until_s=until_s, now_s=now_s, nonces_max=nonces_max
        )

    async def trimmed(self, initiator: str = "") -> int:
        """Up to this number of an initiator's feed, or of everybody's, events may be gone."""
        return await self._call(Store.trimmed, initiator)

    async def trim_events(
        self, before_ms: int, webhooks: Collection[str], *, held: Collection[bytes] = ()
    ) -> int:
        """Drop events from before, some at once; how many numbers further the feed is trimmed."""
        return await self._call(Store.trim_events, before_ms, webhooks, held=held)
