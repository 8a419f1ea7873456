"""What a protocol is to the mutator, and what an attack on it is. ``mutator`` carries attacks out."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from policy.errors import ProtocolError
from signer_nodes.mpc.rounds import Rounds
from tests.protocols.layouts import Field, Layout

Table = Mapping[tuple[int, str], "Verdict"]  # (round, use of a field) -> how its receiver ends


class Verdict(Enum):
    """How a victim ends."""

    NAMED = "names the attacker"
    BANNED = "names the attacker and bans the pair"
    UNNAMED = "has no usable result and names nobody"
    WAITS = "waits for the attacker"
    HARMLESS = "has a good result"


class Change(Enum):
    """What the attacker does to one element of a field."""

    OTHER = "another valid value"
    FLIP = "one bit flipped"
    ZEROS = "zeros"
    ONES = "ones"
    NOISE = "noise"
    FOREIGN = "the same field of another session"
    CROSSED = "the same field of the message to another receiver"
    SHIFTED = "its neighbour in the field"


class Trick(Enum):
    """What the attacker does with a whole message."""

    DROP = "drops it"
    REPEAT = "sends it twice"
    CONTRADICT = "sends it, then another"
    LATE = "sends it after the next one"
    NUMBER_NEXT = "calls it the next round's"
    NUMBER_FAR = "calls it a far round's"
    NUMBER_PAST = "calls it the last round's"
    TRUNCATE = "cuts its last byte"
    EXTEND = "adds a byte"
    BARE = "sends the round's number alone"
    EMPTY = "sends nothing at all"
    OVERSIZE = "sends a megabyte"
    REPLAY = "sends another session's"
    SWAP = "sends another receiver's"


@dataclass(frozen=True, slots=True)
class Cheat:
    """The attacker's machine on inputs of its own, and how honest parties end; at least one does."""

    start: Callable[[], Rounds]
    ends: Verdict


def seed_of(party: int, session: int, face: int = 0) -> bytes:
    """A party's randomness in a session."""
    return random.Random(f"party {party} session {session} face {face}").randbytes(32)


def no_cheats(_attacker: int) -> Mapping[str, Cheat]:
    """For a protocol whose inputs leave nothing to lie about."""
    return {}


@dataclass(frozen=True, slots=True, eq=False)
class Protocol:
    """One protocol among fixed parties, for the mutator.

    ``start(party, session, face)`` begins a party's run in a numbered session; every face has randomness
    of its own, and honest parties have face 0.
    ``layouts`` are by round; where a body differs by who sends it to whom, ``layout_of`` says it.
    ``table`` has a row for every (round, use of a field): what a well-formed other value leads to;
    malformed ones always name. ``replayed`` and ``swapped`` say it for whole messages, by round.
    ``conclude`` takes the results there are, raises ``UnknownFault`` when they are of no use and
    ``AssertionError`` when they are wrong. Only ``attackers`` attack: the tables are for their role.
    ``broadcast``: one relay brings everybody the same, so an attacker has one face only.
    """

    name: str
    parties: tuple[int, ...]
    start: Callable[[int, int, int], Rounds]
    layouts: Mapping[int, Layout]
    table: Table
    replayed: Mapping[int, Verdict]
    swapped: Mapping[int, Verdict]
    conclude: Callable[[Mapping[int, object]], None]
    cheats: Callable[[int], Mapping[str, Cheat]] = no_cheats
    layout_of: Callable[[int, int, int], Layout] | None = None
    attackers: tuple[int, ...] = ()
    broadcast: bool = False

    def __post_init__(self) -> None:
        if not self.attackers:
            object.__setattr__(self, "attackers", self.parties)

    @property
    def last(self) -> int:
        """The number of its last round."""
        return max(self.layouts)

    def peers(self, party: int) -> frozenset[int]:
        """Everybody else."""
        return frozenset(self.parties) - {party}

    def layout(self, number: int, sender: int, to: int) -> Layout:
        """The layout of a round's body from one party to another."""
        return self.layout_of(number, sender, to) if self.layout_of else self.layouts[number]

    def fields(self) -> list[tuple[int, Field]]:
        """Every field of every round."""
        return [(number, field) for number, layout in self.layouts.items() for field in layout]


@dataclass(frozen=True, slots=True)
class Strike:
    """What the attacker does to its messages of one round to ``receivers``.

    ``act`` changes one element of ``target``, or the whole message. ``seed`` draws what is left open, the
    order of delivery included; 0 is first sent, first delivered.
    """

    attacker: int
    number: int
    receivers: frozenset[int]
    act: Change | Trick
    target: Field | None = None
    element: int = 0
    seed: int = 0

    def __str__(self) -> str:
        place = f" of {self.target.name}[{self.element}]" if self.target else ""
        return (
            f"party {self.attacker}, round {self.number} to {sorted(self.receivers)}: {self.act.value}{place}"
        )


@dataclass(slots=True)
class Outcome:
    """How all parties ended, and what reached whom changed."""

    runs: Mapping[int, Rounds]
    results: dict[int, object] = field(default_factory=dict)
    errors: dict[int, ProtocolError] = field(default_factory=dict)
    victims: set[int] = field(default_factory=set)
    malformed: set[int] = field(default_factory=set)

    def held_up(self, party: int, attacker: int) -> bool:
        """Whether a party waits for an honest one that has given up."""
        run = self.runs[party]
        return any(peer in self.errors for peer in run.missing if peer != attacker)
