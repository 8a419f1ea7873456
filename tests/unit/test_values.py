"""Copies with some fields changed: as the standard library makes them, or a plain refusal."""

import dataclasses

import pytest
from msgspec import Struct

from policy.values import replace


@dataclasses.dataclass(frozen=True)
class Wide:
    a: int
    b: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    a: int
    b: int = 2


class Plain(Struct, frozen=True):
    a: int
    b: tuple[int, ...] = ()


class Kin(Plain, frozen=True):
    pass


@pytest.mark.parametrize("value", [Wide(1, (2,)), Slotted(1), Plain(1, (2,)), Kin(1)])
def test_a_copy_differs_in_what_was_changed_alone(value: Wide | Slotted | Plain) -> None:
    copied = replace(value, a=5)

    assert (copied.a, copied.b, value.a) == (5, value.b, 1) and type(copied) is type(value)


def test_a_copy_stays_frozen_and_apart_from_what_it_was_made_of() -> None:
    first = Plain(1)
    second = replace(first, b=(3,))

    assert (first.b, second.b) == ((), (3,))
    with pytest.raises(AttributeError):
        second.a = 2  # type: ignore[misc]


@pytest.mark.parametrize("value", [Wide(1), Plain(1)])
def test_a_field_that_there_is_not_is_refused(value: Wide | Plain) -> None:
    with pytest.raises(TypeError, match="c"):
        replace(value, c=1)  # type: ignore[call-arg]
