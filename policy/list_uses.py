"""What an address on a list of the policy opens and closes: whether a change of the list may be laxer.

An address that comes onto a list meets the rules that want it there and escapes those that do not; one that
goes, the other way round. To meet a rule is laxer if it lets anything through. To escape one is laxer if it
denies, or if a later one that may match then asks for less. In doubt it is laxer.
"""

from policy.model import Allow, Approve, Deny, Policy, Requirement, Rule
from policy.rules import ArgumentListed, Listed, When


def may_let_through(policy: Policy, name: str, *, adds: bool) -> bool:
    """Whether an address more on the list (``adds``), or one less, could let through what was not before."""
    if any(_names(forbid.when, name, wanted=not adds) for forbid in policy.forbids):
        return True
    return any(
        _opens(rule) if _names(rule.when, name, wanted=adds) else _shields(policy, index, name, adds=adds)
        for index, rule in enumerate(policy.rules)
        if _names(rule.when, name, wanted=adds) or _names(rule.when, name, wanted=not adds)
    )


def is_named(policy: Policy, name: str) -> bool:
    """Whether any rule or forbid looks at the list."""
    whens = [forbid.when for forbid in policy.forbids] + [rule.when for rule in policy.rules]
    return any(_names(when, name, wanted=wanted) for when in whens for wanted in (True, False))


def _opens(rule: Rule) -> bool:
    return isinstance(rule.then, Allow | Approve)


def _shields(policy: Policy, index: int, name: str, *, adds: bool) -> bool:
    """Whether what escapes the rule may meet a later one that asks for less."""
    rule = policy.rules[index]
    later = [other for other in policy.rules[index + 1 :] if _opens(other)]
    if not _by_argument(rule.when, name):  # then what escapes is the destination, and these do not match it
        later = [other for other in later if not _needs_destination(other.when, name, on_list=not adds)]
    return isinstance(rule.then, Deny) or any(not _asks_as_much(other, rule) for other in later)


def _asks_as_much(later: Rule, rule: Rule) -> bool:
    """Whether whoever satisfies ``later`` has satisfied ``rule`` as well."""
    wanted, given = rule.then, later.then
    if not isinstance(wanted, Allow | Approve) or not isinstance(given, Allow | Approve):
        return False
    covered = (any(_covers(many, few) for few in _ways(wanted)) for many in _ways(given))
    return given.delay_ms >= wanted.delay_ms and all(covered)


def _ways(then: Allow | Approve) -> tuple[tuple[Requirement, ...], ...]:
    return then.alternatives if isinstance(then, Approve) else ((),)


def _covers(many: tuple[Requirement, ...], few: tuple[Requirement, ...]) -> bool:
    return all(any(a.group == b.group and a.count >= b.count for a in many) for b in few)


def _names(when: When, name: str, *, wanted: bool) -> bool:
    """Whether a condition wants an address on the list, or off it."""
    found = (one for one in when.conditions if isinstance(one, Listed | ArgumentListed) and name in one.lists)
    return any((one.wanted if isinstance(one, Listed) else True) is wanted for one in found)


def _by_argument(when: When, name: str) -> bool:
    return any(isinstance(one, ArgumentListed) and name in one.lists for one in when.conditions)


def _needs_destination(when: When, name: str, *, on_list: bool) -> bool:
    """Whether the destination must be on this very list, or must not."""
    found = (one for one in when.conditions if isinstance(one, Listed) and name in one.lists)
    return any(one.wanted is on_list and (not on_list or one.lists == (name,)) for one in found)
