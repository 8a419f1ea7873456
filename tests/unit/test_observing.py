"""Observers of chains: what they state, when, and that one of them alone causes nothing."""

import asyncio
import json
from typing import Any

import pytest

from custody.chains.families import transactions
from custody.gathering import Gathering
from custody.observing.blocks import (
    BLOCKS_AT_ONCE,
    LATE_MAX,
    WAITING_MAX,
    WINDOW,
    Memory,
    Paid,
    memory_document,
    read_memory,
)
from custody.observing.settling import SENT_MAX, Sent, Settling
from custody.observing.stating import AT_ONCE
from custody.risk.following import Follower
from policy.approval import Slot
from policy.errors import OperationalError
from policy.fact_entries import deposit_id
from policy.movements import DAY_MS
from policy.replay import Step
from policy.state import JobStatus
from tests.simulation.world import CHAIN, CUSTOMER, TOKEN, Book, World, seed
from tests.unit.observing_house import CONFIRMATIONS, FakeBlocks, GatheringLog, Watcher, paying
from tests.unit.test_audit import pinned

DEPOSIT = deposit_id(CHAIN, seed("from outside"), index=0)


class Scene:
    """Two honest observers, each at an endpoint of the same chain."""

    def __init__(self) -> None:
        self.book = Book(World())
        self.log, self.chain = GatheringLog(self.book), FakeBlocks()
        self.oskar = Watcher(self.log, "oskar", [self.chain])
        self.olga = Watcher(self.log, "olga", [self.chain])

    def look(self, *watchers: Watcher) -> None:
        """Each looks once, or these do."""
        for one in watchers or (self.oskar, self.olga):
            asyncio.run(one.look())

    def turns(self) -> int:
        known = self.book.state.deposits.get(DEPOSIT)
        return known.turns if known else 0


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_deposit_is_logged_once_two_observers_have_seen_it_deep_enough(scene: Scene) -> None:
    scene.chain.mine(paying(), more=CONFIRMATIONS - 2)
    scene.look()
    assert not scene.log.said

    scene.chain.mine()
    scene.look(scene.oskar)
    assert scene.log.said and not scene.turns()

    scene.look(scene.olga)
    assert scene.turns() == 1


def test_a_deposit_says_what_its_transaction_uses_up(scene: Scene) -> None:
    scene.chain.mine(paying(), paying("no durable nonce", places=()), more=CONFIRMATIONS)
    scene.look(scene.oskar)

    said = [one.get("uses") for _, one in scene.log.said if isinstance(one, dict)]
    assert said == [{"chain": CHAIN, "account": CUSTOMER, "nonce": "7"}, None]


def test_what_is_logged_is_stated_no_more(scene: Scene) -> None:
    scene.chain.mine(paying(), more=CONFIRMATIONS)
    scene.look()
    said = len(scene.log.said)

    scene.chain.mine(more=5)
    scene.look()

    assert len(scene.log.said) == said


def test_a_deposit_is_stated_again_until_it_is_logged(scene: Scene) -> None:
    scene.chain.mine(paying(), more=WINDOW + CONFIRMATIONS)
    for _ in range(4):
        scene.look(scene.oskar)
    scene.log.gathering = Gathering()  # the coordinator was started anew

    scene.look(scene.olga)
    assert not scene.turns()
    scene.look()
    assert scene.turns() == 1


def test_a_lying_observer_alone_causes_nothing(scene: Scene) -> None:
    lying = FakeBlocks()
    lying.mine(paying(amount=10**30), more=CONFIRMATIONS)
    liar = Watcher(scene.log, "oskar", [lying])
    scene.chain.mine(more=CONFIRMATIONS)

    for _ in range(3):
        scene.look(liar, scene.olga)

    assert not scene.book.state.deposits


def test_two_observers_who_differ_in_the_amount_cause_nothing(scene: Scene) -> None:
    other = FakeBlocks()
    other.mine(paying(amount=501), more=CONFIRMATIONS)
    scene.chain.mine(paying(amount=500), more=CONFIRMATIONS)

    scene.look(scene.oskar, Watcher(scene.log, "olga", [other]))

    assert not scene.book.state.deposits


def test_what_others_are_paid_and_in_unknown_tokens_is_no_deposit(scene: Scene) -> None:
    others = paying("others", address=CUSTOMER), paying("scam", contract="0x" + "99" * 20)
    scene.chain.mine(*others, paying("token", contract=TOKEN), more=CONFIRMATIONS)

    scene.look()

    assert [one["asset"] for _, one in scene.log.said if isinstance(one, dict)] == ["usdc", "usdc"]


