"""Observers of chains, when another policy says by now what a deposit is and whose."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from custody.chains.watching import Block
from custody.observing.blocks import (
    WAITING_MAX,
    Memory,
    Watched,
    memory_document,
    read_memory,
)
from custody.observing.stating import AT_ONCE
from policy.movements import DAY_MS
from tests.simulation.world import CHAIN, TOKEN
from tests.unit.observing_house import CONFIRMATIONS, Watcher, paying
from tests.unit.test_observing import Scene

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def in_force(scene: Scene, change: Change, *, name: str = "second") -> None:
    """Another policy is in force."""
    document: dict[str, Any] = scene.book.world.policy(name=name)
    change(document)
    scene.book.change("policy", document)
    scene.book.now_ms += DAY_MS
    scene.book.price(1)  # log time goes on
    assert scene.book.state.policy.name == name


def least(amount: int) -> Change:
    return lambda document: document["assets"]["eth"].update(deposit_min=str(amount))


def started_again(scene: Scene, watcher: Watcher) -> Watcher:
    """It goes on with what is on its disk."""
    kept = {name: json.dumps(memory_document(one)) for name, one in watcher.memories.items()}
    memories = {name: read_memory(json.loads(one), name) for name, one in kept.items()}
    return Watcher(scene.log, watcher.name, watcher.chains, memories=memories)


@pytest.mark.parametrize(("before", "late"), [(501, 0), (1, AT_ONCE)])
def test_dust_that_a_lower_minimum_makes_deposits_of_fills_nothing_that_must_be_kept(
    scene: Scene, before: int, late: int
) -> None:
    in_force(scene, least(before))
    scene.chain.mine(*(paying(f"dust {one}") for one in range(AT_ONCE)), more=CONFIRMATIONS)
    scene.look(scene.oskar)
    in_force(scene, least(1), name="third")
    alone = started_again(scene, scene.oskar)

    scene.log.said.clear()
    scene.look(alone)
    memory = alone.memories[CHAIN]
    grow(memory, WAITING_MAX)
    Watched(scene.chain, memory, confirmations=CONFIRMATIONS).forget(set(memory.names))

    assert len(scene.log.said) == AT_ONCE, "it reaches back as far as blocks are remembered"
    assert len(memory.late) == late and not memory.dust


def grow(memory: Memory, count: int) -> None:
    """So many more blocks that pay nothing."""
    first = memory.next or 0
    memory.blocks += [Block(height, f"block {height}", "", ()) for height in range(first, first + count)]


def test_a_deposit_is_gone_also_when_its_account_and_asset_left_the_policy(scene: Scene) -> None:
    scene.chain.mine(paying(), paying("token", contract=TOKEN), more=CONFIRMATIONS)
    scene.look()
    in_force(scene, without_what_was_paid)
    restarted = started_again(scene, scene.oskar)

    scene.chain.reorganise(CONFIRMATIONS + 1)
    scene.chain.mine(more=CONFIRMATIONS)
    scene.look(scene.olga, restarted)

    assert [one.turns for one in scene.book.state.deposits.values()] == [2, 2]


def test_a_deposit_of_a_wallet_of_another_name_by_now_is_gone_by_the_name_in_the_log(scene: Scene) -> None:
    scene.chain.mine(paying(), more=CONFIRMATIONS)
    scene.look()
    in_force(scene, lambda one: one.update(wallets={"warm": one["wallets"]["hot"]}))

    scene.chain.reorganise(CONFIRMATIONS + 1)
    scene.chain.mine(more=CONFIRMATIONS)
    scene.look()

    assert scene.turns() == 2


def test_a_deposit_of_an_account_that_left_stays_while_its_transaction_is_in_the_chain(scene: Scene) -> None:
    scene.chain.mine(paying(), more=CONFIRMATIONS)
    scene.look()
    in_force(scene, without_what_was_paid)

    scene.chain.reorganise(CONFIRMATIONS + 1, (), (paying(),))
    scene.chain.mine(more=CONFIRMATIONS)
    scene.look()

    assert scene.turns() == 1


def without_what_was_paid(document: dict[str, Any]) -> None:
    """Neither the first account nor the token."""
    document["wallets"]["hot"]["paths"] = ["m/0/1"]
    del document["assets"]["usdc"]
    for part in ("rules", "limits"):
        document[part] = [one for one in document[part] if not one["name"].startswith("tokens")]
