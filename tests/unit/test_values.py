"""Copies with some fields changed, or a plain refusal."""

import gc
import typing
import weakref
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from immutables import Map
from msgspec import Struct

from policy.decode.decoded import Source
from policy.rules import Facts
from policy.state import State
from policy.stored.layered import Layered
from policy.values import replace
from policy.windows import Window
from tests.unit.stored_logs import LOGS, Pages


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


def structs(kind: type[Struct] = Struct) -> Iterator[type[Struct]]:
    for one in kind.__subclasses__():
        yield from (one, *structs(one))


UNTRACKED = [
    kind for kind in structs() if kind.__module__.startswith("policy.") and not kind.__struct_config__.gc
]


def may_be_in_a_cycle(kind: type[Struct]) -> bool:
    """Whether it holds a table, which may read its pages through what holds the state, or a function."""
    held = str(typing.get_type_hints(kind))
    return any(word in held for word in ("Layered", "immutables", "Callable", "policy.state.State'"))


@pytest.mark.parametrize("kind", UNTRACKED, ids=lambda kind: kind.__name__)
def test_what_the_collector_does_not_see_is_in_no_cycle(kind: type[Struct]) -> None:
    assert not may_be_in_a_cycle(kind)


def test_the_states_tables_and_functions_are_seen() -> None:
    seen: list[type[Struct]] = [State, Window, Facts, Source]

    assert all(may_be_in_a_cycle(kind) for kind in seen) and len(UNTRACKED) > 20


class Disk(Pages):
    """Pages that keep the state that stands over them, as a node's log does."""

    state: State


def test_a_state_is_collected_with_the_disk_that_it_reads() -> None:
    disk = Disk()
    tables = disk.stored(LOGS["everyday"]().state)
    window = Window(counted=Layered(tables.stored("jobs")))
    disk.state = State(windows=Map({("limit", ""): window}))
    seen = weakref.ref(disk)
    del disk, tables, window
    gc.collect()

    assert seen() is None