def test_dust_is_not_stated_and_a_deposit_that_would_be_dust_by_now_can_still_be_gone(scene: Scene) -> None:
    scene.chain.mine(paying("first"), paying(), more=CONFIRMATIONS - 1)
    scene.look()
    document: dict[str, Any] = scene.book.world.policy(name="second")
    document["assets"]["eth"]["deposit_min"] = "501"
    scene.book.change("policy", document)
    scene.book.now_ms += DAY_MS
    scene.book.price(1)  # log time goes on

    scene.log.said.clear()
    scene.chain.mine(paying("dust"), paying("enough", amount=501), more=CONFIRMATIONS)
    scene.look()
    assert {one["tx"] for _, one in scene.log.said if isinstance(one, dict)} == {seed("enough").hex()}

    scene.chain.reorganise(2 * CONFIRMATIONS + 1, (paying("first"),))
    scene.look()
    assert scene.turns() == 2

    scene.chain.mine(paying(), more=CONFIRMATIONS)
    scene.look()
    assert scene.turns() == 3, "what was taken for a deposit is not dust when it is mined again"


def test_what_we_pay_ourselves_is_no_deposit(scene: Scene) -> None:
    scene.book.pay(100, nonce=4)
    own = paying("own", places=(Slot(CHAIN, scene.book.world.account(), 4),))
    scene.chain.mine(own, more=CONFIRMATIONS)

    scene.look()

    assert not scene.book.state.deposits


def test_what_our_account_pays_is_no_deposit_also_when_the_log_of_it_is_kept_back(scene: Scene) -> None:
    own = paying("own", places=(Slot(CHAIN, scene.book.world.account(), 4),))
    scene.chain.mine(own, more=CONFIRMATIONS)

    scene.look()

    assert not scene.log.said


@pytest.mark.parametrize("depth", [1, 3, 10])
def test_a_deposit_that_a_reorganisation_took_is_gone_once_other_blocks_are_as_deep(
    scene: Scene, depth: int
) -> None:
    scene.chain.mine(paying(), more=CONFIRMATIONS + depth - 1)
    scene.look()
    assert scene.turns() == 1

    scene.chain.reorganise(CONFIRMATIONS + depth)
    scene.look()
    if depth < CONFIRMATIONS:
        scene.chain.mine(more=CONFIRMATIONS)
        scene.look()

    assert scene.turns() == 2


def test_what_was_taken_is_not_gone_before_other_blocks_are_as_deep(scene: Scene) -> None:
    scene.chain.mine(paying(), more=CONFIRMATIONS - 1)
    scene.look()
    del scene.chain.blocks[1:]
    scene.chain.mine()
    scene.look()
    assert scene.turns() == 1

    scene.chain.mine(more=CONFIRMATIONS)
    scene.look()
    assert scene.turns() == 2


def test_a_reorganisation_of_fewer_blocks_than_the_confirmations_is_not_noticed(scene: Scene) -> None:
    scene.chain.mine(paying(), more=CONFIRMATIONS)
    scene.look()
    said = len(scene.log.said)

    scene.chain.reorganise(CONFIRMATIONS - 1)
    scene.look()

    assert scene.turns() == 1 and len(scene.log.said) == said


def test_a_deposit_that_is_mined_again_in_another_block_stays(scene: Scene) -> None:
    scene.chain.mine(paying(), more=CONFIRMATIONS)
    scene.look()

    scene.chain.reorganise(CONFIRMATIONS + 1, (), (paying(),))
    scene.chain.mine(more=CONFIRMATIONS)
    scene.look()

    assert scene.turns() == 1
    assert not scene.oskar.memories[CHAIN].lost


def test_what_is_gone_and_mined_again_is_a_deposit_again(scene: Scene) -> None:
    scene.chain.mine(paying(), more=CONFIRMATIONS)
    scene.look()
    scene.chain.reorganise(CONFIRMATIONS + 1)
    scene.chain.mine(more=CONFIRMATIONS)
    scene.look()
    assert scene.turns() == 2

    scene.chain.mine(paying(), more=CONFIRMATIONS)
    scene.look()

    assert scene.turns() == 3


def test_what_pays_less_in_another_block_is_gone_and_comes_anew(scene: Scene) -> None:
    scene.chain.mine(paying(amount=500), more=CONFIRMATIONS)
    scene.look()

    scene.chain.reorganise(CONFIRMATIONS + 1, (paying(amount=3),))
    scene.chain.mine(more=CONFIRMATIONS)
    for _ in range(3):
        scene.look()

    logged = [body for _, body in scene.log.said if isinstance(body, dict)]
    assert [(one["turn"], one["amount"]) for one in logged[::2]] == [(0, "500"), (1, "500"), (2, "3")]
    assert scene.turns() == 3


