"""What observers state of Bitcoin wallets by a node of their own: amounts and what is final, of one block."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.demo.chains.bitcoin.core_rpc import CoreRpc
from cli.holdings import _Coins, _credentials
from cli.results import Misuse
from policy.encoding import Json
from tests.chains.bitcoin_house import CHAIN, COIN, PAYEE, BitcoinHouse, bitcoin_policy, fresh_core
from tests.unit.custody_cluster import WALLET, genesis_entry

HELD = (WALLET, "btc")
TIERS: list[Json] = [{"name": "hot", "role": "hot"}]


def given(rpc: str, *files: str) -> Namespace:
    return Namespace(rpc=[rpc], rpc_credentials=[*files])


def test_a_bitcoin_nodes_password_is_in_a_file_and_not_in_the_command_line(tmp_path: Path) -> None:
    url, file = "http://127.0.0.1:8332", tmp_path / ".cookie"

    assert _credentials(given(f"{CHAIN}={url}", f"{CHAIN}={file}"), {CHAIN: url}) == {CHAIN: file}
    with pytest.raises(Misuse, match="--rpc-credentials"):
        _credentials(given(""), {CHAIN: "http://user:hunter2@127.0.0.1:8332"})
    with pytest.raises(Misuse, match="there is no --rpc"):
        _credentials(given("", f"evm:1={file}"), {"evm:1": url})


@pytest.fixture
def core() -> Iterator[CoreRpc]:
    with CoreRpc(fresh_core()) as core:
        yield core


async def test_an_amount_and_what_is_final_are_of_the_same_block(tmp_path: Path, core: CoreRpc) -> None:
    house = BitcoinHouse(tmp_path, core)
    house.genesis = genesis_entry({**bitcoin_policy(), "tiers": TIERS, "holdings": {"max_age_ms": 60_000}})
    async with house.with_key() as running:
        house.fund(running, "m/0/0", "m/0/1", amount=2 * COIN)
        request = await house.pay(running, "one", COIN, destination=PAYEE)
        sent = await running.until(request, "broadcast")
        state = running.parts.sequencer.state
        fee = state.jobs[sent.job].fee_max
        before = await _Coins(state, CHAIN, block="latest").read(core.url, [HELD])
        core.core.mine()
        looks = {
            block: await _Coins(state, CHAIN, block=block).read(core.url, [HELD])
            for block in ("latest", "safe", "finalized")
        }

        assert (before.amounts[HELD], before.final) == (4 * COIN, frozenset())
        assert (looks["latest"].amounts[HELD], looks["latest"].final) == (
            3 * COIN - fee,
            frozenset({request}),
        )
        for block in ("safe", "finalized"):
            assert (looks[block].amounts[HELD], looks[block].final) == (4 * COIN, frozenset())
        core.core.mine(5)
        settled = await _Coins(state, CHAIN, block="finalized").read(core.url, [HELD])
        assert settled == looks["latest"]
