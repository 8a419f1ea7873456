"""What backends are told without asking: the feed of events, webhooks' deliveries, addresses. As a port.

Every method is one transaction, and durable when it returns. An event is written in the transaction that
changes its request, so that none is lost and none is told of what did not happen.
"""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from custody.records import DepositRecord
from custody.requests import State, Substate
from policy.encoding import Json

EVENT_ID = re.compile(r"([0-9a-f]{8})-(0|[1-9][0-9]{0,17})")
LABEL_MAX = 128


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one request, or of a ``deposit``, a canonical document. ``sequence`` rises in ``feed``.

    An initiator has a feed of its own, with numbers of its own, which say nothing of how much others ask for;
    whoever sees all has another one.
    """

    feed: str
    sequence: int
    request: bytes
    initiator: str
    state: State
    substate: Substate
    rule: str
    chain: str
    tx_hash: bytes
    block: int
    approvals: int
    error: str
    time_ms: int
    deposit: bytes = b""

    @property
    def id(self) -> str:
        """How others call it."""
        return event_id(self.feed, self.sequence)


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event that a webhook is to be told of; ``place`` is its number among the events of all."""

    webhook: str
    place: int
    event: Event
    attempts: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a webhook is still to be told of, and why the oldest of it was not taken."""

    waiting: int
    error: str


@dataclass(frozen=True, slots=True)
class DepositAddress:
    """An address of a wallet that one initiator has been given to be paid at."""

    chain: str
    address: str
    wallet: str
    path: str
    initiator: str
    label: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class Deposit:
    """What came to a wallet, and for whom it is by the address; two empty texts for nobody."""

    record: DepositRecord
    initiator: str
    label: str


class NonceUse(Enum):
    """What came of using a nonce."""

    FRESH = "fresh"
    USED = "used"
    TOO_MANY = "too many"


class LabelTaken(Exception):
    """Another address of the wallet has this label."""


class UnknownPosition(Exception):
    """A list is to go on after something that does not stand in it."""


class AddressesInDoubt(Exception):
    """This database may lack addresses that somebody was given; with the name of the doubt."""


def event_id(feed: str, sequence: int) -> str:
    """The id of an event; of number 0, the beginning of a feed."""
    return f"{feed}-{sequence}"


def deposit_document(one: Deposit) -> dict[str, Json]:
    """A deposit as it is told, everywhere."""
    record = one.record
    return {
        "id": record.deposit.hex(),
        "chain": record.chain,
        "tx": record.tx.hex(),
        "index": record.place,
        "wallet": record.wallet,
        "address": record.address,
        "label": one.label,
        "asset": record.asset,
        "amount": str(record.amount),
        "block": record.block,
        "gone": record.gone,
        "statement": json.loads(record.statement),
    }


class FeedStorage(Protocol):
    """What ``custody.adapters.feeds.Feeds`` does, for asyncio. Raises ``OperationalError``."""

    async def feed(self, initiator: str = "") -> tuple[str, int]:
        """Name and newest number of an initiator's feed; for an empty one, of everybody's."""

    async def events(
        self, after: int, *, request: bytes = b"", initiator: str = "", limit: int = 100
    ) -> tuple[Event, ...]:
        """Events in order; of one request, and of one initiator in its own feed, or of all for empty ones."""

    async def newest_events(self, requests: Sequence[bytes], *, own: bool = False) -> dict[bytes, Event]:
        """The newest event of each request, as everybody's feed has it, or the initiator's ``own``."""

    async def queue_deliveries(
        self, webhook: str, initiator: str, *, now_ms: int, state: State | None = None
    ) -> None:
        """Owe a webhook the events since it was last asked for; nothing for one that is new.

        Those of all initiators for an empty one; with ``state`` of each request the first event in it.
        """

    async def queue_again(self, webhook: str, initiator: str, *, first: int, last: int, now_ms: int) -> int:
        """Owe a webhook these events of the initiator's own feed (once more); how many."""

    async def deliveries(self, webhook: str, now_ms: int, *, limit: int) -> tuple[Delivery, ...]:
        """What is due: of each request its oldest event alone, as its initiator's own feed has it."""

    async def delivered(self, webhook: str, place: int) -> None:
        """A webhook has taken an event."""

    async def postpone_delivery(self, webhook: str, place: int, *, due_ms: int, error: str) -> None:
        """Try again at ``due_ms``."""

    async def backlog(self, webhook: str) -> Backlog:
        """What a webhook is still owed."""

    async def doubt_addresses(self, now_ms: int) -> None:
        """From here on nobody knows whether all addresses that were given stand here."""
        ...

    async def addresses_in_doubt(self) -> str:
        """The name of the newest doubt, or "" for none."""
        ...

    async def doubted_ms(self) -> int:
        """Since when this database may lack what another one knew, such as used nonces; 0 for never."""
        ...

    async def promoted_ms(self) -> int:
        """When this writer began, if its server was ever promoted, maybe just before; 0 otherwise.

        A standby that was behind may lack nonces that were used until then.
        """
        ...

    async def give_address(
        self, wanted: Sequence[DepositAddress], *, claims: bool = False, vouched: str = ""
    ) -> DepositAddress | None:
        """The first of these that nobody was given, or what has their label; None when all are given."""

    async def addresses(
        self, wallet: str, initiator: str, *, after: str, limit: int
    ) -> tuple[DepositAddress, ...]:
        """What an initiator (or, for none, all) was given of a wallet, oldest first; after an address.

        Raises ``UnknownPosition``.
        """

    async def deposits(self, wallet: str, initiator: str, *, after: bytes, limit: int) -> tuple[Deposit, ...]:
        """What was paid to a wallet, or to what an initiator was given of it, as first stated; after one.

        Raises ``UnknownPosition``.
        """

    async def label_address(self, wanted: DepositAddress) -> DepositAddress | None:
        """Change a given address's label; None when it is not the initiator's. Raises ``LabelTaken``."""

    async def use_nonce(
        self, caller: str, nonce: str, *, until_s: int, now_s: int, nonces_max: int
    ) -> NonceUse:
        """Use a nonce up until ``until_s``; those whose time is over are forgotten."""

    async def trimmed(self, initiator: str = "") -> int:
        """Up to this number of an initiator's feed, or of everybody's, events may be gone."""

    async def trim_events(
        self, before_ms: int, webhooks: Collection[str], *, held: Collection[bytes] = ()
    ) -> int:
        """Drop events from before, some at once; how many numbers further the feed is trimmed.

        What one of these webhooks is still owed stays, and so do the newest event of each request and all
        events of those that are ``held``.
        """
