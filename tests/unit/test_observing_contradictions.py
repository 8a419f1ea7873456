"""What an observer sees otherwise than the log has it: people are told, and the log keeps what it has."""

import json
from typing import Any

import pytest

from policy.movements import DAY_MS
from tests.simulation.world import TOKEN
from tests.unit.observing_house import CONFIRMATIONS, FakeBlocks, Watcher, paying
from tests.unit.test_observing import Scene


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_an_observer_whose_chain_pays_otherwise_is_told_and_the_log_keeps_what_it_has(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    other = FakeBlocks()
    other.mine(paying(amount=501), paying("another"), more=CONFIRMATIONS)
    scene.chain.mine(paying(amount=500), paying("another"), more=CONFIRMATIONS)
    scene.look()
    deceived = Watcher(scene.log, "olga", [other])
    logged = dict(scene.book.state.deposits)

    for _ in range(3):
        scene.look(deceived)

    said = [body for _, body in scene.log.said if isinstance(body, dict) and body["amount"] == "501"]
    assert [one["turn"] for one in said] == [0], "it is told once"
    assert [one.levelname for one in caplog.records if "something else" in one.message] == ["ERROR"]
    assert len(deceived.stater.contradicted) == 1 and not scene.oskar.stater.contradicted
    assert dict(scene.book.state.deposits) == logged


def test_what_differs_only_until_it_is_stated_gone_contradicts_nothing(scene: Scene) -> None:
    scene.chain.mine(paying(amount=500), more=CONFIRMATIONS)
    scene.look()
    scene.chain.reorganise(CONFIRMATIONS + 1, (paying(amount=3),))
    scene.chain.mine(more=CONFIRMATIONS)

    scene.look(scene.oskar)

    assert not scene.oskar.stater.contradicted


def test_a_deposit_whose_asset_has_another_name_by_now_is_not_contradicted(scene: Scene) -> None:
    scene.chain.mine(paying("token", contract=TOKEN), more=CONFIRMATIONS)
    scene.look()
    document: dict[str, Any] = scene.book.world.policy(name="second")
    renamed = json.loads(json.dumps(document).replace('"usdc"', '"usd-coin"'))
    scene.book.change("policy", renamed)
    scene.book.now_ms += DAY_MS
    scene.book.price(1)  # log time goes on

    scene.look()

    assert "usd-coin" in scene.book.state.policy.assets
    assert not scene.oskar.stater.contradicted
