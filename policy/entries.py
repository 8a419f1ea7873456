"""The kinds of entries of the log, and how each is read from its bytes.

An entry is one canonical JSON object: ``kind``, ``time_ms``, ``body``, and what proves the body
(``signature``, ``signatures``, ``assertion``) or what the coordinator claims the verdict to be
(``verdict``). Reading checks form and bounds only; ``policy.ledger`` decides what an entry does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from msgspec import Struct

from policy.approval import Approval, Assertion, parse_approval, parse_assertion
from policy.ceremony import CeremonyEntry, read_ceremony
from policy.encoding import Json, canonical, parse_canonical, tagged_hash
from policy.entry_fields import Signatures, raw_body, read_id, read_signatures
from policy.fact_entries import (
    DepositEntry,
    HoldingsEntry,
    NoteEntry,
    ObservationEntry,
    PriceEntry,
    RejectEntry,
    ScreeningEntry,
    read_deposit,
    read_holdings,
    read_note,
    read_observation,
    read_price,
    read_reject,
    read_screening,
)
from policy.fields import Fields
from policy.ids import ID_BYTES, KEY_CHANGES
from policy.intent import Request, parse_request
from policy.listing import Listing, parse_listing
from policy.log.merkle import leaf_hash
from policy.suites import SUITES

ENTRY_BYTES_MAX = 65535
TX_BYTES_MAX = 8 * 1024
SIGNERS_MAX = 9
JOB_SIGNATURES_MAX = 32
SIGNATURE_BYTES_MAX = 65


class Claim(Struct, frozen=True, gc=False):
    """The verdict the coordinator claims; the fold recomputes it and refuses an entry that claims another."""

    outcome: str
    rule: str


@dataclass(frozen=True, slots=True)
class GenesisEntry:
    body: Json
    origin: str
    rules: int
    roster: Json
    policy: Json
    signatures: Signatures


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key in a new epoch. ``change`` says how it came about, ``dealers`` who dealt its shares."""

    body: Json
    origin: str
    key: str
    epoch: int
    suite: str
    change: str
    dealers: tuple[str, ...]
    min_signers: int
    participants: tuple[str, ...]
    group_key: bytes
    chain_code: bytes
    public_shares: tuple[bytes, ...]
    transcript: bytes
    signatures: Signatures


class RequestEntry(Struct, frozen=True, gc=False):
    body: Json
    request: Request
    signature: bytes
    claim: Claim


class ApprovalEntry(Struct, frozen=True, gc=False):
    body: Json
    approval: Approval
    assertion: Assertion


class ReserveEntry(Struct, frozen=True, gc=False):
    """The wish to have ``tx`` signed by ``signers``, each signature with its path and presignature."""

    request: bytes
    purpose: str
    tx: bytes
    key: str
    epoch: int
    paths: tuple[str, ...]
    signers: tuple[str, ...]
    presignatures: tuple[bytes, ...]
    claim: Claim


class SignatureEntry(Struct, frozen=True, gc=False):
    job: bytes
    index: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class BurnEntry:
    body: Json
    origin: str
    job: bytes
    signatures: Signatures


@dataclass(frozen=True, slots=True)
class BanEntry:
    body: Json
    origin: str
    key: str
    epoch: int
    by: str
    against: str
    reason: str
    signatures: Signatures


@dataclass(frozen=True, slots=True)
class ShredEntry:
    """A node's word that its sealing key of an epoch that is over is destroyed."""

    body: Json
    origin: str
    key: str
    epoch: int
    by: str
    signatures: Signatures


@dataclass(frozen=True, slots=True)
class ChangeEntry:
    """A new policy or roster, ``document``, in place of the one whose hash is ``previous``."""

    kind: str
    body: Json
    origin: str
    document: Json
    previous: bytes
    signatures: Signatures


@dataclass(frozen=True, slots=True)
class AddressEntry:
    """One address more on a list of the policy, or one less."""

    body: Json
    listing: Listing
    signatures: Signatures


@dataclass(frozen=True, slots=True)
class OrderEntry:
    """A veto of a pending change, a freeze, or an unfreeze.

    ``target`` is the change's document hash, 32 bytes of the freezer's choice, or the id of the freeze. A
    freeze by an operator's passkey names them, expires, and has an assertion in place of signatures.
    """

    kind: str
    body: Json
    origin: str
    target: bytes
    signatures: Signatures
    by: str = ""
    expires_ms: int = 0
    assertion: Assertion | None = None


@dataclass(frozen=True, slots=True)
class VersionEntry:
    body: Json
    origin: str
    rules: int
    signatures: Signatures


@dataclass(frozen=True, slots=True)
class ForkEntry:
    """The administrators' word on which branch survives a split that no count resolves."""

    body: Json
    origin: str
    size: int
    root: bytes
    abandoned: tuple[bytes, ...]
    signatures: Signatures
    burns: Mapping[bytes, Signatures] = field(default_factory=dict)


