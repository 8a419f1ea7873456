"""What observers state on the command line: many prices in one file, signed by several, handed in at once."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cli.identities import CARD, KEY, PersonCard
from cli.main import invoke
from cli.results import Misuse, Result
from custody.adapters.api_server import CustodyServicer, ServerTls, start_server
from custody.adapters.identity import boot_credentials
from policy.encoding import Json, canonical
from policy.errors import OperationalError
from tests.unit.custody_certificates import identity_certificate
from tests.unit.custody_cluster import ORIGIN, identity, policy_document, public
from tests.unit.custody_house import Running
from tests.unit.test_custody_statements import OBSERVERS, PRICES, house_with, rule

TOKEN = "0x" + "70" * 20


class Feed:
    """Observers at a running coordinator."""

    def __init__(self, folder: Path, running: Running, port: int) -> None:
        self.folder, self.running = folder, running
        self.path = folder / "prices.json"
        self.file = str(self.path)
        client: Json = {
            "origin": ORIGIN,
            "address": f"127.0.0.1:{port}",
            "certificate": identity_certificate(identity("coordinator")).decode(),
            "policy": running.parts.sequencer.state.policy_document,
        }
        (folder / "client.json").write_bytes(canonical(client))
        for name in OBSERVERS:
            home = folder / name
            home.mkdir()
            pem = identity(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            (home / KEY).touch(0o600)
            (home / KEY).write_bytes(pem)
            (home / CARD).write_bytes(canonical(PersonCard("observer", name, public(name), None).body()))

    async def run(self, *argv: str, who: str = OBSERVERS[0]) -> Result:
        more = ("--as", str(self.folder / who), "--client", str(self.folder / "client.json"))
        return await asyncio.to_thread(invoke, "observe", *argv, *more)

    async def price(self, *pairs: str, who: str = OBSERVERS[0]) -> Result:
        return await self.run("price", *pairs, "--out", self.file, who=who)

    def prices(self) -> dict[str, list[int]]:
        """What the log has."""
        state = self.running.parts.sequencer.state
        return {asset: [point.price for point in points] for asset, points in state.prices.items()}


@pytest.fixture
async def feed(tmp_path: Path) -> AsyncIterator[Feed]:
    assets: Any = policy_document(TOKEN)["assets"]
    house = house_with(tmp_path, rule({"outcome": "allow"}), prices=PRICES, assets=assets)
    mine = boot_credentials("coordinator", identity("coordinator"))
    async with house.running() as running:
        servicer = CustodyServicer(running.service, running.parts)
        tls = ServerTls(mine.certificate_pem, mine.key_pem)
        server, port = await start_server(servicer, "127.0.0.1:0", tls=tls)
        yield Feed(tmp_path, running, port)
        await server.stop(0)


async def test_many_prices_are_stated_by_two_and_handed_in_at_once(feed: Feed) -> None:
    for who in OBSERVERS:
        stated = await feed.price("eth=2512.40", "tok=0.99", who=who)
    done = await feed.run("submit", feed.file)

    assert "watch-b has stated 2; 2 observers have signed" in str(stated.text[0])
    assert feed.prices() == {"eth": [251_240], "tok": [99]}
    assert [one["about"] for one in done.document["statements"]] == ["eth", "tok"]
    assert done.code == 0 and "eth: in the log, signed by watch-a, watch-b" in str(done.text)


async def test_one_price_is_stated_alike(feed: Feed) -> None:
    await feed.price("eth", "2512.40")
    await feed.price("eth=2512.40", who=OBSERVERS[1])
    await feed.run("submit", feed.file)

    assert feed.prices() == {"eth": [251_240]}


async def test_a_statement_that_the_log_refuses_keeps_no_other_out(feed: Feed) -> None:
    for who in OBSERVERS:
        await feed.price("eth=2512.40", "tok=0.99", who=who)
    document = json.loads(feed.path.read_text())
    document["statements"][0]["signatures"].pop()
    feed.path.write_bytes(canonical(document))
    done = await feed.run("submit", feed.file)

    assert feed.prices() == {"tok": [99]}
    assert done.code == 1
    assert "eth: refused: need 2 observers, got 1" in str(done.text)


async def test_another_observer_signs_nothing_but_what_they_found_themselves(feed: Feed) -> None:
    await feed.price("eth=2512.40", "tok=0.99")
    before = feed.path.read_bytes()

    for other in (("eth=2512.41", "tok=0.99"), ("eth=2512.40",), ("tok=0.99", "eth=2512.40")):
        with pytest.raises(OperationalError, match="says something else"):
            await feed.price(*other, who=OBSERVERS[1])
    assert feed.path.read_bytes() == before


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        (("eth=1", "eth=2"), "each asset once"),
        (("eth", "tok=1"), "each asset once"),
        (("eth=1", "doge=1"), "no asset 'doge'"),
        (("eth=1.001",), "no price with at most 2 places"),
        (("eth=0",), "above zero"),
        (("eth=",), "no price"),
    ],
)
async def test_what_is_no_price_is_not_written(feed: Feed, pairs: tuple[str, ...], why: str) -> None:
    with pytest.raises(Misuse, match=why):
        await feed.price(*pairs)
    assert not feed.path.exists()


async def test_a_file_without_statements_is_not_handed_in(feed: Feed) -> None:
    await feed.price("eth=2512.40")
    good = json.loads(feed.path.read_text())
    bad: list[Any] = [
        {},
        {"statements": []},
        {"statements": [{**good["statements"][0], "kind": "veto"}]},
        {"statements": [{**good["statements"][0], "body": {"asset": "\x1b[2J"}}]},
    ]
    for document in bad:
        feed.path.write_text(json.dumps(document))
        with pytest.raises(OperationalError, match="make it with quorumkeep observe price"):
            await feed.run("submit", feed.file)
    good["statements"][0]["body"]["origin"] = "log.example.com/another"
    feed.path.write_text(json.dumps(good))
    with pytest.raises(OperationalError, match="is for log"):
        await feed.run("submit", feed.file)
    assert feed.prices() == {}
