"""What the pages show of a coordinator that is frozen, about to change, or lacks a node."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from custody.console.app import build_console
from custody.console.sessions import login_digest
from custody.enacting import enact
from tests.unit.custody_cluster import ETHER, ORIGIN, authenticator, make_request
from tests.unit.custody_house import FakeChain, Running
from tests.unit.test_custody_enacting import BOTH, change, house_with, order, pay, stricter

SITE = "https://custody.example.com"


@contextlib.asynccontextmanager
async def reading(running: Running, name: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with somebody's session, as a browser would have it."""
    app = build_console(running.service, running.parts, site=SITE)
    headers = {"Origin": SITE, "Accept": "text/html"}
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=SITE, headers=headers)
    async with client:
        passkey = authenticator(name)
        nonce = (await client.post("/login/challenge")).json()["nonce"]
        proof = passkey.assert_(login_digest(ORIGIN, SITE, nonce=nonce)).body()
        login = {"nonce": nonce, "credential": passkey.credential().id.hex(), "assertion": proof}
        answer = await client.post("/login", json=login)
        assert answer.status_code == 200
        assert {"HttpOnly", "Secure", "SameSite=strict", "Path=/"} <= set(
            answer.headers["Set-Cookie"].split("; ")
        )
        yield client


async def test_a_freeze_is_on_every_page_and_how_it_ends(tmp_path: Path) -> None:
    async with house_with(tmp_path).with_key() as running:
        await enact(running.parts, order("freeze", "11" * 32, "admin"))
        async with reading(running, "otto") as client:
            pages = [
                await client.get(path) for path in ("/", "/requests", "/wallets", "/policy", "/nodes", "/log")
            ]

    assert [page.status_code for page in pages] == [200] * len(pages)
    assert all('<p id="frozen" class="banner bad" role="alert">' in page.text for page in pages)
    assert "admin draft unfreeze" in pages[4].text


async def test_a_change_that_waits_is_shown_with_how_to_veto_it(tmp_path: Path) -> None:
    async with house_with(tmp_path).with_key() as running:
        await enact(running.parts, change(running, "policy", stricter(), *BOTH))
        (pending,) = running.parts.sequencer.state.pending
        async with reading(running, "otto") as client:
            page = await client.get("/policy")

    assert page.status_code == 200
    assert f"quorumkeep admin veto {pending.document_hash.hex()}" in page.text
    assert "admin, second" in page.text


async def test_what_a_change_changes_is_said_in_sentences(tmp_path: Path) -> None:
    async with house_with(tmp_path).with_key() as running:
        await enact(running.parts, change(running, "policy", stricter(), *BOTH))
        (pending,) = running.parts.sequencer.state.pending
        async with reading(running, "otto") as client:
            listed = await client.get("/policy")
            page = await client.get(f"/policy/changes/{pending.index}")
            first = await client.get("/policy/changes/0")
            other = await client.get("/policy/changes/1")

    assert f'href="/policy/changes/{pending.index}"' in listed.text
    assert "<del>small: any payment of at most 1 eth: allowed without approval.</del>" in page.text
    assert page.text.count("<ins>") + page.text.count("<del>") < 4
    assert "There was no policy before" in first.text
    assert "<ins>small: any payment of at most 1 eth" in first.text
    assert other.status_code == 404


async def test_a_node_that_is_gone_and_a_chain_that_does_not_answer_are_named(tmp_path: Path) -> None:
    house = house_with(tmp_path)
    async with house.with_key() as running:
        house.nodes["node-b"].down = True
        await pay(running, "over two nodes")
        async with reading(running, "otto") as client, running_without(running):
            nodes, wallets = await client.get("/nodes"), await client.get("/wallets")

    assert "down" in nodes.text
    assert "eth: no answer" in wallets.text


@contextlib.asynccontextmanager
async def running_without(running: Running) -> AsyncIterator[None]:
    """The chain is taken away for a while."""
    chains = running.parts.chains
    assert isinstance(chains, dict)
    taken = dict(chains)
    chains.clear()
    yield
    chains.update(taken)


@pytest.mark.parametrize("path", ["/", "/policy", "/log/0/proof", "/live", f"/requests/{'00' * 32}/approval"])
async def test_nobody_reads_without_a_session(tmp_path: Path, path: str) -> None:
    async with house_with(tmp_path).running() as running:
        app = build_console(running.service, running.parts, site=SITE)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=SITE) as client:
            data = await client.get(path)
            page = await client.get(path, headers={"Accept": "text/html"})

    assert (data.status_code, data.json()["code"]) == (401, "session-over")
    assert (page.status_code, page.headers["Location"]) == (303, "/login")


