"""Which account pays, by which bytes, and whether they may be reserved now. Pure.

Requests that need approvals wait on other accounts than those that do not: a slot that waits for a
person must not hold up what needs none.
"""

from collections.abc import Sequence

from custody.chains.families import transactions
from custody.ports import Wanted
from custody.records import RequestRecord, request_body
from custody.signing_sets import SigningSet, set_without
from policy import ledger
from policy.accounts import Account, account_at
from policy.approval import Approval, Slot, digest_slot
from policy.decode.eip712 import parse_typed_data
from policy.encoding import Json
from policy.entries import JOB_SIGNATURES_MAX
from policy.errors import InvariantError, OperationalError
from policy.evaluate import Outcome as Answer
from policy.evaluate import Verdict
from policy.intent import Intent, Request, parse_request
from policy.model import Allow, Asset, Policy, Wallet, requirements
from policy.state import KeyRecord, State
from policy.values import replace

RETRIED_RULES = frozenset(
    {"frozen", "key-unknown", "signers-invalid", "signers-banned", "presignature-used", "cancel-too-early"}
)
"""Denials that say nothing about the payment: the same reservation may be allowed later."""
COLD_SIGNATURES_MAX = 4
"""A transaction's in a ceremony: as many come in one batch of ECDSA's presigning, in letters as large."""
APPROVAL_MS = 15 * 60 * 1000
WAITS = "the request waits for a policy that has it, and expires"


def key_of(state: State, wallet: str) -> KeyRecord:
    """The key of a wallet. Raises ``OperationalError`` while it is not made yet."""
    named = wallet_of(state.policy, wallet).key
    key = state.keys.get(named)
    if key is None:
        raise OperationalError(f"key {named} of wallet {wallet} is not made yet: create it")
    return key


def is_cold(state: State, key: KeyRecord) -> bool:
    """Whether a key's nodes have no network, so that it signs in ceremonies."""
    return set(key.participants) <= set(state.roster.cold)


def _approval_expiry(state: State, request: Request, *, rule: str, now_ms: int) -> int:
    """Until when an approval is to count.

    It has to be there still when the delay of its ``rule`` is over, which begins with the last approval. One
    for a cold key lasts as long as its request: a ceremony takes time to come together.
    """
    wallet = state.policy.wallets.get(request.intent.wallet)
    key = state.keys.get(wallet.key) if wallet else None
    if key is not None and is_cold(state, key):
        return request.expires_ms
    return min(request.expires_ms, now_ms + APPROVAL_MS + state.policy.delay_ms(rule))


def wallet_of(policy: Policy, name: str) -> Wallet:
    """A wallet of the policy in force. Raises ``OperationalError`` when a change has taken it out."""
    if name not in policy.wallets:
        raise OperationalError(f"the policy in force has no wallet {name} any more: {WAITS}")
    return policy.wallets[name]


def needs_approval(policy: Policy, rule: str) -> bool:
    """Whether a request decided by ``rule`` waits for people; yes for a rule that is gone."""
    found = policy.rule_named(rule)
    return found is None or not isinstance(found.then, Allow)


def groups_wanted(policy: Policy, rule: str) -> frozenset[str]:
    """The groups whose approvals ``rule`` asks for; every group for a rule that is gone."""
    found = policy.rule_named(rule)
    if found is None:
        return policy.groups_named()
    return frozenset(need.group for need in requirements(found.then))


def only_time_is_missing(verdict: Verdict) -> bool:
    """Whether the same transaction will be allowed from ``not_before_ms`` on, if nothing else happens."""
    return verdict.outcome is Answer.WAIT and not verdict.missing and verdict.not_before_ms > 0


def wanted_of(
    state: State, request: Request, *, identifier: bytes, ceiling: int, psbt: bytes = b""
) -> Wanted:
    """A payment as its chain plans it. Raises ``OperationalError``."""
    intent = request.intent
    key, known = key_of(state, intent.wallet), wallet_of(state.policy, intent.wallet)
    return Wanted(
        request=identifier,
        intent=intent,
        contract=contract_of(state.policy, intent.asset),
        accounts=tuple(account_at(key, path, chain=known.chain) for path in _paths(known, intent)),
        fee_ceiling=ceiling,
        signatures_max=COLD_SIGNATURES_MAX if is_cold(state, key) else JOB_SIGNATURES_MAX,
        psbt=psbt,
    )


def _paths(wallet: Wallet, intent: Intent) -> tuple[str, ...]:
    """The accounts that may pay. Raises ``OperationalError`` when a change took out the one asked for."""
    if intent.source is None:
        return wallet.paths
    if intent.source not in wallet.paths:
        raise OperationalError(f"wallet {wallet.name} has no path {intent.source} in the policy: {WAITS}")
    return (intent.source,)


