"""What whoever stores a state relies on, of the disks of cosigners and of coordinators."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import pytest

from custody.adapters.state_pages import StatePages
from policy.stored.keeping import PageStore
from signer_nodes.adapters.store import NodeStore

DISKS: tuple[type[NodeStore] | type[StatePages], ...] = (NodeStore, StatePages)
Open: TypeAlias = Callable[[], PageStore]
NAMES = (b"a", b"b", b"c", b"d")


@pytest.fixture(params=DISKS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens one disk, each time as after a restart."""
    now: list[NodeStore | StatePages] = []

    def open_again() -> PageStore:
        if now:
            now.pop().close()
        now.append(request.param(tmp_path / "disk.db"))
        return now[0]

    yield open_again
    with closing(now[0]):
        pass


def pages(store: PageStore) -> list[bytes | None]:
    return [store.page(name) for name in NAMES]


def test_a_stored_state_and_the_one_before_it_can_be_read_after_a_restart(opened: Open) -> None:
    store = opened()
    store.put_state(b"one", before=b"", added={b"a": b"A", b"b": b"B"}, retired=())
    store.put_state(b"two", before=b"one", added={b"c": b"C"}, retired=[b"b"])

    store = opened()

    assert store.resume_state(b"two") and not store.resume_state(b"none")
    assert pages(store) == [b"A", b"B", b"C", None]


def test_what_a_state_replaced_goes_in_parts_and_what_comes_again_stays(opened: Open) -> None:
    store = opened()
    store.put_state(b"one", before=b"", added={b"a": b"A", b"b": b"B"}, retired=())
    store.put_state(b"two", before=b"one", added={b"c": b"C"}, retired=[b"a", b"b"])

    assert store.forget_before(1)
    assert pages(store).count(None) == 2
    assert store.forget_before(5) and not store.forget_before(5)
    assert pages(store) == [None, None, b"C", None]
    store.put_state(b"three", before=b"two", added={b"a": b"A"}, retired=[b"c"])
    store.put_state(b"four", before=b"three", added={b"c": b"C"}, retired=[b"a"])
    store.put_state(b"five", before=b"four", added={b"d": b"D"}, retired=())
    assert pages(opened()) == [None, None, b"C", b"D"]


def test_pages_that_were_coming_when_it_ended_are_dropped(opened: Open) -> None:
    store = opened()
    store.put_state(b"one", before=b"", added={b"a": b"A"}, retired=())
    store.add_pages({b"b": b"B"})

    store = opened()

    assert store.resume_state(b"one")
    store.add_pages({b"c": b"C"})
    store.put_state(b"two", before=b"one", added={b"d": b"D"}, retired=())
    assert pages(opened()) == [b"A", None, b"C", b"D"]


def test_after_clearing_nothing_is_stored(opened: Open) -> None:
    store = opened()
    store.put_state(b"one", before=b"", added={b"a": b"A"}, retired=())
    store.add_pages({b"b": b"B"})

    store.clear_state()

    assert pages(store) == [None] * 4 and not store.resume_state(b"one")
    store.put_state(b"new", before=b"", added={b"c": b"C"}, retired=())
    assert opened().resume_state(b"new")
