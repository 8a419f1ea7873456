"""Which conditions hold: the facts of one job against the conditions of one rule. Integers only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from policy.document import Policy, When
from policy.intent import Request

Usage: TypeAlias = Mapping[tuple[str, str], int] | Callable[[str, str], int]


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a verdict depends on besides the policy; who builds it has verified every part.

    ``fee_ceiling`` is the most the request allows, ``fee_max`` the most the transaction at hand can
    cost (before there is one: the ceiling). ``approvals`` are operators, with their groups, whose
    approvals are verified, unexpired and given under this policy. ``initiator_people`` are the
    operators behind the initiator: their approvals never count. ``usage`` is what is already
    counted in a limit's window without this request, by limit name and scope key; a scope that a
    mapping lacks has not been used.
    """

    initiator: str
    chain: str
    wallet: str
    tier: str
    asset: str
    amount: int
    destination: str
    fee_ceiling: int
    fee_max: int
    approvals: tuple[tuple[str, frozenset[str]], ...]
    initiator_people: frozenset[str]
    usage: Usage

    @classmethod
    def of(
        cls,
        request: Request,
        *,
        tier: str,
        fee_max: int,
        approvals: tuple[tuple[str, frozenset[str]], ...],
        initiator_people: frozenset[str],
        usage: Usage,
    ) -> "Facts":
        """The facts of a request, and of the transaction for it when there is one."""
        return cls(
            initiator=request.initiator,
            chain=request.intent.chain,
            wallet=request.intent.wallet,
            tier=tier,
            asset=request.intent.asset,
            amount=request.intent.amount,
            destination=request.intent.destination,
            fee_ceiling=request.fee_ceiling,
            fee_max=fee_max,
            approvals=approvals,
            initiator_people=initiator_people,
            usage=usage,
        )


def first_unmet(when: When, facts: Facts, *, policy: Policy) -> str:
    """The first condition of ``when`` that does not hold, in words; empty when all hold."""
    checks = (
        _named("initiators", facts.initiator, when.initiators),
        _named("tiers", facts.tier, when.tiers),
        _named("wallets", facts.wallet, when.wallets),
        _named("assets", facts.asset, when.assets),
        _listed(facts.destination, when.destinations, policy),
        _unlisted(facts.destination, when.not_destinations, policy),
        _at_least(facts.amount, when.amount_min),
        _at_most(facts.amount, when.amount_max),
    )
    return next((unmet for unmet in checks if unmet), "")


def _named(condition: str, name: str, allowed: tuple[str, ...] | None) -> str:
    if allowed is None or name in allowed:
        return ""
    return f"{condition}: {name!r} is not among {', '.join(allowed)}"


def _listed(destination: str, lists: tuple[str, ...] | None, policy: Policy) -> str:
    if lists is None or any(destination in policy.lists[name] for name in lists):
        return ""
    return f"destinations: {destination} is on no list of {', '.join(lists)}"


def _unlisted(destination: str, lists: tuple[str, ...] | None, policy: Policy) -> str:
    found = [name for name in lists or () if destination in policy.lists[name]]
    return f"not_destinations: {destination} is on list {found[0]}" if found else ""


def _at_least(amount: int, amount_min: int | None) -> str:
    if amount_min is None or amount >= amount_min:
        return ""
    return f"amount_min: {amount} is below {amount_min}"


def _at_most(amount: int, amount_max: int | None) -> str:
    if amount_max is None or amount <= amount_max:
        return ""
    return f"amount_max: {amount} is above {amount_max}"
