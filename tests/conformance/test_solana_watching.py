"""What watches Solana: what slots pay, the places of our payments, slots that were skipped, and nonsense."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from solders.signature import Signature

from cli.demo.chains.solana.cluster import SolanaCluster
from cli.demo.chains.solana.cluster_rpc import ClusterRpc
from custody.chains.solana.rpc import SolanaRpc
from custody.chains.solana.watching import SolanaWatching
from custody.chains.watching import Wanted
from custody.observing.blocks import Memory, Watched
from custody.ports import Receipt
from policy.addresses import solana_address
from policy.errors import OperationalError
from tests.chains.solana_house import CHAIN, PAYEE, PAYEE_KEY, SOL, SolanaHouse
from tests.unit.test_custody_solana import jobs_of, settled_after_slots
from tests.unit.test_custody_solana_tokens import OWNER, TO

TOKENS = {"owner": PAYEE, "mint": PAYEE, "accountIndex": 99}
OURS = Wanted(frozenset({PAYEE, TO}), frozenset())


@pytest.fixture
def rpc() -> Iterator[ClusterRpc]:
    with ClusterRpc(SolanaCluster()) as rpc:
        rpc.cluster.mine(3)
        yield rpc


def watching(rpc: ClusterRpc, commitment: str = "processed") -> SolanaWatching:
    """Over an endpoint; unless it says otherwise, of what is newest."""
    return SolanaWatching(SolanaRpc(CHAIN, rpc.url, commitment=commitment, timeout_s=5.0))


def paid(rpc: ClusterRpc, lamports: int = SOL) -> Signature:
    """A payment from outside in the newest slot."""
    found = rpc.cluster.pay(PAYEE_KEY, lamports)
    rpc.cluster.mine()
    return found


async def test_a_block_has_what_it_pays_to_the_addresses_that_are_asked_for(rpc: ClusterRpc) -> None:
    signature, chain = paid(rpc, 70_000_000), watching(rpc)
    height = await chain.head()
    rpc.cluster.pay(b"\x44" * 32, SOL)
    rpc.cluster.mine()

    (payment,) = (await chain.block(height, OURS)).payments
    assert (payment.tx, payment.address, payment.contract) == (bytes(signature), PAYEE, None)
    assert (payment.amount, payment.places) == (70_000_000, ())
    assert (await chain.block(height + 1, OURS)).payments == ()


async def test_our_own_payment_has_its_nonce_as_its_place(tmp_path: Path, rpc: ClusterRpc) -> None:
    house, chain = SolanaHouse(tmp_path, rpc), watching(rpc)
    async with house.with_key() as running:
        house.fund()
        request = await house.pay(running, "one", SOL)
        await running.until(request, "broadcast")
        house.mine()

        (payment,) = (await chain.block(await chain.head(), OURS)).payments
        assert payment.places == (jobs_of(running, request)[0].anchor,)


async def test_tokens_are_found_in_the_derived_account_and_other_tokens_are_not(
    tmp_path: Path, rpc: ClusterRpc
) -> None:
    mint = rpc.cluster.make_mint(0, 6)
    house, chain = SolanaHouse(tmp_path, rpc, token=solana_address(mint)), watching(rpc)
    house.fund(SOL)
    rpc.cluster.give_tokens(house.wallet_key, mint, amount=1_000)
    rpc.cluster.give_tokens(OWNER, mint, amount=5)
    async with house.with_key() as running:
        request = await house.pay(running, "one", 300, asset="tok", destination=TO)
        await settled_after_slots(house, running, request)
        height = (await running.service.get(request)).block

        found = await chain.block(height, Wanted(OURS.addresses, frozenset({solana_address(mint)})))
        (payment,) = found.payments
        assert (payment.address, payment.contract, payment.amount) == (TO, solana_address(mint), 300)
        assert (await chain.block(height, OURS)).payments == ()


async def test_a_transaction_that_failed_pays_nothing(rpc: ClusterRpc) -> None:
    paid(rpc)
    name, raw, _ = rpc.cluster.slots[-1].ran[0]
    rpc.cluster.slots[-1].ran[0] = (name, raw, "InstructionError")

    assert (await watching(rpc).block(rpc.cluster.height, OURS)).payments == ()


async def test_blocks_hang_together_over_a_slot_that_was_skipped(rpc: ClusterRpc) -> None:
    chain = watching(rpc)
    rpc.cluster.mine()
    rpc.cluster.skip()
    head = await chain.head()

    last, none, before = [await chain.block(head - back, OURS) for back in (0, 1, 2)]
    assert (none.hash, await chain.block_hash(head - 1)) == ("", "")
    assert last.previous == before.hash == await chain.block_hash(head - 2)
    assert last.hash == await chain.block_hash(head)
    assert await chain.block_hash(head + 1) == ""
    with pytest.raises(OperationalError, match="not available"):
        await chain.block(head + 1, OURS)


async def test_only_what_is_sure_enough_is_seen(rpc: ClusterRpc) -> None:
    paid(rpc)

    newest, final = [await watching(rpc, sure).head() for sure in ("processed", "finalized")]
    assert (newest, final) == (rpc.cluster.height, rpc.cluster.height - 2)


async def test_a_receipt_says_slot_and_how_sure_and_none_is_none(rpc: ClusterRpc) -> None:
    signature = bytes(paid(rpc))
    height = rpc.cluster.height
    rpc.cluster.mine(2)

    assert await watching(rpc).receipt(signature) == Receipt(signature, height, True, 3)
    assert await watching(rpc).receipt(bytes(64)) is None


async def test_a_deposit_is_remembered_over_skipped_slots_and_lost_by_a_fork(rpc: ClusterRpc) -> None:
    watched = Watched(watching(rpc), Memory(rpc.cluster.height), confirmations=1)
    rpc.cluster.mine()
    rpc.cluster.skip()
    paid(rpc)
    await watched.look(OURS, is_dust=lambda _: False)
    found = list(watched.payments().values())
    with rpc.turn:
        rpc.cluster.reorganise(1, forget=True)
    await watched.look(OURS, is_dust=lambda _: False)

    assert [(one.height, one.incoming.amount) for one in found] == [(rpc.cluster.height - 1, SOL)]
    assert not watched.payments()
    assert list(watched.memory.lost.items()) == [(one.incoming, one.height) for one in found]


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"blockhash": 7}, "is no base58"),
        ({"previousBlockhash": None}, "is no base58"),
        ({"transactions": None}, "has no list"),
        ({"transactions": [7]}, "is no object"),
        ({"transactions": [{"meta": {"err": None}}]}, "is no object"),
        ({"meta": {"preBalances": []}}, "not one balance for each account"),
        ({"meta": {"postBalances": [-1]}}, "is no number"),
        ({"meta": {"postTokenBalances": [TOKENS]}}, "that is none"),
        ({"signatures": []}, "is no signature"),
        ({"signatures": ["11"]}, "is no signature"),
    ],
)
async def test_nonsense_is_an_error_that_says_what_is_wrong(
    rpc: ClusterRpc, lie: dict[str, Any], words: str
) -> None:
    paid(rpc)

    def lied(found: dict[str, Any]) -> dict[str, Any]:
        (ran,) = found["transactions"]
        ran["meta"] |= lie.get("meta", {})
        ran["transaction"] |= {name: value for name, value in lie.items() if name == "signatures"}
        return found | {name: value for name, value in lie.items() if name in (*found, "transactions")}

    rpc.lies["getBlock"] = lied
    with pytest.raises(OperationalError, match=words):
        await watching(rpc).block(rpc.cluster.height, Wanted(OURS.addresses, frozenset({PAYEE})))


@pytest.mark.parametrize("lie", [{"owner": [PAYEE]}, {"mint": {}}, {"owner": None}])
async def test_tokens_of_nobody_are_nobodys(rpc: ClusterRpc, lie: dict[str, Any]) -> None:
    paid(rpc)

    def lied(found: dict[str, Any]) -> dict[str, Any]:
        found["transactions"][0]["meta"]["postTokenBalances"] = [TOKENS | lie]
        return found

    rpc.lies["getBlock"] = lied
    block = await watching(rpc).block(rpc.cluster.height, Wanted(OURS.addresses, frozenset({PAYEE})))
    assert [one.contract for one in block.payments] == [None]
