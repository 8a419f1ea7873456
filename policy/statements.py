"""What others state that a verdict depends on: prices, screenings, and a person's no.

Facts from outside count when at least f + 1 of the roster's observers signed the same statement. A person's
no takes one signature, since it only makes an answer stricter.
"""

from policy import fact_entries as f
from policy.admission import Inert, Signed, check_origin, signers_of, without_approved
from policy.approval import Assertion, verify_assertion
from policy.encoding import Json, document_hash
from policy.facts import add_price
from policy.roster import Roster
from policy.state import JobStatus, PricePoint, Screening, State
from policy.values import replace


def admit_price(state: State, entry: f.PriceEntry) -> tuple[State, bytes]:
    """Take in what one whole asset is worth; statements of one asset come in order of their time."""
    check_origin(state, entry.origin)
    prices = state.policy.prices
    if prices is None or prices.scale != entry.unit:
        raise Inert(f"the policy has no prices in {entry.unit}")
    if entry.asset not in state.policy.assets:
        raise Inert(f"the policy has no asset {entry.asset}")
    points = state.prices.get(entry.asset, ())
    if not (points[-1].observed_ms if points else -1) < entry.observed_ms <= state.time_ms:
        raise Inert("the price is not newer than the last one, or of a time to come")
    _check_observers(state, "price", entry)
    points = add_price(points, PricePoint(entry.observed_ms, entry.price))
    prices_now = state.prices.set(entry.asset, points)
    return replace(state, prices=prices_now, statements=state.statements + 1), entry.asset.encode()


def admit_screening(state: State, entry: f.ScreeningEntry) -> tuple[State, bytes]:
    """Take in what a screening of an open request found; the newest statement counts."""
    check_origin(state, entry.origin)
    request = state.requests.get(entry.request)
    if request is None or request.closed:
        raise Inert("the screened request is not open")
    last_ms = request.screening.observed_ms if request.screening else -1
    if not last_ms < entry.observed_ms <= state.time_ms:
        raise Inert("the screening is not newer than the last one, or of a time to come")
    _check_observers(state, "screening", entry)
    screened = replace(request, screening=Screening(entry.result, entry.risk, entry.observed_ms))
    requests = state.requests.set(entry.request, screened)
    return replace(state, requests=requests, statements=state.statements + 1), entry.request


def admit_reject(state: State, entry: f.RejectEntry) -> tuple[State, bytes]:
    """Stop a request for good, by one operator or administrator, or by the initiator itself.

    It comes too late for a payment that is signed. For one that is reserved no partial signature is given any
    more; those that are out already can still be combined.
    """
    check_origin(state, entry.origin)
    request = state.requests.get(entry.request)
    if request is None or request.closed or request.rejected_by:
        raise Inert("the rejected request is not open")
    if any(job.status is JobStatus.SIGNED for job in state.live_jobs(entry.request)):
        raise Inert("the request is signed already: it may be under way")
    _check_rejecting(state, entry, initiator=request.request.initiator)
    rejected = replace(request, rejected_by=entry.by, approvals=())
    state = replace(state, requests=state.requests.set(entry.request, rejected))
    return without_approved(state, entry.request), entry.request


def rejection_digest(body: Json) -> bytes:
    """The 32 bytes an operator's passkey signs as its challenge to say no."""
    return document_hash("reject", body)


def _check_rejecting(state: State, entry: f.RejectEntry, *, initiator: str) -> None:
    """Refuse a no that is not signed by whom it names."""
    key = _rejecting_key(state.roster, entry.by, initiator=initiator)
    if key is None:
        raise Inert(f"{entry.by} is no operator or administrator, and not the initiator")
    if entry.assertion is not None:
        _check_passkey(state, entry, assertion=entry.assertion)
    elif signers_of(state, "reject", entry=entry, keys={entry.by: key}) != {entry.by}:
        raise Inert(f"the rejection is not signed by {entry.by}")


def _check_passkey(state: State, entry: f.RejectEntry, *, assertion: Assertion) -> None:
    operator = state.roster.operators.get(entry.by)
    if operator is None:
        raise Inert(f"{entry.by} is no operator: only operators have a passkey")
    if state.verifies:
        verify_assertion(assertion, credential=operator.credential, challenge=rejection_digest(entry.body))


def _rejecting_key(roster: Roster, by: str, *, initiator: str) -> bytes | None:
    if by in roster.operators:
        return roster.operators[by].key
    if by == initiator and by in roster.initiators:
        return roster.initiators[by].key
    return roster.administrators.get(by)


def _check_observers(state: State, tag: str, entry: Signed) -> None:
    signers = signers_of(state, tag, entry=entry, keys=state.roster.observers)
    if len(signers) <= state.roster.f:
        raise Inert(f"need {state.roster.f + 1} observers, got {len(signers)}")
