"""Which limits a job counts into, under which key, and by how much."""

from typing import NamedTuple

from msgspec import Struct

from policy.ids import LAMPORTS_PER_SIGNATURE, SOLANA, family
from policy.model import COUNT, VALUE, Limit, Policy
from policy.rules import CANCELLATION, Facts


def cancellation_held(chain: str) -> int:
    """What a payment holds of limits beside itself, so that a full one never keeps its cancellation off."""
    return LAMPORTS_PER_SIGNATURE if family(chain) == SOLANA else 0


class LimitScope(Struct, frozen=True, gc=False):
    """A limit that applies, the key its usage is counted under, and what this job adds to it.

    ``amount`` is None when what the job is worth cannot be told.
    """

    limit: Limit
    scope_key: str
    amount: int | None


class Excess(NamedTuple):
    """A limit that a job would exceed, or, unless ``told``, may exceed; and the numbers in words."""

    limit: str
    reason: str
    told: bool


def limit_scopes(policy: Policy, facts: Facts) -> tuple[LimitScope, ...]:
    """The limits a job counts into.

    Its amount counts on its asset and its greatest fee on the native asset; a cancellation is no payment.
    """
    native = policy.chains[facts.chain].native
    held = cancellation_held(facts.chain) if facts.kind != CANCELLATION else 0
    added: dict[str | None, int] = {facts.asset: facts.amount}
    added[native] = added.get(native, 0) + facts.fee_max + held
    scopes = []
    for limit in policy.limits:
        if not _applies(limit, facts):
            continue
        if limit.measure == VALUE:
            scopes.append(LimitScope(limit, _scope_key(limit, facts), facts.value))
        elif limit.measure == COUNT:
            if facts.kind != CANCELLATION:
                scopes.append(LimitScope(limit, _scope_key(limit, facts), 1))
        elif limit.asset in added:
            scopes.append(LimitScope(limit, _scope_key(limit, facts), added[limit.asset]))
    return tuple(scopes)


def first_excess(policy: Policy, facts: Facts) -> Excess | None:
    """The first limit this job would exceed, else the first that cannot be told."""
    untold: Excess | None = None
    for scope in limit_scopes(policy, facts):
        limit, key, amount = scope.limit, scope.scope_key, scope.amount
        of_scope = f" for {key}" if key else ""
        if amount is None:
            reason = f"limit {limit.name!r}{of_scope}: no price of {facts.asset} or of the fee is new enough"
            untold = untold or Excess(limit.name, reason, told=False)
            continue
        already = used(facts, limit.name, key=key)
        if already + amount > limit.maximum:
            return Excess(
                limit.name,
                f"limit {limit.name!r}{of_scope}: {already} used and {amount} asked is above "
                f"{limit.maximum} {unit(policy, limit)} in {limit.window_ms} ms",
                told=True,
            )
    return untold


def unit(policy: Policy, limit: Limit) -> str:
    """What a limit counts in."""
    if limit.measure == COUNT:
        return "payments"
    if limit.measure == VALUE and policy.prices is not None:
        return policy.prices.unit
    return str(limit.asset)


def _applies(limit: Limit, facts: Facts) -> bool:
    return (
        (limit.wallets is None or facts.wallet in limit.wallets)
        and (limit.tiers is None or facts.tier in limit.tiers)
        and (limit.initiators is None or facts.initiator in limit.initiators)
        and (limit.assets is None or facts.asset in limit.assets)
    )


def used(facts: Facts, limit: str, *, key: str) -> int:
    """What others have used of a limit. Raises ``ValueError`` when that is no integer from 0."""
    usage = facts.usage
    found = usage(limit, key) if callable(usage) else usage.get((limit, key), 0)
    if type(found) is not int or found < 0:
        raise ValueError(f"usage of limit {limit!r} is {found!r}, not an integer from 0")
    return found


def _scope_key(limit: Limit, facts: Facts) -> str:
    return "/".join([f"{scope}={getattr(facts, scope)}" for scope in limit.per]) if limit.per else ""
