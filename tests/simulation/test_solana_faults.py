"""Every call of a Solana node goes wrong once, before or after it is done: a request is paid once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cli.demo.chains.rpc import RpcError
from cli.demo.chains.solana.cluster import SolanaCluster
from cli.demo.chains.solana.cluster_rpc import ClusterRpc
from custody.chains.solana.agreement import SolanaNodes
from custody.chains.solana.chain import Options, SolanaChain
from custody.chains.solana.rpc import SolanaRpc
from custody.ports import Chain
from policy.errors import OperationalError
from tests.chains.solana_house import CHAIN, PAYEE_KEY, SOL, SolanaHouse
from tests.waiting import until

CALLS_MAX = 60


class Unsteady(SolanaRpc):
    """A client one of whose calls fails, before or after the node has done it."""

    def __init__(self, url: str, *, failing: int, done: bool) -> None:
        super().__init__(CHAIN, url, timeout_s=5.0)
        self.calls = 0
        self._failing, self._done = failing, done

    async def ask(self, method: str, *parameters: Any, timeout_s: float | None = None) -> Any:
        self.calls += 1
        if self.calls != self._failing:
            return await super().ask(method, *parameters)
        if self._done:
            await super().ask(method, *parameters)
        raise OperationalError(f"{method} fails on purpose")


class UnsteadyHouse(SolanaHouse):
    """A coordinator whose first client is unsteady."""

    def __init__(self, folder: Path, rpc: ClusterRpc, *, failing: int, done: bool) -> None:
        super().__init__(folder, rpc, nonce_accounts=1)
        self.options = Options(self.options.nonce_accounts, 10_000)
        self.client = Unsteady(rpc.url, failing=failing, done=done)

    def chains(self) -> Mapping[str, Chain]:
        return {CHAIN: SolanaChain(SolanaNodes(CHAIN, {"node": self.client}), self.options)}


async def paid_once(folder: Path, *, failing: int, done: bool) -> int:
    """Play two payments by one nonce account with one call that fails; how many calls there were."""
    with ClusterRpc(SolanaCluster()) as rpc:
        rpc.cluster.prices = [1_000_000]
        house = UnsteadyHouse(folder, rpc, failing=failing, done=done)
        async with house.with_key() as running:
            house.fund()
            for name in ("one", "two"):
                request = await house.pay(running, name, SOL)
                await running.until(request, "broadcast")
                await until(lambda: bool(rpc.cluster.waiting))
                for sent in await running.parts.database.transactions(request):
                    house.mine(3)
                    with pytest.raises(RpcError):  # handed in twice
                        rpc.cluster.accept(sent.raw)
                await running.until(request, "settled")
        assert rpc.cluster.transfers(PAYEE_KEY) == [SOL, SOL]
        return house.client.calls


@pytest.mark.slow
@pytest.mark.parametrize("done", [False, True])
async def test_whichever_call_fails_a_request_is_paid_once(tmp_path: Path, done: bool) -> None:
    calls, failing = CALLS_MAX, 0
    while failing < min(calls, CALLS_MAX):
        failing += 1
        folder = tmp_path / str(failing)
        folder.mkdir()
        calls = await paid_once(folder, failing=failing, done=done)

    assert failing > 12  # as many calls as two payments take at least
