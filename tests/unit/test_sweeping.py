"""A sweeper's looks: deposits end in the collecting wallet, whatever ends the process, none is sent twice."""

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from custody.adapters.rebalance_store import RebalanceStore
from custody.rebalancing.moves import Stage
from custody.rebalancing.records import Move
from custody.sweeping.metrics import SweeperMetrics
from custody.sweeping.sweeper import Sweeper
from policy.errors import OperationalError
from tests.unit.sweeping_house import DEPOSITS, ETH, FEE, GAS, HOT, TASKS, USD, Ended, FakeDesk, address

PATHS = [f"m/0/{number}" for number in range(5)]
DAY_MS, LOOK_MS = 86_400_000, 60_000


@contextmanager
def sweeping(folder: Path, desk: FakeDesk) -> Iterator[Sweeper]:
    """A sweeper's process over its records."""
    with RebalanceStore(folder / "sweeper.db") as book:
        yield Sweeper(desk, book, tasks=TASKS, metrics=SweeperMetrics(), now_ms=lambda: desk.now_ms)


def looks(folder: Path, desk: FakeDesk, count: int = 6) -> list[Move]:
    """So many looks, each by a process of its own."""
    changed = []
    for _ in range(count):
        with sweeping(folder, desk) as sweeper:
            changed += sweeper.look()
        desk.now_ms += LOOK_MS
    return changed


def stays(folder: Path, desk: FakeDesk, count: int) -> Iterator[None]:
    """The looks of one process, one every twenty minutes."""
    with sweeping(folder, desk) as sweeper:
        for _ in range(count):
            sweeper.look()
            desk.now_ms += 20 * LOOK_MS
            yield


@pytest.fixture
def desk() -> FakeDesk:
    """Five accounts with tokens and without ether, a hot wallet and a tank."""
    found = FakeDesk()
    found.put(HOT, "m/0", eth=10 * FEE, usd=0)
    found.put(GAS, "m/0", eth=100 * FEE)
    for path in PATHS:
        found.put(DEPOSITS, path, usd=100, eth=0)
    return found


def test_tokens_without_gas_are_given_some_and_end_in_the_hot_wallet(tmp_path: Path, desk: FakeDesk) -> None:
    looks(tmp_path, desk)

    assert desk.held(HOT, "m/0", USD) == 500
    assert all(not desk.held(DEPOSITS, path, USD) for path in PATHS)
    assert len(desk.kept) == 10
    assert desk.held(GAS, "m/0", ETH) == 100 * FEE - 5 * (2 * FEE + desk.spent)


def test_every_request_names_the_account_that_pays_and_what_it_may_cost(
    tmp_path: Path, desk: FakeDesk
) -> None:
    looks(tmp_path, desk)

    sources = [str(request.intent.source) for request, _, _ in desk.kept.values()]
    assert sorted(sources) == sorted(["m/0"] * 5 + PATHS)
    assert {request.fee_ceiling for request, _, _ in desk.kept.values()} == {FEE}
    assert len({request.idempotency_key for request, _, _ in desk.kept.values()}) == 10


@pytest.mark.parametrize("seed", range(3))
def test_ends_at_any_moment_and_lost_answers_make_no_second_request(
    tmp_path: Path, desk: FakeDesk, seed: int
) -> None:
    rng = random.Random(seed)
    desk.faults = lambda: rng.choice([None, None, None, None, "before", "after"])
    for _ in range(30):
        desk.pays = rng.random() < 0.5
        with sweeping(tmp_path, desk) as sweeper, suppress(Ended, OperationalError):
            sweeper.look()
        if rng.random() < 0.3:
            desk.mine()
        if rng.random() < 0.1:
            (tmp_path / "sweeper.db").unlink()
        desk.now_ms += LOOK_MS
    desk.faults, desk.pays = (lambda: None), True
    desk.mine()
    looks(tmp_path, desk, 4)
    with RebalanceStore(tmp_path / "sweeper.db") as book:
        records = {move.request: move.stage for move in book.moves()}

    assert (desk.held(HOT, "m/0", USD), len(desk.kept)) == (500, 10)
    assert records == dict.fromkeys(desk.kept, Stage.ARRIVED)


def test_a_request_is_written_down_before_it_is_sent_and_sent_as_it_was(
    tmp_path: Path, desk: FakeDesk
) -> None:
    calls = iter([None, None, "before"])  # holdings twice, and the first request
    desk.faults = lambda: next(calls, None)
    with sweeping(tmp_path, desk) as sweeper, suppress(Ended):
        sweeper.look()
    with RebalanceStore(tmp_path / "sweeper.db") as book:
        (written,) = book.moves()
    desk.now_ms += LOOK_MS
    looks(tmp_path, desk, 1)

    assert written.stage is Stage.DECIDED
    assert written.body in [body for _, body, _ in desk.kept.values()]


