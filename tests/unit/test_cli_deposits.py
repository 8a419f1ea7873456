"""``quorumkeep deposits``: what observers stated was paid to a wallet, filtered and page by page."""

import asyncio
from argparse import Namespace
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cli.deposits import PAGE, _all
from cli.main import invoke
from cli.results import Misuse, Result
from custody.adapters.api_server import CustodyServicer, ServerTls, start_server
from custody.adapters.identity import boot_credentials
from custody.api.errors import CallRefused
from custody.enacting import Signed
from policy.encoding import Json, canonical, statement
from policy.entries import signature_list
from tests.unit.custody_cluster import ETHER, WALLET, identity
from tests.unit.test_cli_statements import Feed
from tests.unit.test_custody_deposits import deposit
from tests.unit.test_custody_statements import OBSERVERS, house_with, rule


class Shown(Feed):
    """What an observer is shown of three deposits, of which the second is gone."""

    async def deposits(self, *argv: str, wallet: str = WALLET) -> Result:
        more = ("--as", str(self.folder / OBSERVERS[0]), "--client", str(self.folder / "client.json"))
        return await asyncio.to_thread(invoke, "deposits", wallet, *argv, *more)

    async def state(self, **changed: Json) -> None:
        body = deposit(self.running.service.address(WALLET, "")[0].address, **changed)
        made = {name: identity(name).sign(statement("deposit", body)) for name in OBSERVERS}
        proof: Json = {"signatures": signature_list(made)}
        await self.running.service.enact(OBSERVERS[0], Signed("deposit", canonical(body), canonical(proof)))


@pytest.fixture
async def shown(tmp_path: Path) -> AsyncIterator[Shown]:
    house = house_with(tmp_path, rule({"outcome": "allow"}))
    mine = boot_credentials("coordinator", identity("coordinator"))
    async with house.with_key() as running:
        servicer = CustodyServicer(running.service, running.parts)
        server, port = await start_server(
            servicer, "127.0.0.1:0", tls=ServerTls(mine.certificate_pem, mine.key_pem)
        )
        shown = Shown(tmp_path, running, port)
        for index in range(3):
            await shown.state(index=index, amount=str((index + 1) * ETHER))
        await shown.state(index=1, amount=str(2 * ETHER), turn=1, fact="gone")
        yield shown
        await server.stop(0)


async def test_deposits_are_listed_in_order_and_found_by_what_they_are(shown: Shown) -> None:
    def indices(result: Result) -> list[int]:
        return [one["index"] for one in result.document["deposits"]]

    everything = await shown.deposits()
    assert indices(everything) == [0, 1, 2] and everything.document["next"] is None
    first = await shown.deposits("--limit", "2")
    rest = await shown.deposits("--limit", "2", "--after", str(first.document["next"]))
    assert (indices(first), indices(rest), rest.document["next"]) == ([0, 1], [2], None)
    assert indices(await shown.deposits("--gone")) == [1]
    assert indices(await shown.deposits("--confirmed")) == [0, 2]
    address = first.document["deposits"][0]["address"]
    assert indices(await shown.deposits("--address", address, "--asset", "eth")) == [0, 1, 2]
    assert indices(await shown.deposits("--label", "nobody")) == []

    assert "no such wallet" in str((await shown.deposits(wallet="nowhere")).text[0])
    for argv in (("--limit", "0"), ("--limit", "10001"), ("--after", "ab")):
        with pytest.raises(Misuse):
            await shown.deposits(*argv)
    with pytest.raises(CallRefused, match="unknown-deposit"):
        await shown.deposits("--after", "ab" * 32)


def test_more_than_a_page_is_read_to_its_end() -> None:
    made = [{"id": number.to_bytes(32, "big").hex()} for number in range(1, 2 * PAGE + 1)]

    class Pages:
        def deposits(self, wallet: str, *, after: bytes, limit: int) -> list[dict[str, str]]:
            start = int.from_bytes(after, "big")
            return made[start : start + limit]

    pages: Any = Pages()
    assert list(_all(pages, Namespace(wallet="hot", after=""))) == made