Entry: TypeAlias = (
    GenesisEntry
    | KeyEntry
    | RequestEntry
    | ApprovalEntry
    | ReserveEntry
    | SignatureEntry
    | BurnEntry
    | ObservationEntry
    | DepositEntry
    | PriceEntry
    | HoldingsEntry
    | ScreeningEntry
    | RejectEntry
    | NoteEntry
    | BanEntry
    | ShredEntry
    | ChangeEntry
    | AddressEntry
    | OrderEntry
    | VersionEntry
    | ForkEntry
    | CeremonyEntry
)


class TimedEntry(Struct, frozen=True, gc=False):
    """An entry and the time it carries."""

    kind: str
    time_ms: int
    entry: Entry


def parse_entry(data: bytes) -> TimedEntry:
    """Read one entry strictly. Raises ``MalformedError`` naming the field."""
    return entry_of(parse_canonical(data, bytes_max=ENTRY_BYTES_MAX))


def entry_of(value: Json) -> TimedEntry:
    """``parse_entry`` of a value's canonical encoding."""
    fields = Fields(value, "entry")
    kind = fields.choice("kind", *_READERS)
    time_ms = fields.integer("time_ms")
    entry = _READERS[kind](fields)
    fields.done()
    return TimedEntry(kind, time_ms, entry)


def job_id(origin: str, index: int, *, data: bytes) -> bytes:
    """The id of the job that the reserve entry ``data`` at log index ``index`` makes."""
    return tagged_hash("job", origin.encode(), index.to_bytes(8, "big"), leaf_hash(data))


def freeze_id(origin: str, index: int, *, body: Json) -> bytes:
    """The id of the freeze that the entry at log index ``index`` makes: what an unfreeze names."""
    return tagged_hash("freeze", origin.encode(), index.to_bytes(8, "big"), canonical(body))


def make_entry(kind: str, time_ms: int, *, body: Json, **proof: Json) -> bytes:
    """The bytes of an entry. ``proof`` is ``signature``, ``signatures``, ``assertion`` or ``verdict``."""
    return canonical({"kind": kind, "time_ms": time_ms, "body": body, **proof})


def signature_list(signatures: Signatures) -> list[Json]:
    """Signatures as they stand in an entry, in order of name."""
    return [{"name": name, "signature": signatures[name].hex()} for name in sorted(signatures)]


def _read_claim(fields: Fields) -> Claim:
    verdict = fields.nested("verdict")
    claim = Claim(verdict.choice("outcome", "allow", "deny", "wait"), verdict.name("rule"))
    verdict.done()
    return claim


def _read_genesis(fields: Fields) -> GenesisEntry:
    body, inner = raw_body(fields)
    entry = GenesisEntry(
        body=body,
        origin=inner.origin("origin"),
        rules=inner.integer("rules", low=1),
        roster=inner.raw("roster"),
        policy=inner.raw("policy"),
        signatures=read_signatures(fields),
    )
    inner.done()
    return entry


def _read_key(fields: Fields) -> KeyEntry:
    body, inner = raw_body(fields)
    suite = SUITES[inner.choice("suite", *SUITES)]
    entry = KeyEntry(
        body=body,
        origin=inner.origin("origin"),
        key=inner.name("key"),
        epoch=inner.integer("epoch", high=2**31),
        suite=suite.name,
        change=inner.choice("change", *KEY_CHANGES),
        dealers=inner.names("dealers", count_max=SIGNERS_MAX),
        min_signers=inner.integer("min_signers", low=2, high=SIGNERS_MAX),
        participants=inner.names("participants", count_min=2, count_max=SIGNERS_MAX),
        group_key=inner.hex("group_key", length=suite.point_bytes),
        chain_code=inner.hex("chain_code", length=32),
        public_shares=inner.items(
            "public_shares", partial(_read_point, length=suite.point_bytes), count_max=SIGNERS_MAX
        ),
        transcript=inner.hex("transcript", length=ID_BYTES),
        signatures=read_signatures(fields),
    )
    inner.done()
    return entry


def _read_point(value: Json, *, length: int) -> bytes:
    return Fields({"point": value}, "public_shares").hex("point", length=length)


def _read_request(fields: Fields) -> RequestEntry:
    body = fields.raw("body")
    signature = fields.hex("signature", length=64)
    return RequestEntry(body, parse_request(body), signature, _read_claim(fields))


def _read_approval(fields: Fields) -> ApprovalEntry:
    body = fields.raw("body")
    return ApprovalEntry(body, parse_approval(body), parse_assertion(fields.raw("assertion")))


def parse_reserve(body: Json) -> ReserveEntry:
    """Read the body of a reservation that claims no verdict yet."""
    return _reserve_of(Fields(body, "body"), Claim("deny", "unclaimed"))


def _read_reserve(fields: Fields) -> ReserveEntry:
    return _reserve_of(fields.nested("body"), _read_claim(fields))


