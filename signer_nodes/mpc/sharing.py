"""Shamir sharing with Feldman commitments: polynomials over scalars, and their images in the exponent.

A polynomial of ``terms`` coefficients needs ``terms`` shares to reconstruct its constant term, so
``terms`` is ``min_signers``. Party ``i`` holds the value at ``i``; index 0 is the secret itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from policy.errors import CallerError
from signer_nodes.mpc.groups import Group, lagrange
from signer_nodes.mpc.stream import RandomStream


@dataclass(frozen=True, slots=True)
class Polynomial:
    """Secret coefficients, the constant term first, each in ``[1, order)``."""

    group: Group
    coefficients: tuple[int, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.coefficients or not all(0 < a < self.group.order for a in self.coefficients):
            raise CallerError("a polynomial needs coefficients in [1, order)")

    def at(self, index: int) -> int:
        """The value at a party's index (from 1), in ``[0, order)``."""
        if index < 1:
            raise CallerError(f"shares are values at indices from 1, got {index}")
        value = 0
        for coefficient in reversed(self.coefficients):
            value = (value * index + coefficient) % self.group.order
        return value

    def commit(self) -> tuple[bytes, ...]:
        """The Feldman commitments: every coefficient times the generator, the constant term first."""
        return tuple(self.group.base_mul(coefficient) for coefficient in self.coefficients)


def random_polynomial(
    group: Group, stream: RandomStream, *, terms: int, constant: int | None = None
) -> Polynomial:
    """A polynomial with ``terms`` fresh coefficients, the first replaced by ``constant`` if given."""
    drawn = tuple(stream.scalar_below(group.order) for _ in range(terms))
    return Polynomial(group, drawn if constant is None else (constant, *drawn[1:]))


def evaluate_commitments(group: Group, commitments: Sequence[bytes], *, index: int) -> bytes:
    """The committed polynomial at ``index`` in the exponent. Public data only.

    Raises ``PointAtInfinity`` where a partial sum vanishes, which honest coefficients never cause.
    """
    if index < 1:
        raise CallerError(f"shares are values at indices from 1, got {index}")
    value = commitments[-1]
    for commitment in reversed(commitments[:-1]):
        value = group.add([group.mul_public(value, index), commitment])
    return value


def add_commitments(group: Group, dealers: Sequence[Sequence[bytes]]) -> tuple[bytes, ...]:
    """The commitments of the sum of all dealers' polynomials (of equal degree)."""
    return tuple(group.add(column) for column in zip(*dealers, strict=True))


def verify_share(group: Group, commitments: Sequence[bytes], *, index: int, share: int) -> bool:
    """Whether ``share`` (in ``[1, order)``) is the committed polynomial's value at ``index``."""
    return group.base_mul(share) == evaluate_commitments(group, commitments, index=index)


def interpolate(group: Group, shares: Mapping[int, int]) -> int:
    """The secret behind shares by index. Only recovery and tests ever bring a key to one place."""
    indices = tuple(shares)
    terms = (lagrange(index, indices, order=group.order) * share for index, share in shares.items())
    return sum(terms) % group.order
