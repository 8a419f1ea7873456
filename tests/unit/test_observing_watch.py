"""One observer of chains with what it keeps, over a book: a start goes on from where it was."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from custody.adapters.risk_store import RiskStore
from custody.chains.config import ChainConfig
from custody.chains.evm.rpc import LARGE
from custody.chains.families import transactions
from custody.chains.watching import Wanted
from custody.client import Endpoint
from custody.observing.blocks import BLOCKS_AT_ONCE, WINDOW
from custody.observing.main import LOG, MEMORY, Assignment, Seat, Watch, watching
from custody.observing.settling import Settling
from custody.observing.stating import Stated
from custody.risk.following import BadLog, Follower
from policy.encoding import statement
from policy.errors import OperationalError
from tests.chains.served import served
from tests.simulation.world import CHAIN, identity_key
from tests.unit.observing_house import CONFIRMATIONS, FakeBlocks, GatheringLog, paying
from tests.unit.test_audit import pinned
from tests.unit.test_risk_watch import long_book

CONFIG = ChainConfig(("http://127.0.0.1:1",), 1, "latest", CONFIRMATIONS, 500, 0, 0)


class Seated:
    """An observer in a folder; what it keeps outlives it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log, self.chain = folder, GatheringLog(long_book().fork()), FakeBlocks()
        self.log.at_once = 64
        self.store = RiskStore(folder / LOG)
        self.told: list[Stated] = []

    def watch(self) -> Watch:
        seat = Seat(self.folder, "oskar", Endpoint("", b"", ""), pinned(), identity_key("oskar"))
        assignment = Assignment({CHAIN: CONFIG}, {CHAIN: 1}, 1.0)
        return Watch(seat, assignment, desk=self.log, store=self.store, chains={CHAIN: self.chain})

    def look(self, watch: Watch | None = None) -> Watch:
        watch = watch or self.watch()
        self.told.clear()
        asyncio.run(watch.look(self.told.extend))
        return watch


@pytest.fixture
def seated(tmp_path: Path) -> Iterator[Seated]:
    found = Seated(tmp_path)
    with closing(found.store):
        yield found


def test_a_start_reads_neither_log_nor_blocks_anew(seated: Seated) -> None:
    seated.chain.mine(paying(), more=CONFIRMATIONS)
    seated.look()
    assert seated.log.asked == len(seated.log.book.entries)
    seated.log.asked = seated.chain.asked = 0

    seated.look()

    assert (seated.log.asked, seated.chain.asked) == (0, 0)
    assert [one.kind for one in seated.told] == ["deposit"]


def test_a_deposit_that_the_log_has_otherwise_is_shown_while_it_is_seen(seated: Seated) -> None:
    seated.chain.mine(paying(), more=CONFIRMATIONS)
    seated.look()
    mine = seated.log.said[0][1]
    assert isinstance(mine, dict)
    for name in ("oskar", "olga"):
        logged = {**mine, "amount": "499"}
        signed = {name: identity_key(name).sign(statement("deposit", logged))}
        seated.log.state("deposit", logged, signatures=signed)

    watch = seated.look()
    assert watch.metrics.registry.get_sample_value("quorumkeep_observing_contradicted") == 1
    assert not seated.told

    seated.chain.mine(more=2 * WINDOW)
    for _ in range(2 * WINDOW // BLOCKS_AT_ONCE + 1):
        seated.look(watch)
    assert watch.metrics.registry.get_sample_value("quorumkeep_observing_contradicted") == 0


def test_what_was_signed_before_a_start_is_observed_after_it(seated: Seated) -> None:
    job = seated.log.book.pay(10, nonce=10**6)
    _, tx = transactions(CHAIN).finished(seated.log.book.state.jobs[job])
    seated.look()
    seated.chain.mine(more=CONFIRMATIONS)
    seated.chain.receipts[tx] = 1, True

    seated.look()

    assert [one.body["tx_hash"] for one in seated.told] == [tx.hex()]


def test_what_is_sent_on_chains_that_are_not_watched_is_not_remembered(seated: Seated) -> None:
    seated.log.book.pay(10, nonce=10**6)
    heard = Settling(observer="oskar", chains=["evm:5"])
    follower = Follower(seated.log, pinned(), hear=heard.hear)
    follower.advance()

    assert follower.holds and heard.sent == []


def test_without_its_file_everything_is_read_anew(seated: Seated) -> None:
    seated.look()
    (seated.folder / MEMORY).unlink()
    seated.log.asked = 0

    seated.look()

    assert seated.log.asked == len(seated.log.book.entries)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"chains": {"evm:1": {}}, "sent": []}', '{"chains": {}}'])
def test_a_file_that_cannot_be_read_is_an_error_that_says_what_to_do(seated: Seated, text: str) -> None:
    (seated.folder / MEMORY).write_text(text)

    with pytest.raises(OperationalError, match="move it away"):
        seated.watch()


def test_damaged_pages_are_thrown_away_and_the_log_is_read_anew(seated: Seated) -> None:
    seated.look()
    watch = seated.watch()
    seated.store._connection.execute("UPDATE pages SET page = x'00'")
    seated.chain.mine(paying(), more=CONFIRMATIONS)

    with pytest.raises(BadLog, match="start it again"):
        seated.look(watch)
    seated.look()
    assert [one.kind for one in seated.told] == ["deposit"]


def test_what_could_be_stated_is_told_and_kept_also_when_the_coordinator_is_down(seated: Seated) -> None:
    seated.chain.mine(paying(), more=CONFIRMATIONS)
    watch = seated.look()
    seated.log.closed = True

    with pytest.raises(OperationalError, match="down"):
        seated.look(watch)
    assert (seated.folder / MEMORY).exists() and not seated.told
    seated.log.closed = False
    seated.look(watch)
    assert [one.kind for one in seated.told] == ["deposit"]


async def test_a_block_that_somebody_filled_ends_no_watch() -> None:
    called = {"to": "0x" + "99" * 20, "value": "0x0", "input": "0x" + "00" * (LARGE.bytes_max // 2)}
    block = {"number": "0x1", "hash": "0x" + "11" * 32, "parentHash": "0x" + "22" * 32}

    async def answer(request: web.Request) -> web.Response:
        method = (await request.json())["method"]
        told = hex(1) if method == "eth_chainId" else {**block, "transactions": [called]}
        return web.json_response({"result": told})

    async with served(answer) as url:
        chain = watching("evm:1", replace(CONFIG, urls=(url,)))
        found = await chain.block(1, Wanted(frozenset(), frozenset()))
        await chain.close()

    assert found.height == 1 and not found.payments
