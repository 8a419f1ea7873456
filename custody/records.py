"""What the coordinator remembers about requests, as plain data between service and store."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from custody.requests import Effect, Event, State
from policy.approval import Slot
from policy.encoding import Json, canonical, parse_canonical
from policy.intent import parse_request, request_id

REQUEST_BYTES_MAX = 16 * 1024


@dataclass(frozen=True, slots=True)
class NewRequest:
    """A submitted request: its canonical body, the initiator's signature over it, a PSBT if it has one."""

    request: bytes
    initiator: str
    idempotency_key: str
    body: bytes
    signature: bytes
    expires_ms: int
    psbt: bytes = b""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One row of the projection. ``nonce`` is None and ``account`` empty until the request is planned."""

    request: bytes
    initiator: str
    body: bytes
    signature: bytes
    state: State
    expires_ms: int
    updated_ms: int
    rule: str
    chain: str
    account: str
    path: str
    nonce: int | None
    tx: bytes
    job: bytes
    tx_hash: bytes
    block: int
    approvals: int
    error: str
    psbt: bytes


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction that is ready to be sent."""

    job: bytes
    request: bytes
    purpose: str
    tx_hash: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class Payment:
    """A signed payment, as its destination's history has it."""

    chain: str
    destination: str
    asset: str
    initiator: str
    amount: int
    signed_ms: int


@dataclass(frozen=True, slots=True)
class PaidTo:
    """What one initiator had paid to one destination in one asset, how often, and last by which request."""

    chain: str
    destination: str
    asset: str
    initiator: str
    payments: int
    total: int
    last_ms: int
    last_request: bytes


@dataclass(frozen=True, slots=True)
class DepositRecord:
    """A payment from outside to a wallet, as observers stated it last; ``gone`` if the chain lost it.

    ``statement`` is what they signed, with their signatures, as canonical JSON.
    """

    deposit: bytes
    chain: str
    tx: bytes
    place: int
    wallet: str
    address: str
    asset: str
    amount: int
    block: int
    gone: bool
    time_ms: int
    statement: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """One event of a request and the columns it sets; without an event only the columns change.

    ``new`` makes the row when it is missing (the database is being rebuilt from the log). ``payment`` comes
    with the ``transaction`` of a payment. A ``deposit`` is of no request, and comes alone. ``presignatures``
    are those that it uses.
    """

    request: bytes
    event: Event | None
    fields: Mapping[str, object] = field(default_factory=dict)
    new: NewRequest | None = None
    transaction: SignedTransaction | None = None
    payment: Payment | None = None
    slot: Slot | None = None
    deposit: DepositRecord | None = None
    presignatures: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Duty:
    """One effect a request owes."""

    request: bytes
    effect: Effect
    attempts: int
    due_ms: int


@dataclass(frozen=True, slots=True)
class PendingApproval:
    """An approval that was received and is not in the log yet."""

    approval_id: bytes
    request: bytes
    body: bytes
    assertion: bytes


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a change: the request as it is now, and the effects it now owes."""

    record: RequestRecord
    effects: tuple[Effect, ...]


class IdempotencyConflict(Exception):
    """The initiator used this idempotency key for another request; nothing was stored."""


@dataclass(frozen=True, slots=True)
class PooledPresignature:
    """A presignature some signing set holds, and its nonce point R.

    ``signers`` and the ``boots`` they were at are joined by commas, in one order.
    """

    presignature: bytes
    nonce_point: bytes
    key: str
    epoch: int
    signers: str
    boots: str


@dataclass(frozen=True, slots=True)
class ReportRecord:
    """What a rebalancer said of its work at ``time_ms`` by its own clock: canonical bytes that it signed."""

    initiator: str
    time_ms: int
    received_ms: int
    body: bytes
    signature: bytes


def new_request(body: Json, signature: bytes) -> NewRequest:
    """Read a request document into a row. Raises ``MalformedError``; verifies no signature."""
    request = parse_request(body)
    return NewRequest(
        request=request_id(body),
        initiator=request.initiator,
        idempotency_key=request.idempotency_key,
        body=canonical(body),
        signature=signature,
        expires_ms=request.expires_ms,
    )


def storable(text: str) -> str:
    """What others have said, such as a chain's endpoint, as every database and answer takes it."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)


def request_body(record: RequestRecord) -> Json:
    """The document of a stored request."""
    return parse_canonical(record.body, bytes_max=REQUEST_BYTES_MAX)
