"""Which nonce account a request keeps while the nodes of a cluster do not agree on some of them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from cli.demo.chains.solana.cluster import SolanaCluster
from cli.demo.chains.solana.cluster_rpc import ClusterRpc
from custody.chains.solana.agreement import SolanaNodes
from custody.chains.solana.chain import Options, SolanaChain
from custody.chains.solana.rpc import Account, SolanaRpc
from custody.ports import Held, Planned, Wanted
from policy.accounts import Account as Paying
from policy.addresses import solana_address
from policy.errors import OperationalError
from policy.intent import Intent
from tests.chains.solana_house import CHAIN, FEE_CEILING, PAYEE, SOL
from tests.simulation.world import Book, World

KEY = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
INTENT = Intent(CHAIN, "hot", "sol", SOL, PAYEE)
PAYING = Paying("m", solana_address(KEY), KEY, 0, None)
WANTED = Wanted(b"\x01" * 32, INTENT, None, (PAYING,), FEE_CEILING, 1)


class Differing(SolanaRpc):
    """A node that has another value of some accounts than the cluster."""

    differs: frozenset[str] = frozenset()

    async def accounts(self, addresses: Sequence[str]) -> list[Account | None]:
        found = zip(addresses, await super().accounts(addresses), strict=True)
        return [
            replace(account, data=account.data[:40] + b"\x99" * 32 + account.data[72:])
            if account is not None and address in self.differs
            else account
            for address, account in found
        ]


class Scene:
    """A wallet with four nonce accounts, on a cluster that two nodes must say the same of."""

    def __init__(self, rpc: ClusterRpc) -> None:
        cluster = rpc.cluster
        self.named = tuple(cluster.make_nonce(seed, KEY) for seed in range(4))
        cluster.mine()
        cluster.give(KEY, 100 * SOL)
        self.differing = Differing(CHAIN, rpc.url, commitment="finalized")
        nodes = {"node": SolanaRpc(CHAIN, rpc.url, commitment="finalized"), "differing": self.differing}
        self.nodes = SolanaNodes(CHAIN, nodes, agree=2, grace_s=0.02)
        self.chain = SolanaChain(self.nodes, Options(self.named))
        self.state = Book(World()).state

    async def plan(self, wanted: Wanted = WANTED, *, waits: bool = True) -> Planned:
        return await self.chain.plan(replace(wanted, waits=waits), lambda: self.state)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with ClusterRpc(SolanaCluster()) as rpc:
        yield Scene(rpc)


async def test_a_request_keeps_its_account_while_nodes_do_not_agree_on_it(scene: Scene) -> None:
    """Its approvals are for this one: on another they would count for nothing."""
    planned = await scene.plan()
    scene.differing.differs = frozenset({planned.account})
    with pytest.raises(OperationalError, match=f"do not agree on the nonce account {planned.account}"):
        await scene.plan()
    other = await scene.plan(replace(WANTED, request=b"\x02" * 32))
    scene.differing.differs = frozenset()

    assert await scene.plan() == planned
    assert other.account != planned.account


async def test_accounts_on_which_nodes_differ_are_nothing_to_a_request_that_has_another(scene: Scene) -> None:
    planned = await scene.plan()
    scene.differing.differs = frozenset(scene.named) - {planned.account}

    assert await scene.plan() == planned


async def test_an_account_that_is_configured_no_more_is_not_waited_for(scene: Scene) -> None:
    planned = await scene.plan()
    assert planned.slot is not None
    left = tuple(one for one in scene.named if one != planned.account)
    scene.chain = SolanaChain(scene.nodes, Options(left))
    scene.chain.load([Held(WANTED.request, planned.slot, planned.tx)], scene.state)

    assert (await scene.plan()).account in left