@pytest.mark.parametrize("success", [False, True])
def test_what_is_mined_again_and_pays_nothing_there_is_gone_once_that_is_deep(
    scene: Scene, success: bool
) -> None:
    """As a transfer of tokens that fails, for its payer has none left."""
    scene.chain.mine(paying(contract=TOKEN), more=CONFIRMATIONS)
    scene.look()
    scene.chain.reorganise(CONFIRMATIONS + 1)
    scene.chain.mine(more=CONFIRMATIONS - 1)
    scene.chain.receipts[seed("from outside")] = len(scene.chain.blocks) - 1, success
    scene.look()
    assert scene.turns() == 1, "its block may go as well"

    scene.chain.mine(more=CONFIRMATIONS)
    scene.look()

    assert scene.turns() == 2


def test_a_node_that_has_the_block_of_a_transaction_no_more_takes_nothing_back(scene: Scene) -> None:
    """It is in a receipt, and the block is said to be none, as of a slot that is not kept."""
    scene.chain.mine(paying(), more=CONFIRMATIONS)
    scene.look()
    scene.chain.reorganise(CONFIRMATIONS + 1)
    scene.chain.receipts[seed("from outside")] = scene.chain.mine(more=2 * CONFIRMATIONS), True
    name, _ = scene.chain.blocks[-2 * CONFIRMATIONS - 1]
    scene.chain.blocks[-2 * CONFIRMATIONS - 1] = "", ()
    scene.look()
    assert scene.turns() == 1

    scene.chain.blocks[-2 * CONFIRMATIONS - 1] = name, ()
    scene.look()
    assert scene.turns() == 2


def test_what_is_logged_only_after_it_was_lost_is_gone_all_the_same(scene: Scene) -> None:
    scene.chain.mine(paying(), more=CONFIRMATIONS)
    scene.look(scene.oskar)
    before = FakeBlocks()
    before.blocks = list(scene.chain.blocks)
    scene.chain.reorganise(CONFIRMATIONS + 1)
    scene.chain.mine(more=CONFIRMATIONS)
    scene.look(scene.oskar)

    behind = Watcher(scene.log, "olga", [before])
    scene.look(behind)
    assert scene.turns() == 1
    scene.look(scene.oskar, Watcher(scene.log, "olga", [scene.chain], memories=behind.memories))

    assert scene.turns() == 2


def test_one_observer_alone_takes_no_deposit_back(scene: Scene) -> None:
    scene.chain.mine(paying(), more=CONFIRMATIONS)
    scene.look()
    forged = Watcher(scene.log, "oskar", [FakeBlocks()], memories=scene.oskar.memories)
    forged.chains[0].mine(more=3 * CONFIRMATIONS)

    for _ in range(3):
        scene.look(forged, scene.olga)

    assert scene.turns() == 1


def test_an_endpoint_that_is_behind_takes_nothing_back(scene: Scene) -> None:
    scene.chain.mine(paying(), more=CONFIRMATIONS)
    scene.look()
    behind = FakeBlocks()

    for name in ("oskar", "olga"):
        memories = (scene.oskar if name == "oskar" else scene.olga).memories
        scene.look(Watcher(scene.log, name, [behind], memories=memories))
        assert memories[CHAIN].blocks and not memories[CHAIN].lost

    assert scene.turns() == 1


def test_a_start_goes_on_from_what_is_remembered(scene: Scene) -> None:
    scene.chain.mine(paying(), more=CONFIRMATIONS)
    scene.look()
    kept = {
        name: read_memory(json.loads(json.dumps(memory_document(one))), name)
        for name, one in scene.oskar.memories.items()
    }
    assert kept == scene.oskar.memories

    again = Watcher(scene.log, "oskar", [scene.chain], memories=kept)
    asked = scene.chain.asked
    scene.look(again)
    assert scene.chain.asked == asked

    scene.chain.reorganise(CONFIRMATIONS + 1)
    scene.chain.mine(more=CONFIRMATIONS)
    scene.look(again, scene.olga)
    assert scene.turns() == 2


def test_what_nobody_confirms_holds_up_nothing(scene: Scene) -> None:
    for number in range(2 * AT_ONCE):
        scene.chain.mine(paying(f"early {number}"))
    late = Watcher(scene.log, "olga", [scene.chain], start=2 * AT_ONCE + 1)
    scene.chain.mine(paying(), more=CONFIRMATIONS)

    for _ in range(9):
        scene.look(scene.oskar, late)

    assert list(scene.book.state.deposits) == [DEPOSIT]


