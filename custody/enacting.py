"""What administrators and others sign, on its way into the log; and changes that are due, into effect.

What the log would not take in is refused and not logged. A call may be repeated, as after a lost answer:
what is done already is answered as done. Nothing here is authority: the fold decides, at every node.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import assert_never

from custody.api.errors import CallRefused, Code
from custody.candidates import Candidate
from custody.forking import hand_over
from custody.parts import Parts
from policy import entries as e
from policy import fact_entries as f
from policy.approval import Assertion
from policy.ceremony import CeremonyEntry
from policy.encoding import Json, document_hash, parse_canonical
from policy.errors import CallerError, InvalidSignatureError, MalformedError
from policy.fields import Fields
from policy.governance import RULES_SUPPORTED, change_hash
from policy.listing import listing_id
from policy.roster import parse_roster, verified_signers
from policy.state import State
from policy.statements import contradicts

KINDS = ("policy", "roster", "address", "veto", "freeze", "unfreeze", "version", "fork")
GATHERED = ("deposit", "observation")
"""What each observer hands in alone: it is logged when f + 1 of them have signed the same."""
STATEMENTS = ("reject", "price", "holdings", "screening", "note", "ceremony", *GATHERED)
"""What others than administrators sign: the fold says whose word each of them takes."""
COSIGNED_S = 2.0
SWEEP_S = 0.5
_LOG = logging.getLogger(__name__)
_Enacted = (
    e.ChangeEntry
    | e.AddressEntry
    | e.OrderEntry
    | e.VersionEntry
    | e.ForkEntry
    | f.RejectEntry
    | f.PriceEntry
    | f.HoldingsEntry
    | f.NoteEntry
    | f.ScreeningEntry
    | f.DepositEntry
    | f.ObservationEntry
    | CeremonyEntry
)


@dataclass(frozen=True, slots=True)
class Signed:
    """What a caller hands in: canonical bytes of a body, and of what proves it."""

    kind: str
    body: bytes
    proof: bytes


async def enact(parts: Parts, signed: Signed) -> dict[str, Json]:
    """Put what somebody signed into the log; what came of it. Raises ``CallRefused``.

    ``effective_ms`` is when a change takes effect, 0 where nothing waits; ``cosigned`` says whether w
    cosigners have it already; ``left`` what is to be done before it counts.
    """
    entry, candidate = _read(signed)
    origin = entry.listing.origin if isinstance(entry, e.AddressEntry) else entry.origin
    if origin != (here := parts.sequencer.state.origin):
        raise CallRefused(Code.FOREIGN_ORIGIN, f"the {signed.kind} is for {origin}, this is {here}")
    done = _done(parts.sequencer.state, entry)
    if isinstance(entry, f.DepositEntry) and contradicts(parts.sequencer.state, entry):
        raise _contradicted(parts, entry)
    if done is None and isinstance(entry, f.DepositEntry | f.ObservationEntry):
        candidate, missing = _gathered(parts, candidate, entry)
        if missing:
            return _answer(signed.kind, b"", left={"observers": missing})
    subject = await _log(parts, entry, candidate) if done is None else done
    left: dict[str, Json] = {}
    if isinstance(entry, e.ForkEntry):
        left.update(await hand_over(parts, candidate))
    cosigned = await parts.replication.reached(parts.sequencer.state.size, COSIGNED_S)
    pending = parts.sequencer.state.pending
    effective_ms = max((c.effective_ms for c in pending if c.document_hash == subject), default=0)
    answer = _answer(signed.kind, subject, left=left)
    return answer | {"effective_ms": effective_ms, "was_done": done is not None, "cosigned": cosigned}


def _answer(kind: str, subject: bytes, *, left: dict[str, Json]) -> dict[str, Json]:
    nothing: dict[str, Json] = {"effective_ms": 0, "was_done": False, "cosigned": False}
    return {"kind": kind, "subject": subject.hex(), **nothing, "left": left}


def _gathered(
    parts: Parts, candidate: Candidate, entry: f.DepositEntry | f.ObservationEntry
) -> tuple[Candidate, int]:
    """The statement with all observers' signatures that are known, and how many are missing."""
    roster = parts.sequencer.state.roster
    if not entry.signatures:
        raise CallRefused(Code.BAD_SIGNATURE, "nobody signed it: sign it as an observer")
    try:
        found = parts.gathering.add(candidate.kind, entry.body, signatures=entry.signatures, roster=roster)
    except InvalidSignatureError as error:
        raise CallRefused(Code.BAD_SIGNATURE, f"{error}: sign it with the key in the roster") from error
    proof: dict[str, Json] = {"signatures": e.signature_list(found)}
    return Candidate(candidate.kind, candidate.body, proof), max(0, roster.f + 1 - len(found))


