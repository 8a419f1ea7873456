"""What the log says of keys: made, imported, refreshed, reshared; who refuses whom; who forgot what.

A key's epoch changes at the entry that all who hold a share of the new epoch have signed, and at no other
moment. Group key and chain code never change. What the policy in force says of a key's participants is
where the next resharing leads, not who signs now: that is its record.
"""

from policy import entries as e
from policy.accounts import owned_accounts
from policy.admission import Inert, check_origin
from policy.ids import GENERATE, IMPORT, REFRESH, RESHARE
from policy.model import Key
from policy.roster import verified_signers
from policy.state import KeyRecord, State
from policy.values import replace


def admit_key(state: State, entry: e.KeyEntry) -> tuple[State, bytes]:
    """Take in a key, or a key's next epoch, that everybody who takes part has signed for."""
    check_origin(state, entry.origin)
    wanted = state.policy.keys.get(entry.key)
    if wanted is None:
        raise Inert(f"the policy has no key {entry.key}")
    before = state.keys.get(entry.key)
    if before is None:
        _check_first(state, entry, wanted)
    else:
        _check_next(entry, wanted, before)
    if len(entry.public_shares) != len(entry.participants):
        raise Inert(f"{len(entry.participants)} participants, but {len(entry.public_shares)} public shares")
    _check_signatures(state, entry)
    record = KeyRecord(
        key=entry.key,
        epoch=entry.epoch,
        suite=entry.suite,
        imported=entry.change == IMPORT or (before is not None and before.imported),
        min_signers=entry.min_signers,
        participants=entry.participants,
        group_key=entry.group_key,
        chain_code=entry.chain_code,
        public_shares=entry.public_shares,
        transcript=entry.transcript,
        index=state.size,
    )
    keys = state.keys.set(entry.key, record)
    owned = owned_accounts(state.policy, keys) if before is None else state.owned
    return replace(state, keys=keys, owned=owned), entry.key.encode()


def admit_ban(state: State, entry: e.BanEntry) -> tuple[State, bytes]:
    """Take in a node's word that it will run no more sessions with a peer on this key and epoch."""
    check_origin(state, entry.origin)
    key = state.keys.get(entry.key)
    if key is None or key.epoch != entry.epoch:
        raise Inert(f"there is no key {entry.key} in epoch {entry.epoch}")
    if not {entry.by, entry.against} <= set(key.participants) or entry.by == entry.against:
        raise Inert("a ban is between two participants of the key")
    keys = state.roster.share_keys()
    if verified_signers("ban", entry.body, signatures=entry.signatures, keys=keys) != {entry.by}:
        raise Inert(f"the ban is not signed by {entry.by} alone")
    ban = (entry.key, entry.epoch, entry.by, entry.against)
    return replace(state, bans=state.bans | {ban}), entry.key.encode()


def admit_shred(state: State, entry: e.ShredEntry) -> tuple[State, bytes]:
    """Take in a node's receipt that it can open nothing of an earlier epoch any more. It decides nothing."""
    check_origin(state, entry.origin)
    key = state.keys.get(entry.key)
    if key is None or entry.epoch >= key.epoch:
        raise Inert(f"epoch {entry.epoch} of key {entry.key} is not over")
    if verified_signers("shred", entry.body, signatures=entry.signatures, keys=state.identities) != {
        entry.by
    }:
        raise Inert(f"the receipt is not signed by {entry.by} alone")
    receipt = (entry.key, entry.epoch, entry.by)
    if receipt in state.shreds:
        raise Inert("this receipt is in the log already")
    return replace(state, shreds=state.shreds | {receipt}), entry.key.encode()


def key_admission_gap(state: State, record: KeyRecord) -> str:
    """How a key's committee differs from what the policy in force wants of it; empty when it does not."""
    wanted = state.policy.keys.get(record.key)
    if wanted is None:
        return "the policy names this key no more"
    if (wanted.min_signers, wanted.participants) == (record.min_signers, record.participants):
        return ""
    return f"the policy wants {wanted.min_signers} of {', '.join(wanted.participants)}: reshare it"


def _check_first(state: State, entry: e.KeyEntry, wanted: Key) -> None:
    if entry.change not in (GENERATE, IMPORT) or entry.epoch != 0:
        raise Inert(f"key {entry.key} does not exist yet: it is generated or imported, in epoch 0")
    if wanted.imported != (entry.change == IMPORT):
        raise Inert(f"the policy does not say of key {entry.key} that it is to be {entry.change}ed")
    _check_wanted(entry, wanted)
    # By another name, a key's accounts would stand under two wallets, which a policy is refused for.
    same = [key.key for key in state.keys.values() if key.group_key == entry.group_key]
    if same:
        raise Inert(f"key {entry.key} has the group key of {same[0]}: one key has one name")
    dealers = entry.participants if entry.change == GENERATE else ()
    if entry.dealers != dealers:
        raise Inert(f"a key that is {entry.change}ed has {len(dealers)} dealers, got {len(entry.dealers)}")


def _check_next(entry: e.KeyEntry, wanted: Key, before: KeyRecord) -> None:
    if entry.change not in (REFRESH, RESHARE) or entry.epoch != before.epoch + 1:
        raise Inert(f"key {entry.key} exists already: it is in epoch {before.epoch}")
    kept = (before.suite, before.group_key, before.chain_code)
    if (entry.suite, entry.group_key, entry.chain_code) != kept:
        raise Inert(f"a new epoch of key {entry.key} keeps its suite, group key and chain code")
    if entry.change == RESHARE:
        _check_wanted(entry, wanted)
        dealers = set(entry.dealers)
        if len(dealers) != before.min_signers or not dealers <= set(before.participants):
            raise Inert(f"{before.min_signers} participants of epoch {before.epoch} deal, got {len(dealers)}")
    elif (entry.min_signers, entry.participants) != (before.min_signers, before.participants):
        raise Inert(f"a refresh of key {entry.key} keeps its participants and min_signers")
    elif entry.dealers != before.participants:
        raise Inert(f"all {len(before.participants)} participants deal in a refresh")


def _check_wanted(entry: e.KeyEntry, wanted: Key) -> None:
    found = (entry.suite, entry.min_signers, entry.participants)
    if found != (wanted.suite, wanted.min_signers, wanted.participants):
        raise Inert(f"key {entry.key} was made for another suite or committee than the policy names")


def _check_signatures(state: State, entry: e.KeyEntry) -> None:
    keys = state.roster.share_keys()
    signers = verified_signers("keygen", entry.body, signatures=entry.signatures, keys=keys)
    needed = frozenset(entry.participants) | frozenset(entry.dealers)
    if signers != needed:
        raise Inert(f"{len(signers & needed)} of {len(needed)} parties signed for key {entry.key}")
