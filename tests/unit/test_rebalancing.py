"""A rebalancer at work: what it asks of the coordinator, and what it never does."""

from pathlib import Path

import pytest

from tests.unit.rebalancing_house import ETHER, FakeDesk, Mover

MINUTE_MS = 60_000


@pytest.fixture
def desk() -> FakeDesk:
    return FakeDesk()


@pytest.fixture
def mover(tmp_path: Path, desk: FakeDesk) -> Mover:
    return Mover(tmp_path, desk)


def test_inside_the_band_nothing_is_asked(mover: Mover, desk: FakeDesk) -> None:
    assert mover.look() == []
    assert desk.kept == {}


def test_what_is_above_the_band_is_swept_by_itself_and_once(mover: Mover, desk: FakeDesk) -> None:
    desk.balances["hot"] = 14 * ETHER

    said = [mover.look()]
    for _ in range(4):
        desk.pass_time(MINUTE_MS)
        said.append(mover.look())

    assert said == [["sweep asked"], ["sweep moving"], ["sweep arrived"], [], []]
    assert [request.intent.amount for request in desk.settled()] == [9 * ETHER]
    assert desk.balances["hot"] == 5 * ETHER


def test_a_top_up_is_asked_for_and_waits_for_people(mover: Mover, desk: FakeDesk) -> None:
    desk.balances["hot"] = ETHER

    said = [mover.look()]
    desk.pass_time(MINUTE_MS)
    said.append(mover.look())
    desk.approve_all()
    for _ in range(3):
        desk.pass_time(MINUTE_MS)
        said.append(mover.look())

    assert said == [["top-up asked"], [], ["top-up moving"], ["top-up arrived"], []]
    assert desk.balances["hot"] == 5 * ETHER


def test_a_top_up_whose_reason_is_gone_is_called_back_and_asked_anew_when_there_is_one(
    mover: Mover, desk: FakeDesk
) -> None:
    desk.balances["hot"] = ETHER
    mover.look()
    desk.balances["hot"] = 5 * ETHER
    desk.pass_time(MINUTE_MS)

    said = [mover.look()]
    desk.pass_time(MINUTE_MS)
    desk.balances["hot"] = ETHER // 2
    said.append(mover.look())

    assert said == [["top-up withdrawn"], ["top-up asked"]]
    assert [one.state for one in desk.kept.values()] == ["denied", "waiting"]
    assert len({one.request.idempotency_key for one in desk.kept.values()}) == 2


def test_a_top_up_that_nobody_approved_in_time_is_asked_for_anew(mover: Mover, desk: FakeDesk) -> None:
    desk.balances["hot"] = ETHER
    mover.look()

    desk.pass_time(25 * 3_600_000)
    said = mover.look()

    assert said == ["top-up lapsed", "top-up asked"]
    assert [one.state for one in desk.kept.values()] == ["expired", "waiting"]


def test_a_wallet_that_no_chain_tells_of_is_left_alone_and_people_are_told(
    mover: Mover, desk: FakeDesk
) -> None:
    desk.balances["hot"], desk.blind = 14 * ETHER, True

    assert mover.look() == []
    assert [note.kind for note in mover.book.notes()] == desk.notes == ["blind"]
    assert desk.kept == {}


def test_a_policy_that_says_no_is_asked_again_after_a_pause_only(mover: Mover, desk: FakeDesk) -> None:
    desk.balances["hot"], desk.denies = 14 * ETHER, True

    said = [mover.look() for _ in range(3)]
    desk.pass_time(31 * MINUTE_MS)
    said.append(mover.look())

    assert said == [["sweep refused"], [], [], ["sweep refused"]]


def test_records_that_were_lost_are_found_at_the_coordinator(mover: Mover, desk: FakeDesk) -> None:
    desk.balances["hot"] = ETHER
    mover.look()
    mover.book.close()
    (mover.folder / "rebalancer.db").unlink()
    mover.start()

    said = mover.look()

    assert said == ["top-up asked"]
    assert len(desk.kept) == 1
    assert mover.look() == []
