"""Which t of a key's participants keep presignatures together. Pure.

A small family of sets is kept in stock: for every participant (and for every pair, where n - t allows it
and the family stays small) some set lacks it, so that what fails first finds a stock without it. What the
family does not foresee is a set made on demand from the nodes that are up.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from policy.state import KeyRecord, State

SETS_MAX = 12
"""The most sets kept for pairs; with more nodes than that the family only lacks each node once."""


@dataclass(frozen=True, slots=True)
class SigningSet:
    """A key in one epoch and t of its participants, in order of name."""

    key: str
    epoch: int
    signers: tuple[str, ...]


def family(state: State, key: KeyRecord) -> tuple[SigningSet, ...]:
    """The sets to keep in stock; none while bans or the roster leave fewer than t together."""
    names = _present(state, key)
    singles = [frozenset({name}) for name in names]
    pairs = [frozenset({a, b}) for i, a in enumerate(names) for b in names[i + 1 :]]
    spare = len(names) - key.min_signers
    chosen = _cover(state, key, pairs) if spare >= 2 else ()
    if not chosen or len(chosen) > SETS_MAX:
        chosen = _cover(state, key, singles if spare >= 1 else [frozenset()])
    return chosen


def set_without(state: State, key: KeyRecord, *, absent: Iterable[str]) -> SigningSet | None:
    """A set of present participants that lacks everybody in ``absent``; None when fewer than t are left."""
    return _set_lacking(state, key, frozenset(absent), wished=())


def usable(state: State, key: KeyRecord, *, group: SigningSet) -> bool:
    """Whether the log lets these sign together: in this epoch, all in the roster, and no ban among them."""
    present = group.epoch == key.epoch and set(group.signers) <= set(state.roster.share_keys())
    return present and state.mutual_ban(key.key, key.epoch, signers=group.signers) is None


def _cover(state: State, key: KeyRecord, targets: Sequence[frozenset[str]]) -> tuple[SigningSet, ...]:
    """Sets such that each target that some set can lack is lacked by one of them; greedy."""
    left, chosen = list(targets), []
    while left:
        group = _set_lacking(state, key, left[0], wished=left[1:])
        if group is None:
            left = left[1:]
            continue
        chosen.append(group)
        left = [target for target in left if target & set(group.signers)]
    return tuple(chosen)


def _set_lacking(
    state: State, key: KeyRecord, absent: frozenset[str], *, wished: Sequence[frozenset[str]]
) -> SigningSet | None:
    """A usable set without ``absent``, and without as many of the wished targets as fit."""
    names = _present(state, key)
    spare = len(names) - key.min_signers
    bans = [
        (a, b)
        for of, epoch, a, b in sorted(state.bans)
        if (of, epoch) == (key.key, key.epoch) and {a, b} <= set(names)
    ]
    out = _without_bans(absent & set(names), bans, spare)
    if out is None:
        return None
    while len(out) < spare:
        out |= {max(sorted(set(names) - out), key=lambda name: _gain(out, name, wished))}
    return SigningSet(key.key, key.epoch, tuple(name for name in names if name not in out))


def _without_bans(out: frozenset[str], bans: list[tuple[str, str]], spare: int) -> frozenset[str] | None:
    """``out`` and one of every banned pair, at most ``spare`` together; None when that is impossible."""
    if len(out) > spare:
        return None
    for a, b in bans:
        if a not in out and b not in out:
            return _without_bans(out | {a}, bans, spare) or _without_bans(out | {b}, bans, spare)
    return out


def _gain(out: frozenset[str], name: str, wished: Sequence[frozenset[str]]) -> tuple[int, int]:
    """How many wished targets are lacked once ``name`` is out too, and in how many it occurs."""
    inside = [target for target in wished if name in target]
    return sum(target <= out | {name} for target in inside), len(inside)


def _present(state: State, key: KeyRecord) -> list[str]:
    return sorted(name for name in key.participants if name in state.roster.share_keys())
