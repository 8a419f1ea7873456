"""What others state that a verdict depends on: prices, screenings, and a person's no.

Facts from outside count when at least f + 1 of the roster's observers signed the same statement. A person's
no takes one signature, since it only makes an answer stricter.
"""

from policy import fact_entries as f
from policy.admission import Inert, Signed, check_origin, signers_of, without_approved
from policy.ceremony import CONDUCTOR, FAILED, MADE, WITNESS, CeremonyEntry
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
    key = _rejecting_key(state.roster, entry.by, initiator=request.request.initiator)
    if key is None:
        raise Inert(f"{entry.by} is no operator or administrator, and not the initiator")
    signers = signers_of(state, "reject", entry=entry, keys={entry.by: key})
    if signers != {entry.by}:
        raise Inert(f"the rejection is not signed by {entry.by}")
    rejected = replace(request, rejected_by=entry.by, approvals=())
    state = replace(state, requests=state.requests.set(entry.request, rejected))
    return without_approved(state, entry.request), entry.request


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


def admit_ceremony(state: State, entry: CeremonyEntry) -> tuple[State, bytes]:
    """Take in the record of a ceremony, once, on the word of all it says were there. It decides nothing."""
    check_origin(state, entry.origin)
    if entry.taken_as in state.changes:
        raise Inert("this ceremony has its record already")
    if not entry.began_ms <= entry.ended_ms <= state.time_ms:
        raise Inert("the ceremony ended before it began, or in a time to come")
    _check_people(state, entry)
    _check_outcome(state, entry)
    return replace(state, changes=state.changes.set(entry.taken_as, True)), entry.ceremony


def _check_people(state: State, entry: CeremonyEntry) -> None:
    """All who were there have signed, people of the roster, and two of them in different roles."""
    people = {name: operator.key for name, operator in state.roster.operators.items()}
    people |= state.roster.administrators
    signers = signers_of(state, "ceremony", entry=entry, keys=people)
    if signers != set(entry.witnesses):
        missing = sorted(set(entry.witnesses) ^ signers)
        raise Inert(f"all who were there sign, and nobody else: {', '.join(missing)}")
    roles = list(entry.witnesses.values())
    if roles.count(CONDUCTOR) != 1 or WITNESS not in roles:
        raise Inert("a ceremony has one conductor, and at least one witness")


def _check_outcome(state: State, entry: CeremonyEntry) -> None:
    strangers = [name for name in entry.nodes if name not in state.identities]
    if strangers:
        raise Inert(f"{strangers[0]} was never a node of this log")
    if entry.outcome == FAILED:
        return
    if entry.outcome == MADE:
        key = state.keys.get(entry.key)
        if key is None or set(key.participants) != set(entry.nodes):
            raise Inert(f"the log has no key {entry.key} of these nodes")
        return
    job = state.jobs.get(entry.job)
    if job is None or job.status is not JobStatus.SIGNED:
        raise Inert("the log has no signature of this job")
    if (job.key, set(job.signers)) != (entry.key, set(entry.nodes)):
        raise Inert(f"the job was signed under {job.key} by {', '.join(job.signers)}")
