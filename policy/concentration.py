"""How much of a deployment rests on one person: what the roster and the policy say together.

The roster knows names, not people. ``persons`` says which names are one person's, as far as somebody knows;
a name that it leaves out is a person by itself. A rule counts names, so two of one person fill two places.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from policy.coherence import too_few, who_may_ask
from policy.model import Approve, Policy, Rule
from policy.roster import Roster

ONE_PERSON_APPROVES = "one-person-approves"
OWN_REQUEST = "own-request-approved"
NEEDED_BY_RULE = "person-needed-by-rule"
IN_EVERY_QUORUM = "person-in-every-quorum"
SEVERAL_ROLES = "several-roles"
ADMINISTRATOR_ALONE = "administrator-alone"
ADMINISTRATORS_ALL_NEEDED = "administrators-all-needed"
OBSERVER_ALONE = "observer-alone"
OBSERVERS_TOO_FEW = "observers-too-few"
OBSERVERS_NONE_SPARE = "observers-none-spare"


@dataclass(frozen=True, slots=True)
class Weight:
    """Something that rests on ``who``: a code of this module, and a sentence without its full stop."""

    code: str
    who: str
    said: str


def concentration(
    roster: Roster, policy: Policy, *, persons: Mapping[str, frozenset[str]] | None = None
) -> tuple[Weight, ...]:
    """Everything that is found, in the order of the codes above."""
    people = _people(roster, persons or {})
    rules = [rule for rule in policy.rules if isinstance(rule.then, Approve)]
    found = [
        *_approving(roster, rules, people),
        *_needed(roster, rules, people),
        *_roles(roster, people),
        *_administrators(roster, people),
        *_observers(roster, people),
    ]
    return tuple(found)


def _people(roster: Roster, persons: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Every person of the roster with their names in it."""
    named = {name for names in persons.values() for name in names}
    everybody = {*roster.operators, *roster.administrators, *roster.observers, *roster.share_keys()}
    alone = {name: frozenset({name}) for name in sorted(everybody - named)}
    return {**alone, **dict(sorted(persons.items()))}


def _approving(roster: Roster, rules: list[Rule], people: Mapping[str, frozenset[str]]) -> Iterator[Weight]:
    for person, names in people.items():
        behind = [one.name for one in roster.initiators.values() if one.people & names]
        for rule in rules:
            if not _can(roster, rule, only=names):
                continue
            yield Weight(
                ONE_PERSON_APPROVES,
                person,
                f"{person} alone gives every approval that rule {rule.name} asks for",
            )
            own = [one.name for one in who_may_ask(roster, rule.when) if one.name in behind]
            for backend in own:
                others = names - roster.initiators[backend].people
                if _enough(roster, rule, only=others):
                    said = (
                        f"{person} can ask as {backend} and approve it by rule {rule.name} under another name"
                    )
                    yield Weight(OWN_REQUEST, person, said)


def _needed(roster: Roster, rules: list[Rule], people: Mapping[str, frozenset[str]]) -> Iterator[Weight]:
    everybody = frozenset(roster.operators)
    for person, names in people.items():
        stopped = [rule.name for rule in rules if not _can(roster, rule, only=everybody - names)]
        if stopped and len(stopped) == len(rules):
            said = f"{person} is in every quorum: without {person} nothing that takes approvals is approved"
            yield Weight(IN_EVERY_QUORUM, person, said)
        elif stopped:
            said = f"without {person} nothing is approved by {', '.join(stopped)}"
            yield Weight(NEEDED_BY_RULE, person, said)


def _roles(roster: Roster, people: Mapping[str, frozenset[str]]) -> Iterator[Weight]:
    for person, names in people.items():
        roles = [role for role, members in _members(roster).items() if names & members]
        if len(roles) > 1:
            yield Weight(SEVERAL_ROLES, person, f"{person} is {', '.join(roles[:-1])} and {roles[-1]}")


def _members(roster: Roster) -> dict[str, frozenset[str]]:
    behind = [one.people for one in roster.initiators.values()]
    return {
        "administrator": frozenset(roster.administrators),
        "operator": frozenset(roster.operators),
        "behind a backend": frozenset().union(*behind),
        "observer": frozenset(roster.observers),
        "owner of a node": frozenset(roster.share_keys()),
    }


def _administrators(roster: Roster, people: Mapping[str, frozenset[str]]) -> Iterator[Weight]:
    quorum, members = roster.administrators_quorum, len(roster.administrators)
    for person, names in people.items():
        if len(names & set(roster.administrators)) >= quorum:
            said = f"{person} alone is the administrators' quorum of {quorum}: one person's word is policy"
            yield Weight(ADMINISTRATOR_ALONE, person, said)
    if quorum == members:
        said = (
            f"the quorum is {quorum} of {members} administrators: with one lost nothing is changed any more"
        )
        yield Weight(ADMINISTRATORS_ALL_NEEDED, "administrators", said)


def _observers(roster: Roster, people: Mapping[str, frozenset[str]]) -> Iterator[Weight]:
    needed, there = roster.f + 1, len(roster.observers)
    if not there:
        return
    for person, names in people.items():
        if len(names & set(roster.observers)) >= needed:
            said = f"{person} alone is the f + 1 = {needed} observers whose word is taken for a fact"
            yield Weight(OBSERVER_ALONE, person, said)
    if there < needed:
        said = f"a statement takes f + 1 = {needed} observers and there are {there}: no fact is stated"
        yield Weight(OBSERVERS_TOO_FEW, "observers", said)
    if there == needed:
        said = f"a statement takes f + 1 = {needed} of {there} observers: with one lost no fact is stated"
        yield Weight(OBSERVERS_NONE_SPARE, "observers", said)


def _can(roster: Roster, rule: Rule, *, only: frozenset[str]) -> bool:
    """Whether the operators in ``only`` can give what a rule asks for, if the right backend asks."""
    barred = [one.people for one in who_may_ask(roster, rule.when)] or [frozenset()]
    return any(_enough(roster, rule, only=only - people) for people in barred)


def _enough(roster: Roster, rule: Rule, *, only: frozenset[str]) -> bool:
    then = rule.then
    groups = [one.groups for one in roster.operators.values() if one.name in only]
    return isinstance(then, Approve) and any(too_few(groups, needs) is None for needs in then.alternatives)
