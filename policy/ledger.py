"""The fold: one entry after the other into the state of limits, jobs, keys, policies and people.

Everyone runs this: the coordinator before it proposes, every node before it cosigns or signs, the
witness, and any auditor years later. It is total on bytes that a cosigner may be asked to fold: an
entry that is malformed, unsigned, denied or out of place is inert, which changes nothing but the
digest. Time is the entries' own; it never goes back.
"""

from struct import Struct
from typing import Final, NamedTuple, assert_never

from policy import address_book as b
from policy import admission as a
from policy import entries as e
from policy import fact_entries as f
from policy import governance as g
from policy import keys as k
from policy import reservations as r
from policy import statements as t
from policy.ceremony import CeremonyEntry
from policy.encoding import Json, tagged_hash
from policy.errors import CallerError, OperationalError, ProtocolError
from policy.evaluate import Verdict
from policy.intent import parse_request, request_id
from policy.log.merkle import leaf_hash
from policy.rules import Facts
from policy.shapes import read_entry
from policy.state import Outcome, State, UnverifiedState
from policy.values import replace

_NUMBERS: Final = Struct(">QQQ")


class UnknownVersion(OperationalError):
    """The log uses rules this program does not have: it must stop here and be upgraded."""


class Weighed(NamedTuple):
    """A verdict and what it follows from.

    ``facts`` are None where one of the log's own rules denied: then no policy was asked. ``state`` is that
    of the log as its time reaches the verdict's.
    """

    verdict: Verdict
    facts: Facts | None
    state: State


def initial() -> State:
    """The state before the first entry."""
    return State()


def initial_unverified() -> State:
    """``initial`` for a fold that does not check again who signed requests, approvals, facts and jobs."""
    return UnverifiedState()


def fold(state: State, data: bytes) -> tuple[State, Outcome]:
    """The state after the entry ``data``, and what it came to.

    Raises ``UnknownVersion`` only. An entry whose time goes back, or any entry before the genesis
    entry, is inert.
    """
    _check_version(state.size, state.rules)
    folded, outcome = _fold(state, data)
    digest = tagged_hash(
        "state",
        state.digest,
        state.size.to_bytes(8, "big"),
        leaf_hash(data),
        outcome.agreed(),
        _in_force(folded),
    )
    return replace(folded, size=state.size + 1, digest=digest), outcome


def judge(state: State, kind: str, *, body: Json, time_ms: int) -> Verdict:
    """The verdict on a request or reservation, were it the next entry of the log at ``time_ms``.

    Raises ``MalformedError`` for a body that cannot be read.
    """
    return weigh(state, kind, body=body, time_ms=time_ms).verdict


def weigh(state: State, kind: str, *, body: Json, time_ms: int) -> Weighed:
    """``judge`` with what the verdict follows from. Raises ``MalformedError`` as it does."""
    state = at_time(state, time_ms)
    if kind == "request":
        request, identifier = parse_request(body), request_id(body)
        return Weighed(*a.weigh_request(state, request, identifier=identifier, time_ms=time_ms), state)
    if kind != "reserve":
        raise CallerError(f"a {kind} entry has no verdict")
    verdict, _, facts = r.weigh_reservation(state, e.parse_reserve(body), time_ms=time_ms)
    return Weighed(verdict, facts, state)


def claim_verdict(state: State, kind: str, *, body: Json, time_ms: int) -> dict[str, Json]:
    """What the coordinator must claim in a request or reserve entry for it to be taken in."""
    return judge(state, kind, body=body, time_ms=time_ms).to_json()


def _check_version(index: int, rules: int) -> None:
    if rules > g.RULES_SUPPORTED:
        raise UnknownVersion(
            f"entry {index} is under rules {rules}, this program has {g.RULES_SUPPORTED}: upgrade it"
        )


def _in_force(state: State) -> bytes:
    """What every cosigner must agree on besides outcomes: what changes by time alone shows at once."""
    numbers = _NUMBERS.pack(state.time_ms, state.rules, state.frozen)
    return b"".join((state.policy_hash, state.roster_hash, numbers, state.book_hash))


def at_time(state: State, time_ms: int) -> State:
    """The state as the log's time reaches ``time_ms``: due changes are in effect. It is no later entry."""
    state = replace(state, time_ms=max(state.time_ms, time_ms))
    return g.activate_due(state) if state.pending else state


