"""Which losses of cosigners and nodes stop a deployment: arithmetic over its roster and keys.

Every bound is a number of some group of names: a checkpoint takes w cosigners, a signature ``min_signers`` of
a key's participants. So what stops is said as "any ``count`` of ``among``", which is exact.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Protocol

from policy.roster import Roster

SETS_LISTED_MAX = 6


class SharedKey(Protocol):
    """A key as far as losses go: a policy's or the log's."""

    @property
    def min_signers(self) -> int:
        """How many of the participants sign."""

    @property
    def participants(self) -> tuple[str, ...]:
        """Who holds a share."""


@dataclass(frozen=True, slots=True)
class Loss:
    """When ``count`` more of ``among`` are lost, ``stops`` stops; with 0 it has stopped.

    ``key`` is empty where it is the log itself, and with it everything.
    """

    key: str
    among: tuple[str, ...]
    count: int

    @property
    def stops(self) -> str:
        """What is not done any more."""
        return f"nothing can be signed with key {self.key}" if self.key else "nothing can be signed"

    def sets(self) -> list[tuple[str, ...]]:
        """The smallest sets whose loss does it, when they are few; else none."""
        many = comb(len(self.among), self.count) > SETS_LISTED_MAX
        return [] if many or not self.count else list(combinations(self.among, self.count))

    def said(self) -> str:
        """In one sentence, without its full stop."""
        if not self.count:
            return f"{self.stops} now: too few are left of those it takes"
        named = [" and ".join(names) for names in self.sets()]
        which = ", or ".join(named) if named else f"any {self.count} of {', '.join(self.among)}"
        verb = "is" if self.count == 1 else "are"
        return f"if {which} {verb} lost, {self.stops}"


def losses(
    roster: Roster,
    keys: Mapping[str, SharedKey],
    *,
    gone: Collection[str] = frozenset(),
    unsigning: Collection[str] = frozenset(),
) -> tuple[Loss, ...]:
    """What each bound still bears, with ``gone`` lost already: the log's first, then the keys' by name.

    ``unsigning`` cosign, and sign nothing.
    """
    found = [_loss("", roster.cosigners, needed=roster.w, gone=gone)]
    out = {*gone, *unsigning}
    found += [
        _loss(name, key.participants, needed=key.min_signers, gone=out) for name, key in sorted(keys.items())
    ]
    return tuple(found)


def _loss(key: str, members: Iterable[str], *, needed: int, gone: Collection[str]) -> Loss:
    left = tuple(sorted(set(members) - set(gone)))
    return Loss(key, left, max(0, len(left) - needed + 1))
