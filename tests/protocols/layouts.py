"""What the messages of the protocols are made of: every field by name, kind and place.

A layout is the list of a body's consecutive fields. The mutator hits fields by these names, so a field
that no layout names would be a field that no test attacks: ``test_attacks`` checks that the layouts
cover real bodies exactly and that every point and scalar reads as one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from itertools import accumulate

from policy.errors import MalformedError
from policy.suites import DKLS23_SECP256K1, suite_named
from signer_nodes.mpc.groups import SCALAR_BYTES, SECP256K1_GROUP, Group, group_of
from signer_nodes.mpc.keyshare import COLUMNS
from signer_nodes.mpc.ot.extension import MASK_BYTES
from signer_nodes.mpc.ot.rows import LANES


class Kind(Enum):
    """What an element of a field must be to be well-formed."""

    BYTES = "bytes"
    POINT = "point"
    SCALAR = "scalar"


@dataclass(frozen=True, slots=True)
class Field:
    """``count`` elements of ``length`` bytes each. The part of a name before ``[`` is the field's kind of
    use: ``R[0]`` and ``R[3]`` are one row of an expectation table."""

    name: str
    kind: Kind
    length: int
    count: int = 1
    group: Group = SECP256K1_GROUP

    @property
    def size(self) -> int:
        """Bytes of the whole field."""
        return self.length * self.count

    @property
    def use(self) -> str:
        """The name without the number of its instance."""
        return self.name.partition("[")[0]

    def well_formed(self, element: bytes) -> bool:
        """Whether one element parses."""
        try:
            if self.kind is Kind.POINT:
                self.group.point_of(element)
            if self.kind is Kind.SCALAR:
                self.group.scalar_of(element)
        except MalformedError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Placed:
    """A field and where it begins in its body."""

    field: Field
    offset: int


Layout = tuple[Field, ...]


def placed(layout: Layout) -> tuple[Placed, ...]:
    """Every field with its place."""
    starts = accumulate((field.size for field in layout), initial=0)
    return tuple(Placed(field, start) for field, start in zip(layout, starts, strict=False))


def body_bytes(layout: Layout) -> int:
    """The length of a body of this layout."""
    return sum(field.size for field in layout)


def points(name: str, count: int = 1, *, group: Group = SECP256K1_GROUP) -> Field:
    """A field of points."""
    return Field(name, Kind.POINT, group.point_bytes, count, group)


def scalars(name: str, count: int = 1, *, group: Group = SECP256K1_GROUP) -> Field:
    """A field of scalars."""
    return Field(name, Kind.SCALAR, SCALAR_BYTES, count, group)


def octets(name: str, length: int = 32, count: int = 1) -> Field:
    """A field of any bytes: hashes, salts, columns of bits."""
    return Field(name, Kind.BYTES, length, count)


def each(numbers: Iterable[int], *fields: Field) -> Layout:
    """The same fields once for every number, which goes into their names."""
    return tuple(replace(field, name=f"{field.name}[{b}]") for b in numbers for field in fields)


def dkg(min_signers: int, suite: str = DKLS23_SECP256K1) -> dict[int, Layout]:
    """Key generation alone, by round."""
    group = group_of(suite)
    opening = (
        points("coefficient", min_signers, group=group),
        points("proof R", group=group),
        scalars("proof z", group=group),
        octets("chain code"),
    )
    return {1: (octets("commitment"),), 2: opening, 3: (scalars("share", group=group), octets("transcript"))}


def setup() -> dict[int, Layout]:
    """The pairwise set-up alone, by round."""
    offer = (octets("zero commitment"), points("OT request", 2 * COLUMNS))
    reply = (octets("zero part"), points("OT answer", 2 * COLUMNS))
    return {1: offer, 2: reply, 3: (octets("confirmation"),)}


def keygen(min_signers: int) -> dict[int, Layout]:
    """Key generation and set-up in one run, by round."""
    pairwise = setup()
    return {number: layout + pairwise[number] for number, layout in dkg(min_signers).items()}


def presign(batch: int) -> dict[int, Layout]:
    """Presigning a batch, by round."""
    numbers = range(batch)
    column = batch * LANES // 8 + MASK_BYTES
    commit = (
        octets("commitment to R"),
        *each(numbers, octets("commitment to rho")),
        octets("matrix", column, COLUMNS),
        octets("tag of x"),
        octets("tags of columns", count=COLUMNS),
    )
    opening = (points("R"), points("pk"), points("gamma u"), points("gamma v"), scalars("psi"))
    product = (
        *each(numbers, *(scalars(f"difference {k}", LANES) for k in (1, 2, 3))),
        *each(numbers, scalars("eta")),
        *each(numbers, octets("hash of mu")),
    )
    return {1: commit, 2: (octets("view"), octets("salt"), *each(numbers, *opening), *product)}


def redeal(min_signers: int, suite: str, *, deals: bool, receives: bool, pairs: bool) -> dict[int, Layout]:
    """Refresh and reshare, by round, from one party to one: whether that deals, this receives, both pair."""
    group = group_of(suite)
    pairwise = setup() if pairs and suite_named(suite).pairwise else {1: (), 2: (), 3: ()}
    opening: Layout = (points("coefficient", min_signers - 1, group=group),)
    value: Layout = (scalars("value", group=group),)
    return {
        1: ((octets("commitment"),) if deals else ()) + pairwise[1],
        2: (opening if deals else ()) + pairwise[2],
        3: (value if deals and receives else ()) + (octets("transcript"),) + pairwise[3],
    }


def imported(suite: str) -> dict[int, Layout]:
    """Import, by round."""
    view: Layout = (octets("view"),)
    if not suite_named(suite).pairwise:
        return {1: view}
    pairwise = setup()
    return {**pairwise, 1: view + pairwise[1]}


def frost(suite: str) -> dict[int, Layout]:
    """Signing by FROST: a signer's opening, then its partial signature."""
    group = group_of(suite)
    return {1: (points("D", group=group), points("E", group=group)), 2: (scalars("z", group=group),)}


def finish() -> dict[int, Layout]:
    """Signing: a signer's opening, then its partial signature."""
    return {1: (octets("rho"),), 2: (scalars("w"), scalars("u"))}
