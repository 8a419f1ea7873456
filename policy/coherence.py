"""Whether a roster can carry a policy out: every quorum that is asked for has the people it takes."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from policy.errors import MalformedError
from policy.holdings import needs_statements
from policy.model import Approve, Policy, Requirement, Rule
from policy.roster import Initiator, Roster
from policy.rules import When


def check_coherent(roster: Roster, policy: Policy) -> None:
    """Refuse a policy that its roster cannot carry out. Raises ``MalformedError``."""
    _check_names(roster, policy)
    for rule in policy.rules:
        if isinstance(rule.then, Approve):
            _check_approvals(roster, rule, rule.then)
    members = len(roster.administrators)
    for name, book in policy.books.items():
        if book.quorum > members:
            raise MalformedError(
                f"lists.{name}: a quorum of {book.quorum} among {members} administrators is unreachable"
            )
    _check_observers(roster, policy)


def _check_names(roster: Roster, policy: Policy) -> None:
    nodes = {name for name, cosigner in roster.cosigners.items() if cosigner.role == "node"}
    for key in policy.keys.values():
        parties = set(key.participants)
        strangers = sorted(parties - nodes - set(roster.cold))
        if strangers:
            raise MalformedError(f"keys.{key.name}: {strangers[0]} is no node of the roster")
        if parties & nodes and parties & set(roster.cold):
            raise MalformedError(f"keys.{key.name}: a key's participants are all cold nodes, or none is")
    unknown = sorted(policy.initiators_named() - set(roster.initiators))
    if unknown:
        raise MalformedError(f"policy: the roster has no initiator {unknown[0]}")
    groups = frozenset(group for initiator in roster.initiators.values() for group in initiator.groups)
    unknown = sorted(policy.initiator_groups_named() - groups)
    if unknown:
        raise MalformedError(f"policy: no initiator of the roster is in group {unknown[0]}")


def _check_approvals(roster: Roster, rule: Rule, then: Approve) -> None:
    """Every way of approval must be open to somebody whom the rule lets ask."""
    for needs in then.alternatives:
        barred = [one.people for one in who_may_ask(roster, rule.when)] or [frozenset()]
        short = [_shortfall(roster, needs, barred=people) for people in (frozenset(), *barred)]
        if short[0] or all(short[1:]):
            raise MalformedError(f"rule {rule.name}: {short[0] or short[1]}")


def who_may_ask(roster: Roster, when: When) -> Iterator[Initiator]:
    """Each initiator whom a rule can concern; the people behind one cannot approve what it asks."""
    named, groups = when.names("initiators"), when.names("initiator_groups")
    for initiator in roster.initiators.values():
        if (named is None or initiator.name in named) and (
            groups is None or not initiator.groups.isdisjoint(groups)
        ):
            yield initiator


def _shortfall(roster: Roster, needs: tuple[Requirement, ...], *, barred: frozenset[str]) -> str:
    """Why these requirements cannot be met by different people; empty if they can."""
    people = [operator for operator in roster.operators.values() if operator.name not in barred]
    short = too_few([operator.groups for operator in people], needs)
    if short is None:
        return ""
    groups, count, members = short
    which = f"group {groups[0]}, which has"
    if len(groups) > 1:
        which = f"groups {', '.join(groups)}, which together have"
    not_behind = ", not counting who stands behind whoever may ask" if barred else ""
    return f"needs {count} of {which} {members} members{not_behind}"


def too_few(
    people: Sequence[frozenset[str]], needs: tuple[Requirement, ...]
) -> tuple[list[str], int, int] | None:
    """Groups with fewer members than are asked for: the groups, how many are asked for, how many there are.

    ``people`` are the groups of each person. None if different people can meet all needs (Hall's theorem).
    """
    for size in range(1, len(needs) + 1):
        for some in combinations(needs, size):
            groups, count = {need.group for need in some}, sum(need.count for need in some)
            members = sum(not theirs.isdisjoint(groups) for theirs in people)
            if members < count:
                return sorted(groups), count, members
    return None


def _check_observers(roster: Roster, policy: Policy) -> None:
    needed, there = roster.f + 1, len(roster.observers)
    conditions = [forbid.when for forbid in policy.forbids] + [rule.when for rule in policy.rules]
    asks = "prices" if policy.prices else "screenings" if any(map(_asks_screening, conditions)) else ""
    asks = asks or ("holdings" if needs_statements(policy) else "")
    if asks and there < needed:
        raise MalformedError(
            f"policy: {asks} need the word of f + 1 = {needed} observers, the roster has {there}"
        )


def _asks_screening(when: When) -> bool:
    return any(condition.name in ("screenings", "risk_min", "risk_max") for condition in when.conditions)
