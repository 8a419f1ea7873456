"""The chains of a demo: which can be chosen, what its policy says of them, and the purses that pay in."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations

import pytest
from solders.signature import Signature

from cli.demo.chains import FAMILIES, check_installed, chosen
from cli.demo.chains.bitcoin.core import COINBASE_MATURITY, BitcoinCore
from cli.demo.chains.bitcoin.core_rpc import CoreRpc
from cli.demo.chains.bitcoin.node import BitcoinNode
from cli.demo.chains.family import Family
from cli.demo.chains.policies import policy_of
from cli.demo.chains.rpc import RpcError
from cli.demo.chains.solana.cluster import SolanaCluster
from cli.demo.chains.solana.cluster_rpc import ClusterRpc
from cli.demo.chains.solana.node import SolanaNode
from cli.demo.policy import SWEEPER
from cli.demo.road import scenes_of
from cli.demo.scenes import SCENES
from cli.results import Misuse
from custody.chains.bitcoin.transaction import script_of
from policy.addresses import is_address
from policy.document import parse_policy
from policy.errors import OperationalError

BITCOIN, SOLANA = FAMILIES["bitcoin"], FAMILIES["solana"]
TOKEN = "0x" + "11" * 20
SUBSETS = [one for size in range(1, len(FAMILIES) + 1) for one in combinations(FAMILIES.values(), size)]
COIN = 10**8


def test_families_come_in_the_order_of_the_table_whatever_order_they_are_named_in() -> None:
    assert chosen("solana,bitcoin, evm") == tuple(FAMILIES.values())


@pytest.mark.parametrize("text", ["", "evm,", "litecoin", "evm,evm", "EVM"])
def test_a_name_that_is_no_family_or_stands_twice_is_misuse(text: str) -> None:
    with pytest.raises(Misuse, match="--chains"):
        chosen(text)


def test_a_test_chain_that_is_not_installed_is_refused_with_what_to_install() -> None:
    with pytest.raises(OperationalError, match=r"no_such_module.*quorumkeep\[demo\]"):
        check_installed(replace(BITCOIN, needs=("no_such_module",)))


@pytest.mark.parametrize("families", SUBSETS, ids=lambda some: ",".join(one.name for one in some))
def test_the_policy_of_any_families_is_one_and_pays_their_customers_alone(
    families: tuple[Family, ...],
) -> None:
    policy = parse_policy(policy_of(families, TOKEN))

    assert policy.lists["customers"] == {family.customer for family in families}
    assert policy.chains.keys() == {family.chain for family in families}
    for family in families:
        assert {pocket.wallet for pocket in family.pockets} <= policy.wallets.keys()
        assert policy.exposure(policy.wallets[family.hot.wallet].tier, family.warm.tier) == "lowers"


def test_the_sweeper_can_move_nothing_out_of_the_house_and_nobody_else_has_its_rule() -> None:
    policy = parse_policy(policy_of(tuple(FAMILIES.values()), TOKEN))
    (sweep,) = (rule for rule in policy.rules if rule.name == "sweep")
    forbidden = {
        kind
        for rule in policy.forbids
        if rule.when.names("initiators") == (SWEEPER,)
        for kind in rule.when.names("kinds") or ()
    }

    assert sweep.when.names("initiators") == (SWEEPER,)
    assert {"transfer", "call"} <= forbidden


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda one: one.name)
def test_the_road_pays_an_address_of_the_chain_and_is_refused_another_networks(family: Family) -> None:
    assert is_address(family.chain, family.customer)
    assert not is_address(family.chain, family.foreign)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda one: one.name)
def test_what_the_road_pays_a_customer_is_within_the_rules_and_the_day(family: Family) -> None:
    amounts = family.amounts

    assert amounts.kept < amounts.deposited
    assert family.fee_ceiling < amounts.small < amounts.large < amounts.daily_max - amounts.small


def test_no_two_scenes_have_one_name() -> None:
    scenes = [*SCENES, *(scene for family in FAMILIES.values() for scene in scenes_of(family))]

    assert len({scene.name for scene in scenes}) == len(scenes)


@pytest.fixture(scope="module")
def core() -> BitcoinCore:
    core = BitcoinCore()
    core.mine(2 + COINBASE_MATURITY)
    return core


def test_the_purse_pays_what_is_asked_out_of_the_miners_coins(core: BitcoinCore) -> None:
    script = script_of(BITCOIN.chain, BITCOIN.customer)
    txid = core.pay(script, COIN)
    core.mine()

    assert [one.amount for (spent, _), one in core.unspent.items() if one.script == script] == [COIN]
    assert txid in core.mined


def test_the_purse_takes_no_coin_twice_and_says_when_it_is_empty() -> None:
    core = BitcoinCore()
    core.mine(COINBASE_MATURITY)
    script = script_of(BITCOIN.chain, BITCOIN.customer)
    core.pay(script, COIN)

    with pytest.raises(RpcError, match="Insufficient funds"):
        core.pay(script, COIN)


@contextmanager
def mining(rpc: CoreRpc | ClusterRpc) -> Iterator[None]:
    over = threading.Event()

    def mine() -> None:
        while not over.wait(0.02):
            rpc.mine_waiting()

    thread = threading.Thread(target=mine)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_payment_of_the_purse_is_in_a_block_when_it_is_said_to_be_made(core: BitcoinCore) -> None:
    with CoreRpc(core) as rpc, mining(rpc):
        node = BitcoinNode(int(rpc.url.rpartition(":")[2]))
        before = node.balance(BITCOIN.customer)
        started = time.monotonic()
        txid = node.pay(BITCOIN.customer, 123_456_789)

        assert node.balance(BITCOIN.customer) - before == 123_456_789
        assert txid in core.mined
        assert time.monotonic() - started < 10


def test_no_block_is_made_while_nothing_waits(core: BitcoinCore) -> None:
    rpc = CoreRpc(core)
    before = core.height
    rpc.mine_waiting()

    assert core.height == before


def test_the_purse_refuses_what_is_no_address(core: BitcoinCore) -> None:
    with CoreRpc(core) as rpc, pytest.raises(OperationalError, match="Invalid address"):
        BitcoinNode(int(rpc.url.rpartition(":")[2])).pay("bcrt1nothing", COIN)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda one: one.name)
def test_a_chain_that_is_not_there_does_not_answer(family: Family) -> None:
    assert not family.network(1).answers()


def test_a_payment_of_the_clusters_purse_is_final_when_it_is_said_to_be_made() -> None:
    with ClusterRpc(SolanaCluster()) as rpc, mining(rpc):
        node = SolanaNode(int(rpc.url.rpartition(":")[2]))
        signature = node.pay(SOLANA.customer, SOLANA.amounts.deposited)

        assert node.balance(SOLANA.customer) == SOLANA.amounts.deposited
        assert rpc.cluster.status(Signature.from_string(signature))


def test_no_slot_is_made_while_all_there_is_is_final() -> None:
    rpc = ClusterRpc(SolanaCluster())
    before = rpc.cluster.height
    rpc.mine_waiting()

    assert rpc.cluster.height == before


def test_the_demo_on_evm_needs_none_of_what_other_test_chains_need() -> None:
    needs = [module for family in FAMILIES.values() for module in family.needs]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({needs}))\n"
        "import cli.demo.run\n"
        "from cli.demo.chains import chosen\n"
        "chosen('evm')\n"
        "chosen('bitcoin')\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert "--chains bitcoin: its test chain needs embit, pbk" in ran.stderr, ran.stderr