def _fold(state: State, data: bytes) -> tuple[State, Outcome]:
    try:
        timed = read_entry(data)
    except (ProtocolError, CallerError) as error:
        return state, Outcome("malformed", False, str(error))
    if isinstance(timed.entry, e.GenesisEntry) and not state.size:
        _check_version(state.size, timed.entry.rules)
    if timed.time_ms < state.time_ms:
        reason = f"time {timed.time_ms} is before the log's {state.time_ms}"
        return state, Outcome(timed.kind, False, reason)
    if (state.size == 0) != (timed.kind == "genesis"):
        return state, Outcome(timed.kind, False, "the genesis entry is the first and only the first")
    if state.size and state.roster_or_none is None:
        return state, Outcome(timed.kind, False, "the log has no valid genesis entry: nothing can follow")
    state = at_time(state, timed.time_ms)
    try:
        return _apply(state, timed, data)
    except (ProtocolError, CallerError) as error:  # a bound of a part we built from what we received
        return state, Outcome(timed.kind, False, str(error))


def _apply(state: State, timed: e.TimedEntry, data: bytes) -> tuple[State, Outcome]:
    entry = timed.entry
    match entry:
        case e.RequestEntry():
            return _apply_request(state, entry)
        case e.ReserveEntry():
            return _apply_reserve(state, entry, data)
        case e.SignatureEntry():
            state, subject = r.admit_signature(state, entry)
        case f.ObservationEntry():
            state, subject = a.admit_observation(state, entry)
        case f.DepositEntry():
            state, subject = t.admit_deposit(state, entry)
        case e.ApprovalEntry():
            state, subject = a.admit_approval(state, entry)
        case e.GenesisEntry():
            state, subject = g.admit_genesis(state, entry)
        case e.KeyEntry():
            state, subject = k.admit_key(state, entry)
        case e.BurnEntry():
            state, subject = r.admit_burn(state, entry)
        case f.PriceEntry():
            state, subject = t.admit_price(state, entry)
        case f.HoldingsEntry():
            state, subject = t.admit_holdings(state, entry)
        case f.ScreeningEntry():
            state, subject = t.admit_screening(state, entry)
        case f.RejectEntry():
            state, subject = t.admit_reject(state, entry)
        case f.NoteEntry():
            subject = t.check_note(state, entry)
        case e.BanEntry():
            state, subject = k.admit_ban(state, entry)
        case e.ShredEntry():
            state, subject = k.admit_shred(state, entry)
        case e.ChangeEntry():
            state, subject = g.admit_change(state, entry)
        case e.AddressEntry():
            state, subject = b.admit_address(state, entry)
        case e.OrderEntry():
            state, subject = g.admit_order(state, entry)
        case e.VersionEntry():
            state, subject = g.admit_version(state, entry)
        case e.ForkEntry():
            state, subject = g.admit_fork(state, entry)
        case CeremonyEntry():
            state, subject = t.admit_ceremony(state, entry)
        case _:
            assert_never(entry)
    return state, Outcome(timed.kind, True, "", subject)


def _apply_request(state: State, entry: e.RequestEntry) -> tuple[State, Outcome]:
    identifier = request_id(entry.body)
    verdict = a.judge_request(state, entry.request, identifier=identifier, time_ms=state.time_ms)
    if mismatch := _mismatch(entry.claim, verdict):
        return state, Outcome("request", False, mismatch, identifier, verdict)
    try:
        state, subject = a.admit_request(state, entry, identifier=identifier, verdict=verdict)
    except ProtocolError as error:
        return state, Outcome("request", False, str(error), identifier, verdict)
    return state, Outcome("request", True, verdict.reason, subject, verdict)


def _apply_reserve(state: State, entry: e.ReserveEntry, data: bytes) -> tuple[State, Outcome]:
    identifier = e.job_id(state.origin, state.size, data=data)
    verdict, draft, facts = r.weigh_reservation(state, entry, time_ms=state.time_ms)
    if mismatch := _mismatch(entry.claim, verdict):
        return state, Outcome("reserve", False, mismatch, identifier, verdict)
    if draft is None or facts is None:
        return state, Outcome("reserve", False, verdict.reason, identifier, verdict)
    state = r.reserve(state, entry, draft=draft, facts=facts, job_id=identifier)
    return state, Outcome("reserve", True, verdict.reason, identifier, verdict)


def _mismatch(claim: e.Claim, verdict: Verdict) -> str:
    claimed = (claim.outcome, claim.rule)
    found = (verdict.outcome.word, verdict.rule)
    if claimed == found:
        return ""
    return f"the entry claims {' by '.join(claimed)}, the verdict is {' by '.join(found)}: {verdict.reason}"