def typed_data_place(state: State, intent: Intent) -> tuple[Account, Slot]:
    """Who signs typed data: the first account of the wallet that its message names, else the first."""
    key, known = key_of(state, intent.wallet), wallet_of(state.policy, intent.wallet)
    typed = parse_typed_data(intent.typed_data or b"")
    accounts = [account_at(key, path, chain=known.chain) for path in known.paths]
    named = (account for account in accounts if account.address in typed.message.values())
    account = next(named, accounts[0])
    return account, digest_slot(intent.chain, account.address, digest=typed.digest)


def contract_of(policy: Policy, asset: str) -> str | None:
    """The token's contract; None for the chain's native asset."""
    return asset_of(policy, asset).contract


def asset_of(policy: Policy, name: str) -> Asset:
    """An asset of the policy in force. Raises ``OperationalError`` when a change has taken it out."""
    if name not in policy.assets:
        raise OperationalError(f"the policy in force has no asset {name} any more: {WAITS}")
    return policy.assets[name]


def fee_ceiling(policy: Policy, request: Request) -> int:
    """The most the transaction may cost: the request's ceiling and the chain's."""
    chain = request.intent.chain
    if chain not in policy.chains:
        raise OperationalError(f"the policy in force has no chain {chain} any more: {WAITS}")
    return min(request.fee_ceiling, policy.chains[chain].fee_ceiling)


def reserve_body(
    state: State,
    record: RequestRecord,
    *,
    tx: bytes,
    purpose: str,
    signers: SigningSet,
    presignatures: Sequence[bytes],
) -> Json:
    """The body of a reservation."""
    return {
        "request": record.request.hex(),
        "purpose": purpose,
        "tx": tx.hex(),
        "key": signers.key,
        "epoch": state.keys[signers.key].epoch,
        "paths": list(signing_paths(state, record, tx=tx)),
        "signers": list(signers.signers),
        "presignatures": [presignature.hex() for presignature in presignatures],
    }


def signing_paths(state: State, record: RequestRecord, *, tx: bytes) -> tuple[str, ...]:
    """The path of each signature that a request's transaction needs, in order."""
    wallet = parse_request(request_body(record)).intent.wallet
    key, known = key_of(state, wallet), wallet_of(state.policy, wallet)
    return transactions(known.chain).paths(tx, key=key, wallet=known, path=record.path)


def verdict_on_plan(state: State, record: RequestRecord, *, wallet: str, now_ms: int) -> Verdict:
    """What the log would say of the planned transaction now, whoever signs it."""
    return weighed_plan(state, record, wallet=wallet, now_ms=now_ms).verdict


def weighed_plan(state: State, record: RequestRecord, *, wallet: str, now_ms: int) -> ledger.Weighed:
    """``verdict_on_plan`` with what it follows from."""
    body, without_bans = planned_body(state, record, wallet=wallet), replace(state, bans=frozenset())
    return ledger.weigh(without_bans, "reserve", body=body, time_ms=max(now_ms, state.time_ms))


def planned_body(state: State, record: RequestRecord, *, wallet: str) -> Json:
    """The reservation that the plan would become, whoever signs it and with which presignature."""
    key = key_of(state, wallet)
    signers = set_without(replace(state, bans=frozenset()), key, absent=())
    if signers is None:
        raise OperationalError(f"the roster has fewer than {key.min_signers} nodes of key {key.key}")
    count = len(signing_paths(state, record, tx=record.tx))
    names = [_unused(record.request, index) for index in range(count)]
    return reserve_body(state, record, tx=record.tx, purpose="payment", signers=signers, presignatures=names)


def _unused(request: bytes, index: int) -> bytes:
    """A name that no presignature has, one for each signature."""
    return bytes([request[0] ^ index]) + request[1:]


def approval_draft(state: State, record: RequestRecord, *, request: Request, now_ms: int) -> dict[str, Json]:
    """An approval's body without its id and operator, for the operator to complete and sign."""
    if record.nonce is None:
        raise OperationalError(f"request {record.request.hex()} is not planned yet: ask again")
    native = asset_of(state.policy, request.intent.asset).native
    draft = Approval(
        origin=state.origin,
        request=record.request,
        intent=request.intent,
        calldata_hash=request.intent.calldata_hash(native=native),
        fee_ceiling=request.fee_ceiling,
        slot=Slot(record.chain, record.account, record.nonce),
        policy=state.policy_hash,
        expires_ms=_approval_expiry(state, request, rule=record.rule, now_ms=now_ms),
        approval_id=bytes(32),
        operator="operator",
    ).body()
    if not isinstance(draft, dict):
        raise InvariantError("an approval's body is an object")
    return {name: value for name, value in draft.items() if name not in ("approval_id", "operator")}
