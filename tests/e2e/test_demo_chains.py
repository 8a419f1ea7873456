"""The demo on every family of chains at once: money in, out, swept and to a colder tier, by real processes.

What it claims is held against the chains, and against libraries that are not ours where they read the bytes.
"""

import shutil
import signal
from collections.abc import Iterator
from io import BytesIO

import pytest
from embit.script import address_to_scriptpubkey
from embit.transaction import Transaction

from cli.demo.chains import EVM, FAMILIES
from cli.demo.chains.bitcoin.node import BitcoinNode
from cli.demo.chains.family import Family, Network, Pocket
from cli.demo.road import scenes_of
from cli.demo.scenes import SCENES
from tests.e2e.cluster import scratch_folder
from tests.e2e.demos import Demo, played
from tests.e2e.processes import listening_of, started_by

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BITCOIN = FAMILIES["bitcoin"]
ROAD = [family for family in FAMILIES.values() if family is not EVM]
EVERY = pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda one: one.name)
ON_ROAD = pytest.mark.parametrize("family", ROAD, ids=lambda one: one.name)


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    folder = scratch_folder()
    try:
        with played(folder / "demo", "--chains", ",".join(FAMILIES), stop=signal.SIGINT) as demo:
            yield demo
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def network(demo: Demo, family: Family) -> Network:
    return family.network(demo.port(family.chain))


def address(demo: Demo, family: Family, pocket: Pocket) -> str:
    (chain,) = (one for one in demo.document["chains"] if one["family"] == family.name)
    return str(chain["addresses"][pocket.wallet])


def test_every_scene_of_every_chain_comes_out_as_it_should(demo: Demo) -> None:
    scenes = [*SCENES, *(scene for family in FAMILIES.values() for scene in scenes_of(family))]

    assert demo.seen() == {scene.name: scene.expected for scene in scenes}
    assert (demo.document["ok"], demo.document["log"]["mismatches"]) == (True, 0)


@EVERY
def test_what_came_in_was_swept_to_the_hot_wallet(demo: Demo, family: Family) -> None:
    left = network(demo, family).balance(address(demo, family, family.deposits))

    assert 0 <= left <= family.amounts.kept


@ON_ROAD
def test_the_customer_has_what_was_allowed_and_approved_and_nothing_else(demo: Demo, family: Family) -> None:
    has = network(demo, family).balance(family.customer)

    assert has == family.amounts.small + family.amounts.large


@ON_ROAD
def test_the_colder_tier_has_what_was_moved_there(demo: Demo, family: Family) -> None:
    assert network(demo, family).balance(address(demo, family, family.warm)) == family.amounts.moved


def test_a_payment_in_bitcoin_is_by_another_librarys_word_to_the_customer_and_back_to_us(demo: Demo) -> None:
    node = BitcoinNode(demo.port(BITCOIN.chain))
    txid = demo.scene("bitcoin_withdrawal")["tx_hash"].removeprefix("0x")
    outputs = {
        one.script_pubkey.data: one.value
        for one in Transaction.read_from(BytesIO(bytes.fromhex(node.ask("getrawtransaction", txid)))).vout
    }
    customer, ours = (
        address_to_scriptpubkey(text).data for text in (BITCOIN.customer, address(demo, BITCOIN, BITCOIN.hot))
    )

    assert outputs.keys() == {customer, ours}
    assert outputs[customer] == BITCOIN.amounts.small


def test_every_process_listens_to_this_machine_alone(demo: Demo) -> None:
    processes = {demo.process.pid, *started_by(demo.process.pid)}
    found = {one for process in processes for one in listening_of(process)}

    assert {demo.port(family.chain) for family in FAMILIES.values()} <= {port for _, port in found}
    assert {host.removeprefix("::ffff:") for host, _ in found} == {"127.0.0.1"}


def test_the_log_names_a_bitcoin_key_that_taproot_signs_with(demo: Demo) -> None:
    suites = {
        entry["body"]["key"]: entry["body"]["suite"] for entry in demo.entries() if entry["kind"] == "key"
    }

    assert all(suites[key] == family.suite for family in FAMILIES.values() for key in family.keys)
