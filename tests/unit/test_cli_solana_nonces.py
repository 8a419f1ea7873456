"""``solana-nonce``: nonce accounts of a wallet, made by a payer who has no power over them."""

import asyncio
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from solders.keypair import Keypair

from cli.demo.chains.solana.cluster import SolanaCluster
from cli.demo.chains.solana.cluster_rpc import ClusterRpc
from cli.main import invoke
from cli.results import Misuse
from custody.chains.solana.chain import Options
from policy.addresses import solana_address
from policy.errors import OperationalError, QuorumkeepError
from tests.chains.solana_house import CHAIN, SOL, SolanaHouse

PAYER = Keypair.from_seed(b"\x07" * 32)


@pytest.fixture
def rpc() -> Iterator[ClusterRpc]:
    """A cluster that makes two slots for each transaction it is sent."""
    with ClusterRpc(SolanaCluster()) as rpc:
        rpc.cluster.give(bytes(PAYER.pubkey()), SOL)

        def slots(found: object) -> object:
            with rpc.turn:
                rpc.cluster.mine(2)
            return found

        rpc.lies["sendTransaction"] = slots
        yield rpc


@pytest.fixture
def key(tmp_path: Path) -> Path:
    (tmp_path / "payer.json").write_text(json.dumps(list(bytes(PAYER))))
    return tmp_path / "payer.json"


def words(rpc: ClusterRpc, key: Path, authority: bytes, count: int) -> list[str]:
    address = solana_address(authority)
    options = ["--chain", CHAIN, "--rpc", rpc.url, "--payer", str(key), "--count", str(count)]
    return ["solana-nonce", address, *options]


async def test_a_wallet_pays_by_accounts_that_somebody_else_made(
    tmp_path: Path, rpc: ClusterRpc, key: Path
) -> None:
    house = SolanaHouse(tmp_path, rpc, nonce_accounts=0)
    made = await asyncio.to_thread(invoke, *words(rpc, key, house.wallet_key, 2))
    house.options = Options(tuple(made.document["nonce_accounts"]))
    rpc.lies.clear()
    house.mine(3)
    async with house.with_key() as running:
        house.fund()
        request = await house.pay(running, "one", SOL)
        await running.until(request, "broadcast")
        house.mine(3)
        await running.until(request, "settled")

        assert house.paid() == SOL


def test_the_same_call_makes_nothing_twice_and_prints_the_configuration(rpc: ClusterRpc, key: Path) -> None:
    first = invoke(*words(rpc, key, b"\x44" * 32, 2)).document
    left = rpc.cluster.lamports(bytes(PAYER.pubkey()))
    again = invoke(*words(rpc, key, b"\x44" * 32, 2))
    more = invoke(*words(rpc, key, b"\x44" * 32, 3)).document
    other = invoke(*words(rpc, key, b"\x55" * 32, 1)).document

    assert (first["made"], again.document["made"], more["made"], other["made"]) == (2, 0, 1, 1)
    assert more["nonce_accounts"][:2] == again.document["nonce_accounts"] == first["nonce_accounts"]
    assert left > rpc.cluster.lamports(bytes(PAYER.pubkey()))
    assert tomllib.loads(str(again.text[-1])) == {"nonce_accounts": first["nonce_accounts"]}


def test_a_payer_without_money_is_told_so(rpc: ClusterRpc, key: Path) -> None:
    poor = Keypair.from_seed(b"\x08" * 32)
    key.write_text(json.dumps(list(bytes(poor))))

    with pytest.raises(OperationalError, match="refuses sendTransaction"):
        invoke(*words(rpc, key, b"\x44" * 32, 1))


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", json.dumps([0] * 64), json.dumps([300] * 64), '"a"'])
def test_what_is_no_key_file_is_refused_without_showing_it(rpc: ClusterRpc, key: Path, text: str) -> None:
    key.write_text(text)

    with pytest.raises(OperationalError, match=r"is no key file of solana-keygen: give the payer's$"):
        invoke(*words(rpc, key, b"\x44" * 32, 1))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (CHAIN, "evm:1", "is no cluster"),
        (CHAIN, "solana", "is no cluster"),
        (solana_address(b"\x44" * 32), "0x" + "11" * 20, "is no address of"),
        ("1", "0", "is not from 1 to 100"),
        ("1", "101", "is not from 1 to 100"),
    ],
)
def test_what_can_never_work_says_how_to_call_it(
    rpc: ClusterRpc, key: Path, old: str, new: str, said: str
) -> None:
    called = [new if word == old else word for word in words(rpc, key, b"\x44" * 32, 1)]

    with pytest.raises(Misuse, match=re.escape(said)):
        invoke(*called)


def test_another_cluster_is_not_paid_on(rpc: ClusterRpc, key: Path) -> None:
    called = ["solana:devnet" if word == CHAIN else word for word in words(rpc, key, b"\x44" * 32, 1)]

    with pytest.raises(QuorumkeepError, match="correct its URL"):
        invoke(*called)