def test_what_nobody_else_has_seen_does_not_end_the_watch(scene: Scene) -> None:
    scene.chain.mine(paying("never seen by olga"))
    scene.chain.mine(more=WAITING_MAX)
    scene.chain.mine(paying(), more=CONFIRMATIONS)
    late = Watcher(scene.log, "olga", [scene.chain], start=WAITING_MAX)

    for _ in range(WAITING_MAX // BLOCKS_AT_ONCE + 2):
        scene.look(scene.oskar, late)

    assert list(scene.book.state.deposits) == [DEPOSIT]


def test_who_takes_no_more_blocks_in_still_states_what_waits(scene: Scene) -> None:
    scene.chain.mine(more=CONFIRMATIONS)
    late = {bytes([*divmod(one, 256)]): Paid(1, paying(f"late {one}")) for one in range(LATE_MAX)}
    full = Watcher(scene.log, "oskar", [scene.chain], memories={CHAIN: Memory(1, late=late)})

    with pytest.raises(OperationalError, match="look at the other observers"):
        scene.look(full)

    assert len(scene.log.said) == AT_ONCE and full.memories[CHAIN].next == 1


def test_without_a_start_what_was_mined_before_is_left(scene: Scene) -> None:
    scene.chain.mine(paying("early"), more=20)
    fresh = Watcher(scene.log, "oskar", [scene.chain], start=None)

    scene.look(fresh)
    scene.chain.mine(paying(), more=CONFIRMATIONS)
    scene.look(fresh)

    assert [one["tx"] for _, one in scene.log.said if isinstance(one, dict)] == [seed("from outside").hex()]


def test_one_chain_that_is_down_keeps_no_other_from_being_watched(scene: Scene) -> None:
    down = FakeBlocks("evm:5")
    down.down = True
    scene.chain.mine(paying(), more=CONFIRMATIONS)
    watchers = [Watcher(scene.log, name, [down, scene.chain]) for name in ("oskar", "olga")]

    for one in watchers:
        with pytest.raises(OperationalError, match="down"):
            asyncio.run(one.look())

    assert scene.turns() == 1


def test_confirmations_of_our_payments_are_stated_by_all_observers(scene: Scene) -> None:
    job = scene.book.pay(100, nonce=0)
    assert scene.book.state.jobs[job].status is JobStatus.SIGNED
    scene.look()
    _, tx = transactions(CHAIN).finished(scene.book.state.jobs[job])

    scene.chain.mine()
    scene.chain.receipts[tx] = 1, True
    scene.look()
    assert not scene.log.said

    scene.chain.mine(more=CONFIRMATIONS)
    scene.look()

    request = scene.book.state.requests[scene.book.state.jobs[job].request_id]
    assert request.closed and request.observed == job
    said = len(scene.log.said)
    scene.look()
    assert len(scene.log.said) == said


def test_nothing_is_stated_from_a_log_that_does_not_hold(scene: Scene) -> None:
    scene.log.by = ()
    scene.chain.mine(paying(), more=CONFIRMATIONS)

    with pytest.raises(OperationalError):
        scene.look()
    assert not scene.log.said


def test_who_is_no_observer_of_the_roster_states_nothing(scene: Scene) -> None:
    with pytest.raises(OperationalError, match="enrolled"):
        scene.look(Watcher(scene.log, "ada", [scene.chain]))


def test_what_nobody_confirms_is_given_up_once_there_is_too_much_of_it(scene: Scene) -> None:
    sent = [Sent(seed(str(n)), seed("job"), CHAIN, seed("tx")) for n in range(SENT_MAX + 2)]
    settling = Settling(sent, observer="oskar", chains=[CHAIN])
    assert settling.sent == sent[2:] and settling.given_up == 2

    job = scene.book.pay(100, nonce=4)
    Follower(scene.log, pinned(), hear=settling.hear).advance()

    assert [one.job for one in settling.sent[-2:]] == [seed("job"), job]
    assert len(settling.sent) == SENT_MAX and settling.given_up == 3


def test_only_what_is_going_to_be_stated_of_our_payments_is_remembered() -> None:
    book = Book(World())
    watched = Settling(observer="oskar", chains=[CHAIN])
    not_yet_enrolled = Settling(observer="newcomer", chains=[CHAIN])
    elsewhere = Settling(observer="oskar", chains=["evm:5"])
    hearing = (watched, not_yet_enrolled, elsewhere)

    def hear(step: Step) -> None:
        for one in hearing:
            one.hear(step)

    follower = Follower(GatheringLog(book), pinned(), hear=hear)

    job = book.pay(100, nonce=4)
    follower.advance()
    assert [len(one.sent) for one in hearing] == [1, 1, 0]
    book.settle(job)
    follower.advance()

    assert [len(one.sent) for one in hearing] == [1, 0, 0]
    kept = Settling(watched.sent, observer="oskar", chains=["evm:5"])
    assert not kept.sent
