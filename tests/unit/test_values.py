"""Copies with some fields changed, or a plain refusal."""

from dataclasses import dataclass

import pytest
from msgspec import Struct

from policy.values import replace


class Plain(Struct, frozen=True):
    a: int
    b: tuple[int, ...] = ()


class Kin(Plain, frozen=True):
    pass


@dataclass(frozen=True)
class Other:
    a: int


@pytest.mark.parametrize("value", [Plain(1, (2,)), Kin(1)])
def test_a_copy_differs_in_what_was_changed_alone(value: Plain) -> None:
    copied = replace(value, a=5)

    assert (copied.a, copied.b, value.a) == (5, value.b, 1) and type(copied) is type(value)


def test_a_copy_stays_frozen_and_apart_from_what_it_was_made_of() -> None:
    first = Plain(1)
    second = replace(first, b=(3,))

    assert (first.b, second.b) == ((), (3,))
    with pytest.raises(AttributeError):
        second.a = 2  # type: ignore[misc]


def test_a_field_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="c"):
        replace(Plain(1), c=1)  # type: ignore[call-arg]


def test_what_is_no_struct_is_refused() -> None:
    with pytest.raises(TypeError, match="Struct"):
        replace(Other(1), a=2)
