"""How the rules themselves change: genesis, policies, rosters, vetoes, freezes, versions, forks.

A change is signed by the administrators' quorum, waits out the delay, can be vetoed by one
administrator meanwhile, and takes effect by the log's time. A roster that changes the cosigners
also needs w of the old and w of the new ones. A key is one identity's for ever: who has left does not
come back under another name.
"""

from collections.abc import Mapping

from immutables import Map

from policy import entries as e
from policy.accounts import owned_accounts
from policy.address_book import KIND as ADDRESS
from policy.address_book import activate_address, book_hash, carried_over, with_book
from policy.admission import Inert, check_origin
from policy.approval import Assertion, verify_assertion
from policy.coherence import check_coherent
from policy.counting import recount_all
from policy.document import parse_policy, policy_hash
from policy.encoding import Json, document_hash
from policy.errors import MalformedError
from policy.facts import scale
from policy.holdings import afresh
from policy.model import Policy
from policy.roster import Roster, parse_roster, verified_signers
from policy.state import PendingChange, State
from policy.values import replace

RULES_SUPPORTED = 1
PENDING_MAX = 16
PASSKEY_FREEZE_MS_MAX = 15 * 60 * 1000


def admit_genesis(state: State, entry: e.GenesisEntry) -> tuple[State, bytes]:
    """Start the log: who exists and what is allowed, signed by the administrators it names."""
    if state.size:
        raise Inert("the log has its genesis entry already")
    roster, policy = parse_roster(entry.roster), parse_policy(entry.policy)
    check_coherent(roster, policy)
    _check_quorum("genesis", entry.body, entry.signatures, roster=roster)
    digest = policy_hash(entry.policy)
    return (
        replace(
            state,
            origin=entry.origin,
            rules=entry.rules,
            roster_document=entry.roster,
            roster_hash=document_hash("roster", entry.roster),
            roster_or_none=roster,
            identities=_identities(state, roster),
            key_owners=state.key_owners.update(roster.key_owners()),
            policy_document=entry.policy,
            policy_or_none=policy,
            policy_hash=digest,
        ),
        digest,
    )


def change_hash(kind: str, body: Json) -> bytes:
    """What people compare before they sign a change of this kind: it covers everything that is signed."""
    return document_hash(f"{kind}-change", body)


def admit_change(state: State, entry: e.ChangeEntry) -> tuple[State, bytes]:
    """Take in a signed policy or roster, once; it takes effect after the delay unless vetoed.

    A second time the same signatures would undo a veto, or a change made since.
    """
    check_origin(state, entry.origin)
    if entry.previous != _in_force(state, entry.kind):
        raise Inert(f"the {entry.kind} was drawn up against another version than the one in force")
    if sum(change.kind != ADDRESS for change in state.pending) >= PENDING_MAX:
        raise Inert(f"{PENDING_MAX} changes are pending already; veto some first")
    signed = change_hash(entry.kind, entry.body)
    if signed in state.changes:
        raise Inert(f"this very {entry.kind} was taken in before: signatures serve once, change its text")
    if entry.kind == "policy":
        _check_quorum("policy", entry.body, entry.signatures, roster=state.roster)
        policy = parse_policy(entry.document)
        check_coherent(state.roster, policy)
        _check_keys_kept(state, policy)
    else:
        new = parse_roster(entry.document)
        check_coherent(new, state.policy)
        _check_identities(state, new)
        _check_owners(state, new)
        _check_roster_signatures(state.roster, new, entry)
    digest = document_hash(entry.kind, entry.document)
    effective_ms = state.time_ms + state.roster.policy_delay_ms
    change = PendingChange(entry.kind, entry.document, digest, entry.previous, effective_ms, state.size)
    return replace(state, pending=(*state.pending, change), changes=state.changes.set(signed, True)), digest


def _check_keys_kept(state: State, policy: Policy) -> None:
    """A key there is keeps its suite, and whether somebody knew it once."""
    for record in state.keys.values():
        wanted = policy.keys.get(record.key)
        if wanted is not None and (wanted.suite, wanted.imported) != (record.suite, record.imported):
            raise Inert(f"key {record.key} is for {record.suite}, imported or not as it was: name a new key")


