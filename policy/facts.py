"""From the log's state to the facts of one job: who asks, what moves, what others have stated about it."""

import contextlib
from collections.abc import Iterable

from policy.decode.abi import Argument, OtherCall, decode_call
from policy.decode.eip712 import parse_typed_data
from policy.errors import MalformedError
from policy.holdings import tier_held
from policy.intent import Intent, Request
from policy.model import Policy
from policy.rules import CALL, CANCELLATION, SWEEP, TIER_MOVE, TRANSFER, TYPED_DATA, Facts, Given, Usage
from policy.state import CANCEL, RequestState, State
from policy.values import replace
from policy.worth import worth


def request_facts(
    state: State, request: Request, *, identifier: bytes, fee_max: int, time_ms: int, usage: Usage
) -> Facts:
    """The facts of a request whose transaction can cost ``fee_max``, before any approval."""
    policy, intent, record = state.policy, request.intent, _record(state, request, identifier)
    initiator = state.roster.initiators.get(request.initiator)
    wallet = policy.wallets.get(intent.wallet)
    tier = wallet.tier if wallet else ""
    destination_tier = _destination_tier(state, intent.chain, intent.destination)
    contract, method, arguments = called(policy, intent)
    typed_data, fields = declared(policy, intent)
    native = _native(policy, intent.chain)
    kind = kind_asked(intent, tier=tier, destination_tier=destination_tier)
    amounts = ((intent.asset, intent.amount), (native, fee_max))
    return Facts(
        initiator=request.initiator,
        initiator_groups=initiator.groups if initiator else frozenset(),
        kind=kind,
        chain=intent.chain,
        wallet=intent.wallet,
        tier=tier,
        asset=intent.asset,
        amount=intent.amount,
        total=intent.amount + fee_max if native == intent.asset else intent.amount,
        value=worth(state, amounts, time_ms=time_ms),
        destination=intent.destination,
        destination_tier=destination_tier,
        first_use=state.paid.get((intent.chain, intent.destination)) in (None, identifier),
        contract=contract,
        method=method,
        typed_data=typed_data,
        arguments={**arguments, **fields},
        fee_ceiling=request.fee_ceiling,
        fee_max=fee_max,
        screening=record.screening.result if record and record.screening else None,
        risk=record.screening.risk if record and record.screening else None,
        approvals=(),
        initiator_people=initiator.people if initiator else frozenset(),
        usage=usage,
        since_ms=max(record.logged_ms if record else time_ms, request.created_ms),
        time_ms=time_ms,
        exposure=exposure_of(state.policy, kind, tier=tier, destination_tier=destination_tier),
        held=tier_held(state, intent.asset, without=identifier, time_ms=time_ms)
        if state.policy.tiers
        else {},
    )


def _record(state: State, request: Request, identifier: bytes) -> RequestState | None:
    """What is known of it: nothing if its idempotency key is free, which a look has told already."""
    known = state.idempotency.get((request.initiator, request.idempotency_key))
    return state.requests.get(identifier) if known == identifier else None


def job_facts(
    state: State, record: RequestState, *, purpose: str, fee_max: int, time_ms: int, usage: Usage
) -> Facts:
    """The facts by which a job counts into limits: a cancellation moves nothing but its fee."""
    facts = request_facts(
        state,
        record.request,
        identifier=record.request_id,
        fee_max=fee_max,
        time_ms=time_ms,
        usage=usage,
    )
    if purpose != CANCEL:
        return facts
    native = _native(state.policy, facts.chain)
    value = worth(state, ((native, fee_max),), time_ms=time_ms)
    return replace(facts, kind=CANCELLATION, asset=native, amount=0, total=fee_max, value=value, exposure="")


def with_approvals(facts: Facts, approvals: Iterable[Given]) -> Facts:
    """The same job with these approvals."""
    return replace(facts, approvals=tuple(approvals))


def scale(policy: Policy) -> str:
    """What one unit of a value is under a policy; empty without prices."""
    return policy.prices.scale if policy.prices else ""


def _native(policy: Policy, chain: str) -> str:
    return policy.chains[chain].native if chain in policy.chains else ""


def _destination_tier(state: State, chain: str, destination: str) -> str:
    wallet = state.policy.wallets.get(state.owned.get((chain, destination), ""))
    return wallet.tier if wallet else ""


def called(policy: Policy, intent: Intent) -> tuple[str, str, dict[str, Argument]]:
    """Contract, method and arguments of a call; the method is empty for one that the policy does not know."""
    if intent.calldata is None or (contract := policy.contract_at(intent.chain, intent.destination)) is None:
        return "", "", {}
    for name, method in contract.methods.items():
        with contextlib.suppress(OtherCall):
            return contract.name, f"{contract.name}.{name}", decode_call(method, intent.calldata)
    return contract.name, "", {}


def declared(policy: Policy, intent: Intent) -> tuple[str, dict[str, Argument]]:
    """The policy's name for typed data, and the message's fields; empty for what it does not declare."""
    if intent.typed_data is None:
        return "", {}
    with contextlib.suppress(MalformedError):
        typed = parse_typed_data(intent.typed_data)
        for one in policy.typed_data.values():
            if (one.chain, one.contract) == (intent.chain, intent.destination) and one.is_of(typed):
                return one.name, one.arguments(typed)
    return "", {}


def kind_asked(intent: Intent, *, tier: str, destination_tier: str) -> str:
    """What a request is."""
    if intent.typed_data is not None:
        return TYPED_DATA
    return CALL if intent.calldata is not None else kind_of(tier, destination_tier)


def kind_of(tier: str, destination_tier: str) -> str:
    """What a payment is, by the wallet's tier and the destination's, which is empty if it is not ours."""
    if not destination_tier:
        return TRANSFER
    return SWEEP if destination_tier == tier else TIER_MOVE


def exposure_of(policy: Policy, kind: str, *, tier: str, destination_tier: str) -> str:
    """What a move between two declared own tiers does to exposure; empty for all else."""
    moves = policy.tiers and kind in (TIER_MOVE, SWEEP)
    return policy.exposure(tier, destination_tier) if moves else ""
