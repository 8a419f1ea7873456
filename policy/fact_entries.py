"""The entries by which facts and a person's no enter the log, and how each is read."""

from dataclasses import dataclass

from policy.approval import Assertion, parse_assertion
from policy.encoding import Json
from policy.entry_fields import Signatures, raw_body, read_signatures
from policy.fields import Fields
from policy.ids import ID_BYTES

REASON_CHARACTERS_MAX = 300


@dataclass(frozen=True, slots=True)
class ObservationEntry:
    body: Json
    origin: str
    request: bytes
    job: bytes
    tx_hash: bytes
    block: int
    success: bool
    signatures: Signatures


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """What one whole ``asset`` is worth, in ``unit`` such as ``usd/8``, by those who watch markets."""

    body: Json
    origin: str
    asset: str
    unit: str
    price: int
    observed_ms: int
    signatures: Signatures


@dataclass(frozen=True, slots=True)
class ScreeningEntry:
    """What a screening found about a request: a ``result`` in the provider's words, and a ``risk`` to 100."""

    body: Json
    origin: str
    request: bytes
    result: str
    risk: int
    observed_ms: int
    signatures: Signatures


@dataclass(frozen=True, slots=True)
class RejectEntry:
    """One person's no to a request: by the key of the roster, or by an operator's passkey."""

    body: Json
    origin: str
    request: bytes
    by: str
    reason: str
    signatures: Signatures
    assertion: Assertion | None


def read_observation(fields: Fields) -> ObservationEntry:
    """Read what became of a transaction."""
    body, inner = raw_body(fields)
    inner.choice("fact", "settled")
    entry = ObservationEntry(
        body=body,
        origin=inner.origin("origin"),
        request=inner.hex("request", length=ID_BYTES),
        job=inner.hex("job", length=ID_BYTES),
        tx_hash=inner.hex("tx_hash", length=ID_BYTES),
        block=inner.integer("block"),
        success=inner.boolean("success"),
        signatures=read_signatures(fields),
    )
    inner.done()
    return entry


def read_price(fields: Fields) -> PriceEntry:
    """Read a price."""
    body, inner = raw_body(fields)
    entry = PriceEntry(
        body=body,
        origin=inner.origin("origin"),
        asset=inner.name("asset"),
        unit=inner.text("unit", length_max=70),
        price=inner.amount("price", low=1),
        observed_ms=inner.integer("observed_ms"),
        signatures=read_signatures(fields),
    )
    inner.done()
    return entry


def read_screening(fields: Fields) -> ScreeningEntry:
    """Read a screening."""
    body, inner = raw_body(fields)
    entry = ScreeningEntry(
        body=body,
        origin=inner.origin("origin"),
        request=inner.hex("request", length=ID_BYTES),
        result=inner.name("result"),
        risk=inner.integer("risk", high=100),
        observed_ms=inner.integer("observed_ms"),
        signatures=read_signatures(fields),
    )
    inner.done()
    return entry


def read_reject(fields: Fields) -> RejectEntry:
    """Read a rejection; it has signatures or an assertion, never both."""
    body, inner = raw_body(fields)
    by_passkey = fields.has("assertion")
    entry = RejectEntry(
        body=body,
        origin=inner.origin("origin"),
        request=inner.hex("request", length=ID_BYTES),
        by=inner.name("by"),
        reason=inner.text("reason", length_max=REASON_CHARACTERS_MAX),
        signatures={} if by_passkey else read_signatures(fields),
        assertion=parse_assertion(fields.raw("assertion")) if by_passkey else None,
    )
    inner.done()
    return entry