def admit_order(state: State, entry: e.OrderEntry) -> tuple[State, bytes]:
    """A veto or a freeze by one administrator, or an unfreeze by their quorum.

    An unfreeze names the freeze it ends, so that an old one, sent again, ends no later freeze. One operator
    can freeze, too.
    """
    check_origin(state, entry.origin)
    if entry.assertion is not None:
        return _freeze_by_passkey(state, entry, entry.assertion)
    signers = verified_signers(
        entry.kind, entry.body, signatures=entry.signatures, keys=state.roster.administrators
    )
    if not signers:
        raise Inert(f"nobody signed the {entry.kind}")
    match entry.kind:
        case "veto":
            rest = tuple(change for change in state.pending if change.document_hash != entry.target)
            if len(rest) == len(state.pending):
                raise Inert("no pending change has this hash")
            return replace(state, pending=rest), entry.target
        case "freeze":
            return _frozen(state, entry)
        case _:
            _check_quorum(entry.kind, entry.body, entry.signatures, roster=state.roster)
            if not state.frozen or entry.target != state.freeze:
                raise Inert("the unfreeze does not name the freeze that is in force")
            return replace(state, frozen=False), entry.target


def _frozen(state: State, entry: e.OrderEntry) -> tuple[State, bytes]:
    identifier = e.freeze_id(state.origin, state.size, body=entry.body)
    return replace(state, frozen=True, freeze=identifier), identifier


def _freeze_by_passkey(state: State, entry: e.OrderEntry, assertion: Assertion) -> tuple[State, bytes]:
    """Freeze on an operator's word, once, soon, and not over a freeze that the quorum may be about to end.

    What an operator signed is not theirs to take back: it must not work a second time, nor be kept for later.
    """
    operator = state.roster.operators.get(entry.by)
    if operator is None:
        raise Inert(f"{entry.by} is no operator: only operators freeze by passkey")
    taken = change_hash(entry.kind, entry.body)
    if taken in state.changes:
        raise Inert("this very freeze was taken in before: sign another one")
    if not state.time_ms <= entry.expires_ms <= state.time_ms + PASSKEY_FREEZE_MS_MAX:
        raise Inert(
            f"it is {state.time_ms}, and the freeze is taken in at most {PASSKEY_FREEZE_MS_MAX} ms before it "
            f"expires at {entry.expires_ms}: load the page again and sign another one"
        )
    if state.frozen:
        raise Inert("signing is frozen already")
    if state.verifies:  # the passkey's challenge is what administrators call the fingerprint
        verify_assertion(assertion, credential=operator.credential, challenge=taken)
    return _frozen(replace(state, changes=state.changes.set(taken, True)), entry)


def admit_version(state: State, entry: e.VersionEntry) -> tuple[State, bytes]:
    """Switch to the next version of rules and decoders, when those who must follow have said they can."""
    check_origin(state, entry.origin)
    if entry.rules != state.rules + 1:
        raise Inert(f"version {entry.rules} does not follow {state.rules}")
    keys = state.roster.share_keys()
    ready = verified_signers("ready", entry.body, signatures=entry.signatures, keys=keys)
    cosigners = len(ready & set(state.roster.cosigners))
    if cosigners < state.roster.w:
        raise Inert(f"need readiness of {state.roster.w} cosigners, got {cosigners}")
    for key in state.keys.values():
        able = ready & set(key.participants)
        if len(able) < key.min_signers:
            raise Inert(f"key {key.key} needs {key.min_signers} ready nodes, has {len(able)}")
    return replace(state, rules=entry.rules), str(entry.rules).encode()


def admit_fork(state: State, entry: e.ForkEntry) -> tuple[State, bytes]:
    """The administrators' record of which branch survived, with burns for every abandoned reservation."""
    check_origin(state, entry.origin)
    if entry.size > state.size:
        raise Inert(f"the surviving branch is said to have {entry.size} entries, there are {state.size}")
    _check_quorum("fork", entry.body, entry.signatures, roster=state.roster)
    if set(entry.burns) != set(entry.abandoned):
        raise Inert("every abandoned reservation needs its burn statements, and no other")
    keys = state.identities
    for job, signatures in entry.burns.items():
        body: Json = {"origin": state.origin, "job": job.hex()}
        if len(verified_signers("burn", body, signatures=signatures, keys=keys)) < 2:
            raise Inert(f"abandoned job {job.hex()} lacks burn statements of its signers")
    return state, entry.root


def activate_due(state: State) -> State:
    """Put pending changes into effect whose time has come, in the order of it, then as they were logged."""
    for change in sorted(state.pending, key=lambda change: change.effective_ms):
        if change.effective_ms <= state.time_ms:
            rest = tuple(other for other in state.pending if other is not change)
            state = _activate(replace(state, pending=rest), change)
    return state


