"""What observers state of holdings on the command line: amounts, and what of the log they have not seen."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cli.holdings import covers
from cli.kept_fold import FILE, KeptFold
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

NINE = ("holdings", "hot-wallet.eth=9")
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


# What is kept of the log between two looks.


def forget_entries(watch: Watch, *indices: int) -> None:
    """Entries that nobody could fold again, in the coordinator's database."""
    with sqlite3.connect(watch.house.folder / "custody.db") as db:
        db.executemany('UPDATE entries SET data = ? WHERE "index" = ?', [(b"{}", index) for index in indices])


def body_of(result: Result) -> dict[str, Any]:
    """What was stated; when is always another time."""
    return {**result.document["statements"][0]["body"], "observed_ms": 0}


def fold_of(watch: Watch) -> Path:
    return watch.folder / OBSERVERS[0] / FILE


async def test_a_second_look_folds_only_what_is_new_and_comes_to_the_same(watch: Watch) -> None:
    await watch.holdings("hot-wallet.eth=9")
    for number in range(3):
        request = await submit(watch.running, watch.house, f"more {number}")
        await watch.running.until(request, "settled")
    await watch.running.cosigned()
    whole = await watch.run(*NINE, "--whole", "--trust", watch.trust, "--out", f"{watch.file}.whole")
    forget_entries(watch, 0, 1, 2)

    for look in range(2):
        found = await watch.run(*NINE, "--trust", watch.trust, "--out", f"{watch.file}.{look}")
        assert body_of(found) == body_of(whole)
    with pytest.raises(OperationalError, match="does not hold"):
        await watch.run(*NINE, "--whole", "--trust", watch.trust, "--out", f"{watch.file}.3")


async def test_what_was_kept_and_then_altered_is_folded_anew(watch: Watch) -> None:
    await watch.holdings("hot-wallet.eth=9")
    with sqlite3.connect(fold_of(watch)) as db:
        (data,) = db.execute("SELECT data FROM head").fetchone()
        db.execute("UPDATE head SET data = ?", (data.replace(b'"frozen":false', b'"frozen":true'),))

    again = ("--trust", watch.trust, "--out")
    assert not (await watch.run(*NINE, *again, f"{watch.file}.2")).code
    with sqlite3.connect(fold_of(watch)) as db:
        db.execute("UPDATE head SET data = ?", (data.replace(b'"frozen":false', b'"frozen":true'),))
    forget_entries(watch, 0)
    with pytest.raises(OperationalError, match="does not hold"):
        await watch.run(*NINE, *again, f"{watch.file}.3")


async def test_a_log_that_does_not_go_on_from_what_was_folded_is_not_stated_about(watch: Watch) -> None:
    await watch.holdings("hot-wallet.eth=9")
    request = await submit(watch.running, watch.house, "more")
    await watch.running.until(request, "settled")
    await watch.running.cosigned()
    size = watch.running.parts.sequencer.state.size
    forget_entries(watch, size - 1)

    with pytest.raises(OperationalError, match="does not go on from what was folded before; keep both"):
        await watch.run(*NINE, "--trust", watch.trust, "--out", f"{watch.file}.2")


async def test_what_is_kept_is_for_its_owners_eyes_and_of_one_log(watch: Watch) -> None:
    await watch.holdings("hot-wallet.eth=9")
    observer = identity(OBSERVERS[0])
    genesis = leaf_hash(watch.house.genesis)

    assert fold_of(watch).stat().st_mode & 0o077 == 0
    folder = fold_of(watch).parent
    for key, first in ((observer, bytes(32)), (identity("somebody"), genesis)):
        with KeptFold(folder, key, genesis=first) as kept:
            assert kept.load() is None
    with KeptFold(folder, observer, genesis=genesis) as kept:
        found = kept.load()
        assert found is not None
        assert found.state.digest == watch.running.parts.sequencer.state.digest
