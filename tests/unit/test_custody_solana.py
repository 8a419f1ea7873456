"""Payments in SOL, from request to settlement, on a cluster whose transactions LiteSVM runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chains.cluster_rpc import ClusterRpc
from tests.chains.solana_cluster import SolanaCluster
from tests.chains.solana_house import SOL, SolanaHouse


@pytest.fixture
def rpc() -> Iterator[ClusterRpc]:
    with ClusterRpc(SolanaCluster()) as rpc:
        yield rpc


@pytest.fixture
def house(tmp_path: Path, rpc: ClusterRpc) -> SolanaHouse:
    return SolanaHouse(tmp_path, rpc)


async def test_a_payment_settles(house: SolanaHouse) -> None:
    async with house.with_key() as running:
        house.fund()
        request = await house.pay(running, "one", SOL)
        sent = await running.until(request, "broadcast")
        house.mine()
        settled = await running.until(request, "settled")

        assert house.paid() == SOL
        assert settled.tx_hash == sent.tx_hash and len(settled.tx_hash) == 64
        assert settled.block == house.rpc.cluster.height
