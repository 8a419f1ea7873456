"""A rebalancer that ends at any call to the outside, before it was done or after it and before it was told.

Whatever the call: never two requests of the route are open at once, what is moved is moved once, and the
records come to the same end as without a fault.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from custody.rebalancing.moves import OVER
from custody.rebalancing.ports import Book
from custody.rebalancing.records import Move
from tests.unit.rebalancing_house import ETHER, FakeDesk, Killed, Mover

MINUTE_MS = 60_000
CALLS_MAX, LOST_CALLS_MAX, WRITES_MAX = 38, 24, 8


def play(folder: Path, desk: FakeDesk, around: Callable[[Book], Book] = lambda book: book) -> Mover:
    """A deposit that is swept, then payments that lead to a top-up, which people approve."""
    mover = Mover(folder, desk)
    mover.around_book = around
    mover.start()
    desk.balances["hot"] = 14 * ETHER
    for step in range(14):
        if step == 4:
            desk.pay(4 * ETHER)
        if step == 8:
            desk.approve_all()
        while mover.look_until_killed():
            check_one_open(desk)
        check_one_open(desk)
        desk.pass_time(MINUTE_MS)
    return mover


def check_one_open(desk: FakeDesk) -> None:
    assert len(desk.open_requests()) <= 1, [one.idempotency_key for one in desk.open_requests()]


def moved(desk: FakeDesk) -> list[tuple[str, int]]:
    return [(request.intent.wallet, request.intent.amount) for request in desk.settled()]


def test_without_a_fault_both_moves_arrive(tmp_path: Path) -> None:
    desk = FakeDesk()
    mover = play(tmp_path, desk)

    assert moved(desk) == [("hot", 9 * ETHER), ("cold", 4 * ETHER)]
    assert {move.stage for move in mover.book.moves()} == {"arrived"}
    assert desk.calls >= CALLS_MAX


@pytest.mark.parametrize("kind", ["not done", "done, not told"])
@pytest.mark.parametrize("number", range(1, CALLS_MAX + 1))
def test_a_rebalancer_that_ends_at_any_call_moves_the_same_once(
    tmp_path: Path, number: int, kind: str
) -> None:
    desk = FakeDesk(fault=(number, kind))

    mover = play(tmp_path, desk)

    assert moved(desk) == [("hot", 9 * ETHER), ("cold", 4 * ETHER)]
    assert {move.stage for move in mover.book.moves()} <= OVER
    assert len(mover.book.moves()) == 2


@pytest.mark.parametrize("kind", ["not done", "done, not told"])
@pytest.mark.parametrize("number", range(1, LOST_CALLS_MAX + 1))
def test_one_that_ends_and_loses_its_records_too_moves_nothing_twice(
    tmp_path: Path, number: int, kind: str
) -> None:
    desk = FakeDesk(fault=(number, kind))
    mover = Mover(tmp_path, desk)
    desk.balances["hot"] = ETHER
    for step in range(9):
        if step == 3:
            desk.approve_all()
        if mover.look_until_killed():
            mover.book.close()
            (tmp_path / "rebalancer.db").unlink()
            mover.start()
            mover.look()
        check_one_open(desk)
        desk.pass_time(MINUTE_MS)

    assert moved(desk) == [("cold", 4 * ETHER)]


class EndsAtAWrite:
    """Records under which the process ends at the n-th move that is put down, before or after it is."""

    def __init__(self, book: Book, fault: tuple[int, str], written: list[str]) -> None:
        self._book = book
        self._fault = fault
        self._written = written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)

    def put_move(self, move: Move) -> None:
        self._written.append(move.stage)
        ends = len(self._written) == self._fault[0]
        if ends and self._fault[1] == "not done":
            raise Killed
        self._book.put_move(move)
        if ends:
            raise Killed


@pytest.mark.parametrize("kind", ["not done", "done, not told"])
@pytest.mark.parametrize("number", range(1, WRITES_MAX + 1))
def test_a_rebalancer_that_ends_while_it_puts_a_move_down_moves_the_same_once(
    tmp_path: Path, number: int, kind: str
) -> None:
    desk, written = FakeDesk(), list[str]()

    mover = play(tmp_path, desk, lambda book: cast("Book", EndsAtAWrite(book, (number, kind), written)))

    assert len(written) >= WRITES_MAX
    assert moved(desk) == [("hot", 9 * ETHER), ("cold", 4 * ETHER)]
    assert len(mover.book.moves()) == 2


def test_a_rebalancer_that_puts_nothing_down_before_it_asks_would_be_seen(tmp_path: Path) -> None:
    desk = FakeDesk(fault=(5, "done, not told"))  # the call that submits the sweep
    mover = Mover(tmp_path, desk)
    desk.balances["hot"] = 14 * ETHER
    mover.look_until_killed()
    (tmp_path / "rebalancer.db").unlink()
    mover.desk.own_requests = lambda before=b"": ()  # type: ignore[method-assign]
    mover.start()
    desk.now_ms += 1

    said = mover.look()

    assert said == ["sweep refused"]  # the same name for other bytes: the coordinator takes only one
    assert len(desk.open_requests()) == 1