def _reserve_of(inner: Fields, claim: Claim) -> ReserveEntry:
    entry = ReserveEntry(
        request=inner.hex("request", length=ID_BYTES),
        purpose=inner.choice("purpose", "payment", "cancel"),
        tx=inner.hex("tx", length_max=TX_BYTES_MAX),
        key=inner.name("key"),
        epoch=inner.integer("epoch", high=2**31),
        paths=inner.texts("paths", length_max=128, count_max=JOB_SIGNATURES_MAX),
        signers=inner.names("signers", count_min=2, count_max=SIGNERS_MAX),
        presignatures=inner.items("presignatures", read_id, count_max=JOB_SIGNATURES_MAX),
        claim=claim,
    )
    inner.done()
    return entry


def _read_signature(fields: Fields) -> SignatureEntry:
    inner = fields.nested("body")
    entry = SignatureEntry(
        job=inner.hex("job", length=ID_BYTES),
        index=inner.integer("index", high=JOB_SIGNATURES_MAX - 1),
        signature=inner.hex("signature", length_max=SIGNATURE_BYTES_MAX),
    )
    inner.done()
    return entry


def _read_burn(fields: Fields) -> BurnEntry:
    body, inner = raw_body(fields)
    entry = BurnEntry(
        body, inner.origin("origin"), inner.hex("job", length=ID_BYTES), read_signatures(fields)
    )
    inner.done()
    return entry


def _read_ban(fields: Fields) -> BanEntry:
    body, inner = raw_body(fields)
    entry = BanEntry(
        body=body,
        origin=inner.origin("origin"),
        key=inner.name("key"),
        epoch=inner.integer("epoch", high=2**31),
        by=inner.name("by"),
        against=inner.name("against"),
        reason=inner.text("reason", length_max=300),
        signatures=read_signatures(fields),
    )
    inner.done()
    return entry


def _read_shred(fields: Fields) -> ShredEntry:
    body, inner = raw_body(fields)
    entry = ShredEntry(
        body=body,
        origin=inner.origin("origin"),
        key=inner.name("key"),
        epoch=inner.integer("epoch", high=2**31),
        by=inner.name("by"),
        signatures=read_signatures(fields),
    )
    inner.done()
    return entry


def _read_change(kind: str) -> Callable[[Fields], ChangeEntry]:
    def read(fields: Fields) -> ChangeEntry:
        body, inner = raw_body(fields)
        origin, document = inner.origin("origin"), inner.raw(kind)
        previous = inner.hex("previous", length=ID_BYTES)
        inner.done()
        return ChangeEntry(kind, body, origin, document, previous, read_signatures(fields))

    return read


def _read_address(fields: Fields) -> AddressEntry:
    body = fields.raw("body")
    return AddressEntry(body, parse_listing(body), read_signatures(fields))


def _read_order(kind: str) -> Callable[[Fields], OrderEntry]:
    def read(fields: Fields) -> OrderEntry:
        body, inner = raw_body(fields)
        origin, target = inner.origin("origin"), inner.hex("target", length=ID_BYTES)
        inner.text("reason", length_max=300)
        by_passkey = kind == "freeze" and fields.has("assertion")
        by, expires_ms = (inner.name("by"), inner.integer("expires_ms")) if by_passkey else ("", 0)
        inner.done()
        if by_passkey:
            assertion = parse_assertion(fields.raw("assertion"))
            return OrderEntry(kind, body, origin, target, {}, by, expires_ms, assertion)
        return OrderEntry(kind, body, origin, target, read_signatures(fields))

    return read


def _read_version(fields: Fields) -> VersionEntry:
    body, inner = raw_body(fields)
    entry = VersionEntry(body, inner.origin("origin"), inner.integer("rules", low=1), read_signatures(fields))
    inner.done()
    return entry


def _read_fork(fields: Fields) -> ForkEntry:
    body, inner = raw_body(fields)
    burns = fields.objects(
        "burns", lambda f: (f.hex("job", length=ID_BYTES), read_signatures(f)), count_max=64
    )
    entry = ForkEntry(
        body=body,
        origin=inner.origin("origin"),
        size=inner.integer("size"),
        root=inner.hex("root", length=ID_BYTES),
        abandoned=inner.items("abandoned", read_id, count_max=64),
        signatures=read_signatures(fields),
        burns=dict(burns),
    )
    inner.done()
    return entry


_READERS: dict[str, Callable[[Fields], Entry]] = {
    "genesis": _read_genesis,
    "key": _read_key,
    "request": _read_request,
    "approval": _read_approval,
    "reserve": _read_reserve,
    "signature": _read_signature,
    "burn": _read_burn,
    "observation": read_observation,
    "deposit": read_deposit,
    "price": read_price,
    "holdings": read_holdings,
    "screening": read_screening,
    "reject": read_reject,
    "note": read_note,
    "ban": _read_ban,
    "shred": _read_shred,
    "policy": _read_change("policy"),
    "roster": _read_change("roster"),
    "address": _read_address,
    "veto": _read_order("veto"),
    "freeze": _read_order("freeze"),
    "unfreeze": _read_order("unfreeze"),
    "version": _read_version,
    "fork": _read_fork,
    "ceremony": read_ceremony,
}
