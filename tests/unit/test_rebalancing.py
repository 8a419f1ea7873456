"""A rebalancer at work: what it asks of the coordinator, and what it never does."""

from pathlib import Path

import pytest
from prometheus_client import generate_latest

from custody.rebalancer.plan import plain_band
from custody.rebalancing.granting import Settings
from custody.rebalancing.rebalancer import Rebalancer
from custody.rebalancing.records import Corridor, Edge, Price, replace
from policy.errors import OperationalError
from tests.unit.rebalancing_house import ETHER, FakeDesk, Mover, make_route

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


def test_a_top_up_approved_after_its_reason_is_gone_is_swept_back_and_serves_no_other_move(
    mover: Mover, desk: FakeDesk
) -> None:
    desk.balances["hot"] = ETHER
    mover.look()
    desk.balances["hot"] = 9 * ETHER  # a deposit: nobody would ask for it now
    desk.approve_all()
    desk.pass_time(MINUTE_MS)  # signed before the rebalancer looks again

    said = []
    for _ in range(5):
        said.append(mover.look())
        desk.pass_time(MINUTE_MS)

    assert said == [
        ["top-up moving"],
        ["top-up arrived", "sweep asked"],
        ["sweep moving"],
        ["sweep arrived"],
        [],
    ]
    assert desk.balances["hot"] == 5 * ETHER
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


def test_when_the_price_feed_dies_the_plain_bounds_hold_and_the_log_is_told_of_both_turns(
    tmp_path: Path, desk: FakeDesk
) -> None:
    mover = Mover(tmp_path, desk, route=make_route(minimum=1, maximum=50))
    said, bands = [], []
    for ms, stated in ((0, True), (0, False), (2 * 3_600_000, False), (MINUTE_MS, True)):
        desk.pass_time(ms)
        if stated:
            desk.prices["eth"] = Price("usd/2", 250_000, desk.now_ms)
        mover.look()
        said.append(mover.book.exposures("eth")[-1].mode)
        bands.append(mover.book.exposures("eth")[-1].band)

    assert said == ["forecast", "forecast", "no-price", "forecast"]
    assert bands[2] == plain_band(mover.route.bounds) != bands[0]
    assert [kind for kind in desk.notes if kind in said] == ["forecast", "no-price", "forecast"]


def test_bounds_in_value_stay_as_at_the_last_price_and_are_unknown_before_the_first(
    tmp_path: Path, desk: FakeDesk
) -> None:
    worth = Corridor(Edge(value=100_000), Edge(value=1_000_000), Edge(value=2_000_000))
    mover = Mover(tmp_path, desk, route=replace(make_route(), corridor=worth))
    mover.look()
    before = mover.book.exposures("eth")
    desk.prices["eth"] = Price("usd/2", 250_000, desk.now_ms)
    mover.look()
    desk.pass_time(2 * 3_600_000)
    mover.look()
    known = [one.bounds.maximum_base for one in mover.book.exposures("eth")]

    assert before == ()
    assert desk.notes[0] == "blind"
    assert known == [8 * ETHER] * len(known) and known


def test_a_top_up_never_takes_the_wallet_above_its_maximum_whatever_is_owed(
    tmp_path: Path, desk: FakeDesk
) -> None:
    mover = Mover(tmp_path, desk)
    desk.balances["hot"] = 8 * ETHER
    desk.late = 30 * ETHER

    mover.look()

    (asked,) = desk.open_requests()
    assert desk.balances["hot"] + asked.intent.amount <= mover.route.bounds.maximum_base


def test_metrics_say_what_is_held_what_holds_and_when_it_was_looked(mover: Mover, desk: FakeDesk) -> None:
    desk.balances["hot"] = 14 * ETHER
    mover.look()
    shown = generate_latest(mover.metrics.registry).decode()

    assert 'quorumkeep_rebalancer_held{route="eth"} 14.0' in shown
    assert 'quorumkeep_rebalancer_mode{mode="no-price",route="eth"} 1.0' in shown
    assert 'quorumkeep_rebalancer_moves_total{route="eth",stage="asked"} 1.0' in shown
    assert (
        mover.metrics.registry.get_sample_value("quorumkeep_rebalancer_looked_seconds") == desk.now_ms / 1000
    )


def test_a_route_that_fails_does_not_stop_another(tmp_path: Path, desk: FakeDesk) -> None:
    gone = replace(make_route(), name="gone", source="nowhere")
    mover = Mover(tmp_path, desk)
    both = Rebalancer(
        desk,
        mover.book,
        routes=[gone, mover.route],
        settings=Settings(),
        metrics=mover.metrics,
        now_ms=lambda: desk.now_ms,
    )
    desk.balances["hot"] = 14 * ETHER

    with pytest.raises(OperationalError, match="no wallet nowhere"):
        both.look()

    assert [request.idempotency_key[:9] for request in desk.open_requests()] == ["sweep.eth"]
