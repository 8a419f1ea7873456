"""What observers state of holdings on the command line: amounts, and what of the log they have not seen."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cli.holdings import covers
from cli.results import Misuse, Result
from custody.adapters.api_server import CustodyServicer, ServerTls, start_server
from custody.adapters.identity import boot_credentials
from policy.encoding import Json, canonical
from policy.errors import OperationalError
from policy.holdings import unseen
from policy.log.merkle import leaf_hash
from policy.state import Holding
from tests.unit.custody_cluster import ETHER, identity
from tests.unit.custody_house import FakeChain, House
from tests.unit.test_cli_statements import Feed
from tests.unit.test_custody_statements import OBSERVERS, house_with, rule, submit
from tests.unit.tier_house import TierBook

TIERS: Json = [{"name": "hot", "role": "hot", "minimum": {"amounts": {"eth": "1"}}}]


class Watch(Feed):
    """Observers of holdings at a running coordinator."""

    house: House

    async def holdings(self, *more: str, who: str = OBSERVERS[0]) -> Result:
        return await self.run("holdings", *more, "--trust", self.trust, "--out", self.file, who=who)

    @property
    def trust(self) -> str:
        """Whose log it is, as the observers were told."""
        state, path = self.running.parts.sequencer.state, self.folder / "trust.json"
        cosigners: list[Json] = [
            {"name": name, "key": key.hex()} for name, key in state.roster.cosigner_keys().items()
        ]
        told: Json = {
            "origin": state.origin,
            "log_key": state.roster.log_key.hex(),
            "genesis": leaf_hash(self.house.genesis).hex(),
            "cosigners": cosigners,
            "w": state.roster.w,
        }
        path.write_bytes(canonical(told))
        return str(path)

    def held(self) -> dict[tuple[str, str], Holding]:
        """What the log has."""
        return dict(self.running.parts.sequencer.state.holdings)


@pytest.fixture
async def watch(tmp_path: Path) -> AsyncIterator[Watch]:
    house = house_with(tmp_path, rule({"outcome": "allow"}), tiers=TIERS, holdings={"max_age_ms": 60_000})
    mine = boot_credentials("coordinator", identity("coordinator"))
    async with house.with_key() as running:
        servicer = CustodyServicer(running.service, running.parts)
        tls = ServerTls(mine.certificate_pem, mine.key_pem)
        server, port = await start_server(servicer, "127.0.0.1:0", tls=tls)
        watch = Watch(tmp_path, running, port)
        watch.house = house
        yield watch
        await server.stop(0)


async def test_two_observers_state_what_a_wallet_holds(watch: Watch) -> None:
    for who in OBSERVERS:
        await watch.holdings("hot-wallet.eth=41.5", who=who)

    done = await watch.run("submit", watch.file)

    assert [one["about"] for one in done.document["statements"]] == ["hot-wallet.eth"]
    assert watch.held()["hot-wallet", "eth"].amount == 83 * ETHER // 2


async def test_what_is_not_settled_is_named_as_pending_and_what_is_settled_is_not(watch: Watch) -> None:
    assert isinstance(watch.house.chain, FakeChain)
    settled = await submit(watch.running, watch.house, "first")
    await watch.running.until(settled, "settled")
    watch.house.chain.held = True
    open_one = await submit(watch.running, watch.house, "second")
    await watch.running.until(open_one, "broadcast")

    stated = await watch.holdings("hot-wallet.eth=9")
    again = ("--trust", watch.trust, "--out", f"{watch.file}2")
    doubted = await watch.run("holdings", "hot-wallet.eth=9", "--pending", settled.hex(), *again)

    bodies = [result.document["statements"][0]["body"] for result in (stated, doubted)]
    assert [body["pending"] for body in bodies] == [[open_one.hex()], sorted((open_one.hex(), settled.hex()))]
    for who in OBSERVERS:
        await watch.holdings("hot-wallet.eth=9", who=who)
    await watch.run("submit", watch.file)
    assert unseen(watch.running.parts.sequencer.state, "hot-wallet", asset="eth") == [open_one]


async def test_a_statement_that_the_second_finds_otherwise_is_not_signed(watch: Watch) -> None:
    await watch.holdings("hot-wallet.eth=41.5")

    with pytest.raises(OperationalError, match="says something else"):
        await watch.holdings("hot-wallet.eth=41.4", who=OBSERVERS[1])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["hot-wallet.doge=1"], "write each wallet and asset of a chain once"),
        (["hot-wallet.eth=1", "hot-wallet.eth=1"], "write each wallet and asset of a chain once"),
        (["hot-wallet.eth"], "say how much, as hot-wallet.eth=41.5, or --rpc"),
        ([], "say how much, as hot-wallet.eth=41.5, or --rpc"),
        (["hot-wallet.eth=1.2.3"], "is no number"),
    ],
)
async def test_what_cannot_be_read_is_said(watch: Watch, texts: list[str], message: str) -> None:
    with pytest.raises(Misuse, match=message):
        await watch.holdings(*texts)


async def test_nothing_is_stated_about_a_log_of_nobody_known(watch: Watch) -> None:
    with pytest.raises(Misuse, match="--trust is missing"):
        await watch.run("holdings", "hot-wallet.eth=9", "--out", watch.file)


def test_a_statement_holds_for_who_has_seen_more_unless_it_leaves_something_open_out() -> None:
    book = TierBook()
    size = book.state.size
    request = book.move(5, "hot", "warm")
    book.take(request)
    found: dict[str, Any] = {
        "origin": "o",
        "wallet": "hot",
        "asset": "eth",
        "amount": "9",
        "size": book.state.size,
        "pending": [request.hex()],
    }

    assert covers({**found, "size": size, "pending": []}, found, state=book.state)
    assert covers({**found, "pending": [request.hex(), "ab" * 32]}, found, state=book.state)
    assert not covers({**found, "pending": []}, found, state=book.state)
    assert not covers({**found, "size": book.state.size + 1}, found, state=book.state)
    assert not covers({**found, "amount": "8"}, found, state=book.state)
