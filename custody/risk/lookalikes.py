"""Addresses that look like a known one: the beginning and the end are what people compare.

A poisoner makes an address whose first and last characters are those of one that its victim pays, and has it
turn up in the victim's history, to be copied from there.
"""

from dataclasses import dataclass

ENDS = 3
KEPT_MAX = 8
"""Addresses kept for each pair of ends; that honest ones share both ends is one in millions."""
_BECH32 = ("bcrt1", "bc1", "tb1")


@dataclass(frozen=True, slots=True)
class Lookalike:
    """A known address, and how many characters of its beginning and end the other one shares."""

    known: str
    first: int
    last: int


class Lookalikes:
    """The known addresses, by their ends: looking one up costs the same for any number of them."""

    def __init__(self) -> None:
        self._ends: dict[tuple[str, str], list[str]] = {}

    def add(self, address: str) -> None:
        """Know an address."""
        kept = self._ends.setdefault(_ends(address), [])
        if address not in kept and len(kept) < KEPT_MAX:
            kept.append(address)

    def find(self, address: str) -> Lookalike | None:
        """The known address that this one, which is another, looks most like; at least by three and three."""
        alike = [_alike(known, address) for known in self._ends.get(_ends(address), ()) if known != address]
        return max(alike, key=lambda one: one.first + one.last, default=None)


def significant(address: str) -> str:
    """What of an address is its own: not what all of its kind begin with."""
    if address.startswith("0x"):
        return address[2:]
    prefix = next((one for one in _BECH32 if address.startswith(one)), "")
    return address[len(prefix) + 1 :] if prefix else address  # the version goes with the prefix


def _ends(address: str) -> tuple[str, str]:
    text = significant(address)
    return text[:ENDS], text[-ENDS:]


def _alike(known: str, address: str) -> Lookalike:
    ours, theirs = significant(known), significant(address)
    return Lookalike(known, _shared(ours, theirs), _shared(ours[::-1], theirs[::-1]))


def _shared(one: str, other: str) -> int:
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))