def test_what_is_under_way_is_not_asked_for_again_until_it_is_over(tmp_path: Path, desk: FakeDesk) -> None:
    desk.pays = False
    looks(tmp_path, desk, 4)
    desk.turn("broadcast")
    looks(tmp_path, desk, 4)

    assert len(desk.kept) == 5


def test_lost_records_are_found_at_the_coordinator(tmp_path: Path, desk: FakeDesk) -> None:
    desk.pays = False
    for path in PATHS:
        desk.put(DEPOSITS, path, eth=FEE)
    looks(tmp_path, desk, 1)
    (tmp_path / "sweeper.db").unlink()
    adopted = looks(tmp_path, desk, 3)
    desk.mine()
    looks(tmp_path, desk, 2)

    assert {move.route for move in adopted} == {f"{USD}@{address(DEPOSITS, path)}" for path in PATHS}
    assert (len(desk.kept), desk.held(HOT, "m/0", USD)) == (5, 500)


def test_requests_of_before_that_are_over_lend_no_name_to_new_ones(tmp_path: Path, desk: FakeDesk) -> None:
    looks(tmp_path, desk)
    (tmp_path / "sweeper.db").unlink()
    for path in PATHS:
        desk.put(DEPOSITS, path, usd=60, eth=FEE)
    looks(tmp_path, desk)

    assert desk.held(HOT, "m/0", USD) == 500 + 300


def test_what_the_policy_denies_is_asked_for_less_and_less_often(tmp_path: Path, desk: FakeDesk) -> None:
    desk.denies = True
    first = looks(tmp_path, desk, 1)
    list(stays(tmp_path, desk, 3))  # an hour

    assert {move.stage for move in first} == {Stage.REFUSED} and first[0].error == "limit reached"
    assert len(desk.kept) <= 5 + 4

    desk.denies = False
    desk.now_ms += DAY_MS
    looks(tmp_path, desk, 20)

    assert desk.held(HOT, "m/0", USD) == 500


def test_what_expires_unsigned_as_in_a_freeze_is_asked_for_anew_later(tmp_path: Path, desk: FakeDesk) -> None:
    desk.pays = False
    looks(tmp_path, desk, 1)
    desk.turn("expired")
    looks(tmp_path, desk, 3)
    during = len(desk.kept)
    desk.pays, desk.now_ms = True, desk.now_ms + DAY_MS
    looks(tmp_path, desk, 20)

    assert during == 5
    assert desk.held(HOT, "m/0", USD) == 500


def test_a_token_that_does_not_move_costs_no_more_than_a_few_fees_a_day(
    tmp_path: Path, desk: FakeDesk
) -> None:
    desk.keeps = True
    for path in PATHS[1:]:
        desk.put(DEPOSITS, path, usd=0)
    desk.put(DEPOSITS, PATHS[0], eth=90 * FEE, usd=100)
    desk.balances[address(DEPOSITS, PATHS[0]), ETH] = 18 * FEE
    assert len(list(stays(tmp_path, desk, 72))) == 72

    assert 3 < len(desk.kept) <= 9


def test_gas_that_is_spent_again_and_again_is_given_only_so_often_a_day(
    tmp_path: Path, desk: FakeDesk
) -> None:
    for _ in stays(tmp_path, desk, 70):
        for path in PATHS:  # whoever it is takes the gas, and the tokens are there again
            desk.put(DEPOSITS, path, usd=100, eth=0)

    top_ups = [request for request, _, _ in desk.kept.values() if request.intent.wallet == GAS]
    assert len(top_ups) == 4 * len(PATHS)


def test_nothing_is_asked_while_nobody_answers(tmp_path: Path, desk: FakeDesk) -> None:
    desk.down = True
    with sweeping(tmp_path, desk) as sweeper, pytest.raises(OperationalError):
        sweeper.look()

    assert not desk.kept


def test_a_plan_asks_for_nothing(tmp_path: Path, desk: FakeDesk) -> None:
    with sweeping(tmp_path, desk) as sweeper:
        assert len(sweeper.decide().wishes) == 5

    assert not desk.kept


def test_metrics_say_what_is_under_way_paused_and_low(tmp_path: Path, desk: FakeDesk) -> None:
    desk.pays = False
    desk.put(GAS, "m/0", eth=4 * FEE)
    metrics = SweeperMetrics()
    with RebalanceStore(tmp_path / "sweeper.db") as book:
        sweeper = Sweeper(desk, book, tasks=TASKS, metrics=metrics, now_ms=lambda: desk.now_ms)
        sweeper.look()
        desk.turn("denied")
        sweeper.look()

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"quorumkeep_sweeper_{name}", labels)

    assert (value("tank_low", asset=ETH), value("tank_held", asset=ETH)) == (1, 4 * FEE)
    assert (value("thirsty", asset=ETH), value("paused"), value("in_flight", direction="top-up")) == (5, 1, 1)
    assert value("moves_total", direction="top-up", asset=ETH, stage="refused") == 1
