"""Entries of a payment, each read at once by the shape of its JSON: several times as fast as field by field.

A shape reads no entry that ``policy.entries`` would not read to the same. What it declines may still be well
formed: that is read field by field, which alone decides what is malformed and says which field is. Shapes are
of texts and numbers; bytes and amounts are made of them once they fit. See
docs/adr/0026-two-readers-of-an-entry.md.
"""

import functools
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct, ValidationError, convert

from policy import approval as a
from policy import entries as e
from policy.addresses import is_address
from policy.encoding import INTEGER_MAX, Json, encodes_plain, parse_ascii
from policy.entry_fields import SIGNATURES_MAX
from policy.errors import MalformedError
from policy.fact_entries import ObservationEntry, checked_tx_hash
from policy.fields import AMOUNT_DIGITS_MAX, NAME
from policy.ids import AMOUNT_MAX, ID_BYTES, ORIGIN, TX_HASH_BYTES
from policy.intent import IDEMPOTENCY_KEY_MAX, Intent, Request, checked_request

WORDS_CACHED = 4096


def _exactly(count: int) -> Meta:
    """As long as hex of so many bytes is; whether it is hex, ``_bytes`` says."""
    return Meta(min_length=2 * count, max_length=2 * count)


_Id: TypeAlias = Annotated[str, _exactly(ID_BYTES)]
_TxHash: TypeAlias = Annotated[str, Meta(max_length=2 * max(TX_HASH_BYTES.values()))]
_Signature: TypeAlias = Annotated[str, _exactly(64)]
_Amount: TypeAlias = Annotated[str, Meta(max_length=AMOUNT_DIGITS_MAX)]
_Integer: TypeAlias = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]


class Shape(Struct, forbid_unknown_fields=True):
    """What every entry has."""

    kind: str
    time_ms: _Integer

    def read(self, body: Json) -> e.Entry:
        """The entry, with the ``body`` as it is signed. Raises ``ProtocolError`` or ``CallerError``."""
        raise NotImplementedError


class _Claim(Struct, forbid_unknown_fields=True):
    outcome: Literal["allow", "deny", "wait"]
    rule: str

    def read(self) -> e.Claim:
        return e.Claim(self.outcome, _name(self.rule))


class _Payment(Struct, forbid_unknown_fields=True):
    """An intent that is neither a call nor typed data."""

    chain: str
    wallet: str
    asset: str
    amount: _Amount
    destination: str

    def intent(self) -> Intent:
        amount = _amount(self.amount)
        if not amount or not is_address(self.chain, self.destination):
            raise MalformedError("no payment")
        return Intent(self.chain, _name(self.wallet), _name(self.asset), amount, self.destination)


class _RequestBody(_Payment, forbid_unknown_fields=True):
    origin: str
    initiator: str
    fee_ceiling: _Amount
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=IDEMPOTENCY_KEY_MAX)]
    created_ms: _Integer
    expires_ms: _Integer


class _Request(Shape, forbid_unknown_fields=True):
    body: _RequestBody
    signature: _Signature
    verdict: _Claim

    def read(self, body: Json) -> e.Entry:
        found = self.body
        request = Request(
            origin=_origin(found.origin),
            initiator=_name(found.initiator),
            intent=found.intent(),
            fee_ceiling=_amount(found.fee_ceiling),
            idempotency_key=_text(found.idempotency_key),
            created_ms=found.created_ms,
            expires_ms=found.expires_ms,
        )
        signature = _bytes(self.signature)
        return e.RequestEntry(body, checked_request(request), signature, self.verdict.read())


class _Approved(_Payment, forbid_unknown_fields=True):
    calldata_hash: _Id


class _Slot(Struct, forbid_unknown_fields=True):
    chain: str
    account: Annotated[str, Meta(min_length=1, max_length=a.SLOT_ACCOUNT_MAX)]
    nonce: _Amount


class _ApprovalBody(Struct, forbid_unknown_fields=True):
    origin: str
    request: _Id
    intent: _Approved
    fee_ceiling: _Amount
    slot: _Slot
    policy: _Id
    expires_ms: _Integer
    approval_id: _Id
    operator: str

    def read(self) -> a.Approval:
        return a.Approval(
            origin=_origin(self.origin),
            request=_bytes(self.request),
            intent=self.intent.intent(),
            calldata_hash=_bytes(self.intent.calldata_hash),
            fee_ceiling=_amount(self.fee_ceiling),
            slot=a.checked_slot(a.Slot(self.slot.chain, _text(self.slot.account), _amount(self.slot.nonce))),
            policy=_bytes(self.policy),
            expires_ms=self.expires_ms,
            approval_id=_bytes(self.approval_id),
            operator=_name(self.operator),
        )


class _Assertion(Struct, forbid_unknown_fields=True):
    authenticator_data: Annotated[str, Meta(max_length=2 * a.AUTHENTICATOR_DATA_BYTES_MAX)]
    client_data: Annotated[str, Meta(max_length=2 * a.CLIENT_DATA_BYTES_MAX)]
    signature: Annotated[str, Meta(max_length=2 * a.SIGNATURE_BYTES_MAX)]

    def read(self) -> a.Assertion:
        return a.Assertion(
            _bytes(self.authenticator_data),
            _bytes(self.client_data),
            _bytes(self.signature),
        )