async def test_a_page_that_refreshes_itself_is_never_replaced_by_a_refusal(tmp_path: Path) -> None:
    async with house_with(tmp_path).with_key() as running, reading(running, "otto") as client:
        gone = await client.get("/log/999999", headers={"HX-Request": "true"})
        client.cookies.clear()
        ended = await client.get("/", headers={"HX-Request": "true"})

    assert (gone.status_code, ended.status_code) == (204, 204)


async def test_what_cannot_be_found_or_read_is_said_in_the_same_page(tmp_path: Path) -> None:
    async with house_with(tmp_path).with_key() as running, reading(running, "otto") as client:
        for path in (
            f"/requests/{'00' * 32}",
            "/requests/x",
            "/log/999999",
            "/log/x",
            "/log?kind=x",
            "/nowhere",
        ):
            answer = await client.get(path)
            assert answer.status_code == 404, path
            assert "That was not possible" in answer.text


async def test_text_of_others_is_never_markup(tmp_path: Path) -> None:
    async with house_with(tmp_path).with_key() as running:
        name = "<img src=x onerror=alert(1)>"
        _, body, signature = make_request(name, amount=5 * ETHER, now_ms=running.parts.now_ms())
        record = await running.service.submit(body, signature)
        await running.until(record.request, "waiting")
        async with reading(running, "otto") as client:
            page = await client.get(f"/requests/{record.request.hex()}")
            entry = await client.get("/log/2")

    for answer in (page, entry):
        assert answer.status_code == 200
        assert "<img" not in answer.text
        assert "&lt;img" in answer.text


async def effect_of(tmp_path: Path, change: Callable[[FakeChain], None]) -> str:
    """The part of a request's page that says what the chain would do."""
    house = house_with(tmp_path)
    async with house.with_key() as running:
        _, body, signature = make_request("simulated", amount=5 * ETHER, now_ms=running.parts.now_ms())
        record = await running.service.submit(body, signature)
        await running.until(record.request, "waiting")
        assert isinstance(house.chain, FakeChain)
        change(house.chain)
        async with reading(running, "otto") as client:
            answer = await client.get(
                f"/requests/{record.request.hex()}/effect", headers={"HX-Request": "true"}
            )
    assert answer.status_code == 200
    return answer.text


async def test_what_the_chain_says_would_happen_is_shown_with_balances(tmp_path: Path) -> None:
    page = await effect_of(tmp_path, lambda chain: None)

    assert "It would go through." in page
    for said in ("100 eth", "95 eth", "−5 eth", "105 eth", "+5 eth", "block 7"):
        assert said in page
    assert "something else than the amount" not in page


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"fails": "balance too low"}, "It would FAIL:"),
        ({"fails": "balance too low"}, "balance too low"),
        ({"fails": "<b>x</b>"}, "&lt;b&gt;x"),
        ({"down": True}, "so nobody knows here"),
        ({"keeps": ETHER}, "something else than the amount"),
    ],
)
async def test_what_would_go_wrong_on_the_chain_is_said_loudly(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    def change(chain: FakeChain) -> None:
        for name, value in changed.items():
            setattr(chain, name, value)

    page = await effect_of(tmp_path, change)

    assert said in page
    assert 'data-kind="bad"' in page


async def test_who_had_the_destination_paid_before_is_on_the_page(tmp_path: Path) -> None:
    async with house_with(tmp_path).with_key() as running:
        first = await pay(running, "before", amount=ETHER)
        await running.until(first, "settled")
        _, body, signature = make_request("again", amount=5 * ETHER, now_ms=running.parts.now_ms())
        record = await running.service.submit(body, signature)
        await running.until(record.request, "waiting")
        async with reading(running, "otto") as client:
            page = await client.get(f"/requests/{record.request.hex()}")

    assert "Asked for by shop: payments 1, in total 1 eth, the last" in page.text
    assert f'href="/requests/{first.hex()}"' in page.text


async def test_the_policy_and_a_requests_rule_are_said_in_the_readers_language(tmp_path: Path) -> None:
    async with house_with(tmp_path).with_key() as running:
        _, body, signature = make_request("chinese", amount=5 * ETHER, now_ms=running.parts.now_ms())
        record = await running.service.submit(body, signature)
        await running.until(record.request, "waiting")
        async with reading(running, "otto") as client:
            pages = [
                (await client.get(path, headers={"Accept-Language": "zh"})).text
                for path in ("/policy", f"/requests/{record.request.hex()}")
            ]

    assert "没有规则允许的交易一律拒绝。" in pages[0]
    assert "desk 组的 1 人批准。" in pages[1]
    assert "最多 20 eth（含网络费用）" in pages[1]
    for english in ("What no rule allows", "needs approval by", "fees included", "any payment"):
        assert english not in pages[0] + pages[1]
