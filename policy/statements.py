"""What others state that a verdict depends on: prices, holdings, screenings, and a person's no.

Facts from outside count when at least f + 1 of the roster's observers signed the same statement. A person's
no takes one signature, since it only makes an answer stricter.
"""

from policy import fact_entries as f
from policy.admission import Inert, Signed, check_origin, signers_of, without_approved
from policy.approval import Assertion, Slot, verify_assertion
from policy.ceremony import CONDUCTOR, FAILED, MADE, WITNESS, CeremonyEntry, ceremony_digest
from policy.encoding import Json, document_hash
from policy.holdings import stated
from policy.roster import Roster
from policy.state import Deposit, Holding, JobStatus, PricePoint, Screening, State
from policy.values import replace
from policy.worth import add_low, add_price


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
    point = PricePoint(entry.observed_ms, entry.price)
    priced = replace(
        state,
        prices=state.prices.set(entry.asset, add_price(points, point)),
        lows=state.lows.set(entry.asset, add_low(state.lows.get(entry.asset, ()), point)),
        statements=state.statements + 1,
    )
    return priced, entry.asset.encode()


def admit_holdings(state: State, entry: f.HoldingsEntry) -> tuple[State, bytes]:
    """Take in what a wallet holds of an asset; statements of the two come in order of their time."""
    check_origin(state, entry.origin)
    if not state.policy.tiers:
        raise Inert("the policy declares no tiers: nothing is held against what a wallet holds")
    wallet, asset = state.policy.wallets.get(entry.wallet), state.policy.assets.get(entry.asset)
    if wallet is None or asset is None or wallet.chain != asset.chain:
        raise Inert(f"the policy has no wallet {entry.wallet} on the chain of an asset {entry.asset}")
    last = state.holdings.get((entry.wallet, entry.asset), Holding(0, -1, state.holdings_since))
    if not last.observed_ms < entry.observed_ms <= state.time_ms:
        raise Inert("the statement is not newer than the last one, or of a time to come")
    if not last.size <= entry.size <= state.size:
        raise Inert(
            f"the statement saw {entry.size} entries: say what it is from {last.size} to {state.size}"
        )
    unknown = next((one for one in entry.pending if one not in state.requests), None)
    if unknown is not None:
        raise Inert(f"no admitted request has the id {unknown.hex()}, which is named as pending")
    _check_observers(state, "holdings", entry)
    holding = Holding(entry.amount, entry.observed_ms, entry.size)
    state = stated(state, (entry.wallet, entry.asset), holding=holding, pending=entry.pending)
    return replace(state, statements=state.statements + 1), f"{entry.wallet}/{entry.asset}".encode()


def admit_deposit(state: State, entry: f.DepositEntry) -> tuple[State, bytes]:
    """Take in that somebody paid an account of ours, or that a chain has that no more. No verdict follows.

    The statements of one deposit take turns, so that each is taken in once.
    """
    check_origin(state, entry.origin)
    known = state.deposits.get(entry.deposit, Deposit(0, entry.paid))
    if entry.turn != known.turns:
        raise Inert(
            f"{known.turns} statements of this deposit are in the log, and this is of turn {entry.turn}"
        )
    if entry.gone and entry.paid != known.paid:
        raise Inert("what is gone is not what the deposit was")
    if not entry.gone:
        _check_paid(state, entry, known=entry.turn > 0 and entry.paid == known.paid)
    _check_observers(state, "deposit", entry)
    deposits = state.deposits.set(entry.deposit, Deposit(entry.turn + 1, entry.paid))
    return replace(state, deposits=deposits), entry.deposit


def contradicts(state: State, entry: f.DepositEntry) -> bool:
    """Whether a statement says otherwise than the log what a deposit is, or was before it was gone."""
    known = state.deposits.get(entry.deposit, Deposit(0, b""))
    is_newest = entry.turn < known.turns <= entry.turn + (1 if entry.gone else 2)
    return is_newest and entry.paid != known.paid


def _check_paid(state: State, entry: f.DepositEntry, *, known: bool) -> None:
    """That it is a deposit; one that the log had before stays one, whatever the least is by now."""
    asset = state.policy.assets.get(entry.asset)
    if asset is None or asset.chain != entry.chain:
        raise Inert(f"the policy has no asset {entry.asset} on {entry.chain}")
    if state.owned.get((entry.chain, entry.address)) != entry.wallet:
        raise Inert(f"{entry.address} on {entry.chain} is no account of wallet {entry.wallet}")
    if not known and entry.amount < asset.deposit_min:
        raise Inert(f"{entry.amount} of {entry.asset} is less than {asset.deposit_min}, the least deposit")
    if entry.uses is not None and is_own(state, entry.uses):
        raise Inert(f"{entry.uses.account} is used up by a transaction of ours, which is no deposit")


def is_own(state: State, slot: Slot) -> bool:
    """Whether what a transaction uses up is ours: by a reservation, or where accounts pay, by whose it is."""
    return slot in state.anchors or (slot.chain, slot.account) in state.owned


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


def check_note(state: State, entry: f.NoteEntry) -> bytes:
    """Whether a backend of the roster said this, by its own clock; the state stays as it was."""
    check_origin(state, entry.origin)
    initiator = state.roster.initiators.get(entry.by)
    if initiator is None:
        raise Inert(f"the roster has no initiator {entry.by}")
    if signers_of(state, "note", entry=entry, keys={entry.by: initiator.key}) != {entry.by}:
        raise Inert(f"the note is not signed by {entry.by}")
    return entry.about.encode()


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
    signers = signers_of(state, "ceremony", entry=entry, keys=people) | _asserting(state, entry)
    if signers != set(entry.witnesses):
        missing = sorted(set(entry.witnesses) ^ signers)
        raise Inert(f"all who were there sign, and nobody else: {', '.join(missing)}")
    roles = list(entry.witnesses.values())
    if roles.count(CONDUCTOR) != 1 or WITNESS not in roles:
        raise Inert("a ceremony has one conductor, and at least one witness")


def _asserting(state: State, entry: CeremonyEntry) -> frozenset[str]:
    """The operators who signed by their passkeys. Raises for an assertion that is not theirs."""
    for name, assertion in entry.assertions.items():
        operator = state.roster.operators.get(name)
        if operator is None:
            raise Inert(f"{name} is no operator: only operators have a passkey")
        if state.verifies:
            challenge = ceremony_digest(entry.body)
            verify_assertion(assertion, credential=operator.credential, challenge=challenge)
    return frozenset(entry.assertions)


def _check_outcome(state: State, entry: CeremonyEntry) -> None:
    strangers = [name for name in entry.nodes if name not in state.identities]
    if strangers:
        raise Inert(f"{strangers[0]} was never a node of this log")
    if entry.outcome == FAILED:
        return
    if entry.outcome == MADE:
        key = state.keys.get(entry.key)
        if key is None or not set(key.participants) <= set(entry.nodes):
            raise Inert(f"the log has no key {entry.key} of these nodes")
        return
    job = state.jobs.get(entry.job)
    if job is None or job.status is not JobStatus.SIGNED:
        raise Inert("the log has no signature of this job")
    if (job.key, set(job.signers)) != (entry.key, set(entry.nodes)):
        raise Inert(f"the job was signed under {job.key} by {', '.join(job.signers)}")