def _activate(state: State, change: PendingChange) -> State:
    """One change in effect; one that no longer fits what else changed meanwhile is dropped."""
    if change.kind == ADDRESS:
        return activate_address(state, change)
    if change.previous != _in_force(state, change.kind):
        return state
    try:
        if change.kind == "policy":
            policy = parse_policy(change.document)
            check_coherent(state.roster, policy)
            _check_keys_kept(state, policy)  # a key may have been made while the change waited
            book = carried_over(state.book, policy)
            changed = replace(
                state,
                policy_document=change.document,
                policy_or_none=with_book(policy, book),
                book=book,
                book_hash=book_hash(book),
                policy_hash=change.document_hash,
                owned=owned_accounts(policy, state.keys),
            )
            if scale(policy) != scale(state.policy):
                changed = replace(changed, prices=Map(), lows=Map())  # numbers of another unit
            return afresh(recount_all(_without_approvals(changed, frozenset())))
        roster = parse_roster(change.document)
        check_coherent(roster, state.policy)
    except (MalformedError, Inert):
        return state
    same = (n for n, operator in roster.operators.items() if state.roster.operators.get(n) == operator)
    changed = replace(
        state,
        roster_or_none=roster,
        roster_document=change.document,
        roster_hash=change.document_hash,
        identities=_identities(state, roster),
        key_owners=state.key_owners.update(roster.key_owners()),
    )
    return _without_approvals(changed, frozenset(same))


def _in_force(state: State, kind: str) -> bytes:
    return state.policy_hash if kind == "policy" else state.roster_hash


def _without_approvals(state: State, kept: frozenset[str]) -> State:
    """``state`` with the approvals of open requests void, but for these operators'. Cost: all of those."""
    requests, approved = state.requests, state.approved
    for identifier in list(state.approved):
        request = state.requests[identifier]
        approvals = tuple(approval for approval in request.approvals if approval.operator in kept)
        if approvals != request.approvals:
            requests = requests.set(identifier, replace(request, approvals=approvals))
        if not approvals:
            approved = approved.delete(identifier)
    return replace(state, requests=requests, approved=approved)


def _identities(state: State, roster: Roster) -> Map[str, bytes]:
    return state.identities.update(roster.share_keys())


def _check_identities(state: State, new: Roster) -> None:
    """A name once a cosigner's means that identity for ever: its burns and shares are told by name."""
    for name, key in new.share_keys().items():
        if state.identities.get(name, key) != key:
            raise Inert(f"cosigner {name} has a new key: a new identity needs a new name")
    taken = set(new.share_keys()) & set(state.roster.administrators)
    if taken:
        raise Inert(f"{min(taken)} is an administrator's name: a cosigner needs a name of its own")


def _check_owners(state: State, new: Roster) -> None:
    """A key that was somebody's never becomes another's, not even of one who has left."""
    for place, name in new.key_owners().items():
        owner = state.key_owners.get(place, name)
        if owner != name:
            raise Inert(f"the {place[0]} key of {name} was {owner}'s: {name} needs a key of its own")


def _check_quorum(tag: str, body: Json, signatures: Mapping[str, bytes], *, roster: Roster) -> None:
    signers = verified_signers(tag, body, signatures=signatures, keys=roster.administrators)
    if len(signers) < roster.administrators_quorum:
        raise Inert(f"need {roster.administrators_quorum} administrators, got {len(signers)}")


def _check_roster_signatures(old: Roster, new: Roster, entry: e.ChangeEntry) -> None:
    """The administrators' quorum; and w of the old and w of the new cosigners where these change."""
    cosigners = {**new.cosigner_keys(), **old.cosigner_keys()}
    signers = verified_signers(
        "roster", entry.body, signatures=entry.signatures, keys={**cosigners, **old.administrators}
    )
    count = len(signers & set(old.administrators))
    if count < old.administrators_quorum:
        raise Inert(f"need {old.administrators_quorum} administrators, got {count}")
    if (old.cosigners, old.w, old.f, old.log_key) == (new.cosigners, new.w, new.f, new.log_key):
        return
    for roster, word in ((old, "old"), (new, "new")):
        count = len(signers & set(roster.cosigners))
        if count < roster.w:
            raise Inert(f"a change of cosigners needs {roster.w} of the {word} ones, got {count}")