def _contradicted(parts: Parts, entry: f.DepositEntry) -> CallRefused:
    """A refusal of what is not as f + 1 observers had it logged; people hear of whoever signed it."""
    try:
        by = verified_signers(
            "deposit", entry.body, signatures=entry.signatures, keys=parts.sequencer.state.roster.observers
        )
    except InvalidSignatureError as error:
        return CallRefused(Code.BAD_SIGNATURE, f"{error}: sign it with the key in the roster")
    paid = f"{entry.amount} of {entry.asset} to {entry.address} of {entry.wallet}"
    reason = f"transaction {entry.tx.hex()} on {entry.chain} pays something else by the log than {paid}"
    for name in sorted(by):
        parts.metrics.contradictions.labels(observer=name).inc()
        _LOG.warning("%s states what others do not: %s", name, reason)
    return CallRefused(Code.STATEMENT_DIFFERS, f"{reason}: compare your endpoint with those of others")


def document(state: State, wanted: bytes) -> tuple[str, Json]:
    """The document with this hash, in force or pending; its kind first. Raises ``CallRefused``."""
    known = {change.document_hash: (change.kind, change.document) for change in state.pending}
    known[state.policy_hash] = ("policy", state.policy_document)
    known[state.roster_hash] = ("roster", state.roster_document)
    if wanted not in known:
        raise CallRefused(
            Code.UNKNOWN_DOCUMENT,
            f"no policy or roster in force or pending has the hash {wanted.hex()}: status lists them",
        )
    return known[wanted]


async def run(parts: Parts) -> None:
    """Put changes into effect when they are due, also while nothing else is logged, until cancelled."""
    while True:
        state, now_ms = parts.sequencer.state, parts.now_ms()
        if any(change.effective_ms <= now_ms for change in state.pending):
            outcome = await parts.sequencer.log(moment(state.origin, "a change is due"))
            _LOG.info("a change was due: %s", outcome.reason)
        await asyncio.sleep(SWEEP_S)


async def _log(parts: Parts, entry: _Enacted, candidate: Candidate) -> bytes:
    """What the entry is about, once it is durable."""
    _check(parts, entry)
    outcome = await parts.sequencer.log(candidate)
    if not outcome.accepted:
        raise CallRefused(Code.CHANGE_REFUSED, f"{outcome.reason}: nothing was logged")
    if isinstance(entry, f.DepositEntry | f.ObservationEntry):
        parts.gathering.drop(candidate.kind, entry.body)
    return outcome.subject


def moment(origin: str, reason: str) -> Candidate:
    """An entry that nobody signed: it has no effect but that the log's time reaches the present."""
    body: Json = {"origin": origin, "target": bytes(32).hex(), "reason": reason}
    return Candidate("veto", body, {"signatures": []}, only_time=True)


