"""Payments of other families in a real browser: an operator reads what nodes and explorers name."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from cli.demo.chains.bitcoin.core_rpc import CoreRpc
from cli.demo.chains.solana.cluster import SolanaCluster
from cli.demo.chains.solana.cluster_rpc import ClusterRpc
from custody.records import RequestRecord
from policy.encoding import Json, canonical, parse_canonical, statement
from policy.ids import transaction_name
from policy.suites import FROST_TAPROOT
from tests.chains import bitcoin_house, solana_house
from tests.chains.bitcoin_house import BitcoinHouse, bitcoin_policy, fresh_core
from tests.chains.solana_house import SolanaHouse, solana_policy
from tests.console import console_house
from tests.console.console_house import Console, opened_of
from tests.unit.custody_cluster import genesis_entry, identity

PHONE = {"width": 390, "height": 800}
WAIT_S = 20


@dataclass(frozen=True)
class Family:
    """A console over another family, with a payment that is settled and one that waits."""

    console: Console
    settled: RequestRecord
    waiting: RequestRecord
    payee: str
    amount: str
    source: str

    @property
    def slot(self) -> str:
        """What the transaction uses up, as the command line has it: a nonce's value is hex."""
        nonce = self.waiting.nonce or 0
        number = f"{nonce:064x}" if self.waiting.chain == solana_house.CHAIN else str(nonce)
        return f"{self.waiting.account} / {number}"


def for_operators(policy: dict[str, Json]) -> dict[str, Json]:
    """The policy with the console's operators for the larger payments."""
    rules: Any = policy["rules"]
    rules[1]["then"]["approvals"][0]["group"] = "treasury"
    return policy


def of_source(asked: tuple[bytes, bytes], source: str) -> tuple[bytes, bytes]:
    """The same request, out of one account of the wallet."""
    body: Any = parse_canonical(asked[0], bytes_max=10_000)
    body["source"] = source
    return canonical(body), identity("shop").sign(statement("request", body))


async def asked(
    console: Console, house: Any, unit: int, *, mine: Callable[[], object], source: str
) -> tuple[RequestRecord, RequestRecord]:
    """One unit, settled, and two and a bit that wait for operators."""
    running = console.running
    first = await house.pay(running, "invoice-1", unit)
    await running.until(first, "broadcast")
    mine()
    settled = await running.until(first, "settled")
    document = of_source(house.request("invoice-2", 2 * unit + 12_345_678), source)
    second = (await running.service.submit(*document)).request
    return settled, await running.until(second, "waiting")


async def solana() -> AsyncIterator[Family]:
    def build(folder: Path, roster: Json) -> SolanaHouse:
        house = SolanaHouse(folder, rpc)
        house.genesis = genesis_entry(for_operators(solana_policy()), roster=roster)
        house.fund()
        return house

    with ClusterRpc(SolanaCluster()) as rpc:
        async with opened_of(build) as console:
            house = console.house
            assert isinstance(house, SolanaHouse)
            found = await asked(console, house, solana_house.SOL, mine=lambda: house.mine(3), source="m")
            yield Family(console, *found, solana_house.PAYEE, "2.012345678 sol", "m")


async def bitcoin() -> AsyncIterator[Family]:
    def build(folder: Path, roster: Json) -> BitcoinHouse:
        house = BitcoinHouse(folder, core, suite=FROST_TAPROOT)
        house.genesis = genesis_entry(for_operators(bitcoin_policy(FROST_TAPROOT)), roster=roster)
        return house

    with CoreRpc(fresh_core()) as core:
        async with opened_of(build) as console:
            house = console.house
            assert isinstance(house, BitcoinHouse)
            house.fund(console.running, *bitcoin_house.PATHS)
            mine = lambda: core.core.mine(1)  # noqa: E731
            found = await asked(console, house, bitcoin_house.COIN, mine=mine, source="m/0/1")
            yield Family(console, *found, bitcoin_house.PAYEE, "2.12345678 btc", "m/0/1")


@pytest.fixture(params=[solana, bitcoin], ids=["solana", "bitcoin"])
async def family(request: pytest.FixtureRequest) -> AsyncIterator[Family]:
    if console_house.CHROMIUM is None:
        pytest.skip("there is no Chromium: deploy/setup.sh installs Debian's")
    async for found in request.param():
        yield found


async def open_request(page: Page, record: RequestRecord, *, decides: bool) -> None:
    await page.goto(f"/requests/{record.request.hex()}")
    if decides:
        await page.wait_for_selector("#decision[data-ready]")
        await page.wait_for_selector("#readings[data-ready]")
    await page.evaluate("() => document.querySelectorAll('details').forEach((one) => { one.open = true; })")


async def hidden(page: Page) -> list[str]:
    """Hashes and addresses of which a part is out of sight, and the page itself if it is too wide."""
    script = """() => [document.documentElement, ...document.querySelectorAll("main .hash")]
        .filter((one) => one.getBoundingClientRect().right > innerWidth || one.scrollWidth > innerWidth)
        .map((one) => one.className || one.localName)"""
    found: list[str] = await page.evaluate(script)
    return found


async def test_another_familys_payment_is_read_whole_on_a_phone(family: Family) -> None:
    async with family.console.logged_in("otto", viewport=PHONE) as page:
        wide: dict[str, list[str]] = {}
        for path in ("/", "/requests", "/wallets"):
            await page.goto(path)
            wide[path] = await hidden(page)
        await expect(page.locator(".wallet td.hash").nth(1)).to_be_visible()
        await open_request(page, family.waiting, decides=True)
        wide["waiting"] = await hidden(page)
        for place in ("#sentence", "#signed", "#live"):
            await expect(page.locator(place)).to_contain_text(family.payee)
            await expect(page.locator(place)).to_contain_text(family.amount)
        for place in ("#signed dd", "#live dd"):
            await expect(
                page.get_by_text(family.source, exact=True).and_(page.locator(place))
            ).to_be_visible()
        for place in ("#signed", "#live"):
            await expect(page.locator(place)).to_contain_text(family.slot)
        await open_request(page, family.settled, decides=False)
        wide["settled"] = await hidden(page)
        name = transaction_name(family.settled.chain, family.settled.tx_hash)
        shown = await page.locator("#live").inner_text()

    assert name in "".join(shown.split())
    assert not any(wide.values()), wide
