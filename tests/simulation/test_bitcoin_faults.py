"""Every call of a Bitcoin node goes wrong once, before or after it is done: a request is paid once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cli.demo.chains.bitcoin.core_rpc import CoreRpc
from custody.chains.bitcoin.agreement import BitcoinNodes
from custody.chains.bitcoin.chain import BitcoinChain
from custody.chains.bitcoin.rpc import BitcoinRpc
from custody.chains.bitcoin.transaction import script_of
from custody.ports import Chain
from policy.errors import OperationalError
from tests.chains.bitcoin_house import CHAIN, COIN, PAYEE, BitcoinHouse, fresh_core
from tests.waiting import until

CALLS_MAX = 60


class Unsteady(BitcoinRpc):
    """A client one of whose calls fails, before or after the node has done it."""

    def __init__(self, url: str, *, failing: int, done: bool) -> None:
        super().__init__(CHAIN, url, timeout_s=5.0)
        self.calls = 0
        self._failing, self._done = failing, done

    async def ask(self, method: str, *parameters: Any, timeout_s: float | None = None) -> Any:
        self.calls += 1
        if self.calls != self._failing:
            return await super().ask(method, *parameters, timeout_s=timeout_s)
        if self._done:
            await super().ask(method, *parameters, timeout_s=timeout_s)
        raise OperationalError(f"{method} fails on purpose")


class UnsteadyHouse(BitcoinHouse):
    """A coordinator whose first client is unsteady."""

    def __init__(self, folder: Path, core: CoreRpc, *, failing: int, done: bool) -> None:
        super().__init__(folder, core)
        self.rpc = Unsteady(core.url, failing=failing, done=done)

    def chains(self) -> Mapping[str, Chain]:
        return {CHAIN: BitcoinChain(BitcoinNodes(CHAIN, {"core": self.rpc}), self.rates)}


async def paid_once(folder: Path, *, failing: int, done: bool) -> int:
    """Play a payment of two coins with one call that fails; how many calls there were."""
    with CoreRpc(fresh_core()) as core:
        house = UnsteadyHouse(folder, core, failing=failing, done=done)
        async with house.with_key() as running:
            house.fund(running, "m/0/0", "m/0/1", amount=COIN * 2 // 3)
            request = await house.pay(running, "one", COIN)
            await running.until(request, "broadcast")
            await until(lambda: len(core.core.mempool) == 1)
            core.core.mine()
            await running.until(request, "settled")
            core.core.mine(2)
        script = script_of(CHAIN, PAYEE)
        assert [one.amount for one in core.core.unspent.values() if one.script == script] == [COIN]
        return house.rpc.calls


@pytest.mark.slow
@pytest.mark.parametrize("done", [False, True])
async def test_whichever_call_fails_a_request_is_paid_once(tmp_path: Path, done: bool) -> None:
    calls, failing = CALLS_MAX, 0
    while failing < min(calls, CALLS_MAX):
        failing += 1
        folder = tmp_path / str(failing)
        folder.mkdir()
        calls = await paid_once(folder, failing=failing, done=done)

    assert failing > 8  # as many calls as a payment takes at least
