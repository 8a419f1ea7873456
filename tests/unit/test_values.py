"""Copies with some fields changed: as the standard library makes them, or a plain refusal."""

import dataclasses

import pytest

from policy.values import replace


@dataclasses.dataclass(frozen=True)
class Wide:
    a: int
    b: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    a: int
    b: int = 2


class Kin(Wide):
    pass


@pytest.mark.parametrize("value", [Wide(1, (2,)), Slotted(1), Kin(1)])
def test_a_copy_is_what_the_standard_library_makes(value: Wide | Slotted) -> None:
    copied = replace(value, a=5)

    assert copied == dataclasses.replace(value, a=5) and type(copied) is type(value)
    assert value.a == 1


def test_a_copy_stays_frozen_and_apart_from_what_it_was_made_of() -> None:
    first = Wide(1)
    second = replace(first, b=(3,))

    assert (first.b, second.b) == ((), (3,))
    with pytest.raises(dataclasses.FrozenInstanceError):
        second.a = 2  # type: ignore[misc]


@pytest.mark.parametrize("value", [Wide(1), Slotted(1)])
def test_a_field_that_there_is_not_is_refused(value: Wide | Slotted) -> None:
    with pytest.raises(TypeError, match="c"):
        replace(value, c=1)  # type: ignore[call-arg]