def _read(signed: Signed) -> tuple[_Enacted, Candidate]:
    """The entry as it would stand in the log, but for its time."""
    if signed.kind not in (*KINDS, *STATEMENTS):
        raise CallRefused(
            Code.MALFORMED, f"{signed.kind[:64]!r} is none of {', '.join((*KINDS, *STATEMENTS))}"
        )
    try:
        body = parse_canonical(signed.body, bytes_max=e.ENTRY_BYTES_MAX)
        fields = Fields(parse_canonical(signed.proof, bytes_max=e.ENTRY_BYTES_MAX), "proof")
        names = _proof_names(signed.kind, fields)
        proof = {name: fields.raw(name) for name in names}
        fields.done()
        entry = e.parse_entry(e.make_entry(signed.kind, 0, body=body, **proof)).entry
    except (MalformedError, CallerError) as error:
        raise CallRefused(Code.MALFORMED, f"{error}: draw it up with quorumkeep admin draft") from error
    if not isinstance(entry, _Enacted):
        raise CallRefused(Code.MALFORMED, f"a {signed.kind} entry cannot be handed in")
    return entry, Candidate(signed.kind, body, proof)


def _proof_names(kind: str, proof: Fields) -> tuple[str, ...]:
    if kind == "fork":
        return "signatures", "burns"
    if kind == "ceremony" and proof.has("assertions"):
        return "signatures", "assertions"

    by_passkey = kind in ("reject", "freeze") and proof.has("assertion")
    return ("assertion",) if by_passkey else ("signatures",)


def _done(state: State, entry: _Enacted) -> bytes | None:
    """What the entry is about, if what it asks for is so already; else None."""
    match entry:
        case e.ChangeEntry():
            digest = document_hash(entry.kind, entry.document)
            here = {change.document_hash for change in state.pending} | {state.policy_hash, state.roster_hash}
            taken = change_hash(entry.kind, entry.body) in state.changes
            return digest if taken and digest in here else None
        case e.AddressEntry():
            identifier, listing = listing_id(entry.body), entry.listing
            listed = listing.address in state.policy.lists.get(listing.list, ())
            here = {change.document_hash for change in state.pending}
            done = identifier in here or listed == listing.adds
            return identifier if identifier in state.changes and done else None
        case e.OrderEntry(assertion=Assertion()):
            return state.freeze if state.frozen else None
        case e.OrderEntry():
            ended = entry.kind == "unfreeze" and not state.frozen and state.freeze != bytes(32)
            return entry.target if ended and entry.target == state.freeze else None
        case e.VersionEntry():
            return str(entry.rules).encode() if entry.rules == state.rules else None
        case f.RejectEntry():
            request = state.requests.get(entry.request)
            return entry.request if request and request.rejected_by else None
        case CeremonyEntry():
            return entry.ceremony if entry.taken_as in state.changes else None
        case f.DepositEntry():
            known = state.deposits.get(entry.deposit)
            return entry.deposit if known is not None and known.turns > entry.turn else None
        case f.ObservationEntry():
            request = state.requests.get(entry.request)
            return entry.request if request and request.observed else None
        case e.ForkEntry() | f.PriceEntry() | f.HoldingsEntry() | f.ScreeningEntry() | f.NoteEntry():
            return None
        case _:
            assert_never(entry)


def _check(parts: Parts, entry: _Enacted) -> None:
    """What this coordinator could not live with, whoever signed it."""
    if isinstance(entry, e.VersionEntry) and entry.rules > RULES_SUPPORTED:
        raise CallRefused(
            Code.CHANGE_REFUSED,
            f"this coordinator's program has rules {RULES_SUPPORTED}, not {entry.rules}: upgrade it first",
        )
    if isinstance(entry, e.ChangeEntry) and entry.kind == "roster":
        try:
            same_key = parse_roster(entry.document).log_key == parts.log_key.public_key
        except MalformedError as error:
            raise CallRefused(Code.MALFORMED, str(error)) from error
        if not same_key:
            raise CallRefused(
                Code.CHANGE_REFUSED, "the roster names another log key: the log's key cannot be changed yet"
            )
    if isinstance(entry, e.ForkEntry) and not any(
        follower.diverged for follower in parts.replication.followers.values()
    ):
        raise CallRefused(Code.CHANGE_REFUSED, "no cosigner is on another branch: look at quorumkeep status")