class _Approval(Shape, forbid_unknown_fields=True):
    body: _ApprovalBody
    assertion: _Assertion

    def read(self, body: Json) -> e.Entry:
        return e.ApprovalEntry(body, a.checked_approval(self.body.read()), self.assertion.read())


class _ReserveBody(Struct, forbid_unknown_fields=True):
    request: _Id
    purpose: Literal["payment", "cancel"]
    tx: Annotated[str, Meta(max_length=2 * e.TX_BYTES_MAX)]
    key: str
    epoch: Annotated[int, Meta(ge=0, le=2**31)]
    paths: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=128)], ...],
        Meta(min_length=1, max_length=e.JOB_SIGNATURES_MAX),
    ]
    signers: Annotated[tuple[str, ...], Meta(min_length=2, max_length=e.SIGNERS_MAX)]
    presignatures: Annotated[tuple[_Id, ...], Meta(max_length=e.JOB_SIGNATURES_MAX)]


class _Reserve(Shape, forbid_unknown_fields=True):
    body: _ReserveBody
    verdict: _Claim

    def read(self, body: Json) -> e.Entry:
        found = self.body
        if len(set(found.signers)) != len(found.signers):
            raise MalformedError("a signer is there twice")
        return e.ReserveEntry(
            request=_bytes(found.request),
            purpose=found.purpose,
            tx=_bytes(found.tx),
            key=_name(found.key),
            epoch=found.epoch,
            paths=tuple(map(_text, found.paths)),
            signers=tuple(map(_name, found.signers)),
            presignatures=tuple(map(_bytes, found.presignatures)),
            claim=self.verdict.read(),
        )


class _SignatureBody(Struct, forbid_unknown_fields=True):
    job: _Id
    index: Annotated[int, Meta(ge=0, le=e.JOB_SIGNATURES_MAX - 1)]
    signature: Annotated[str, Meta(max_length=2 * e.SIGNATURE_BYTES_MAX)]


class _Signed(Shape, forbid_unknown_fields=True):
    body: _SignatureBody

    def read(self, body: Json) -> e.Entry:
        found = self.body
        return e.SignatureEntry(_bytes(found.job), found.index, _bytes(found.signature))


class _Signer(Struct, forbid_unknown_fields=True):
    name: str
    signature: _Signature


class _ObservationBody(Struct, forbid_unknown_fields=True):
    fact: Literal["settled"]
    origin: str
    request: _Id
    job: _Id
    tx_hash: _TxHash
    block: _Integer
    success: bool


class _Observation(Shape, forbid_unknown_fields=True):
    body: _ObservationBody
    signatures: Annotated[tuple[_Signer, ...], Meta(max_length=SIGNATURES_MAX)]

    def read(self, body: Json) -> e.Entry:
        found, signatures = self.body, {_name(one.name): _bytes(one.signature) for one in self.signatures}
        if len(signatures) != len(self.signatures):
            raise MalformedError("one name signs twice")
        return ObservationEntry(
            body=body,
            origin=_origin(found.origin),
            request=_bytes(found.request),
            job=_bytes(found.job),
            tx_hash=checked_tx_hash(_bytes(found.tx_hash)),
            block=found.block,
            success=found.success,
            signatures=signatures,
        )


SHAPES: dict[str, type[Shape]] = {
    "request": _Request,
    "approval": _Approval,
    "reserve": _Reserve,
    "signature": _Signed,
    "observation": _Observation,
}


def read_entry(data: bytes) -> e.TimedEntry:
    """Read one entry strictly. Raises ``MalformedError`` naming the field."""
    value = parse_ascii(data) if len(data) <= e.ENTRY_BYTES_MAX else ""
    found = shaped(value)
    return found if found is not None and encodes_plain(data, value) else e.parse_entry(data)


def shaped(value: Json) -> e.TimedEntry | None:
    """The entry, if it has one of the shapes; None says nothing about it."""
    if not isinstance(value, dict) or not isinstance(kind := value.get("kind"), str) or kind not in SHAPES:
        return None
    try:
        found = convert(value, SHAPES[kind])
        return e.TimedEntry(found.kind, found.time_ms, found.read(value["body"]))
    except (ValidationError, MalformedError, ValueError):
        return None


def _amount(text: str) -> int:
    amount = int(text)
    if not 0 <= amount <= AMOUNT_MAX or str(amount) != text:
        raise MalformedError("no amount")
    return amount


def _bytes(text: str) -> bytes:
    data = bytes.fromhex(text)
    if data.hex() != text:
        raise MalformedError("no lower-case hex")
    return data


def _text(text: str) -> str:
    """A text of printable ASCII."""
    if not text.isascii() or not text.isprintable():
        raise MalformedError("a text of other characters")
    return text


@functools.lru_cache(maxsize=WORDS_CACHED)
def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise MalformedError("no name")
    return text


@functools.lru_cache(maxsize=WORDS_CACHED)
def _origin(text: str) -> str:
    if not ORIGIN.fullmatch(text):
        raise MalformedError("no origin")
    return text
