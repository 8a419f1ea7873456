"""The pages in a real browser: everybody can read them, and what they compute is what Python computes."""

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from policy.approval import approval_digest
from policy.encoding import Json, canonical
from policy.log.merkle import frontier_at, leaf_hash, leaf_reader, prove_inclusion
from tests.console.console_house import Console, log_in

PAGES = (
    *("/", "/requests", "/wallets", "/policy", "/policy/changes/0", "/nodes", "/indicators"),
    *("/log", "/log/1"),
    "/no-such-page",
)
PHONE = {"width": 390, "height": 800}
DOCUMENTS: list[Json] = [
    {"b": 1, "a": 'é\u2028"\\/\u0007', "A": [True, False, "", {}], "10": 2**53 - 1, "9": -1},
    {"€": "\U0001f600", "\ufb33": "z", "\U0001f600": "a", "ö": "b"},
    [],
]


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    asked = ["node", "-p", "require.resolve('axe-core/axe.min.js')"]
    found = subprocess.run(asked, capture_output=True, text=True, check=True)
    return Path(found.stdout.strip()).read_text()


async def violations(page: Page, axe: str) -> list[str]:
    """What axe finds wrong with a page, by rule and place."""
    await page.evaluate(axe)
    found: dict[str, Any] = await page.evaluate("() => axe.run()")
    wrong = [(one["id"], node["html"][:200]) for one in found["violations"] for node in one["nodes"]]
    return [f"{page.url} {rule}: {place}" for rule, place in wrong]


async def sideways(page: Page) -> bool:
    """Whether the page as a whole has to be moved sideways to be read."""
    found: bool = await page.evaluate("() => document.documentElement.scrollWidth > innerWidth")
    return found


@pytest.mark.parametrize(
    ("scheme", "locale", "viewport"), [("light", "en-GB", None), ("dark", "zh-CN", PHONE)]
)
async def test_axe_finds_no_violation_and_no_page_is_too_wide(
    console: Console, axe: str, scheme: str, locale: str, viewport: Any
) -> None:
    record = await console.ask(5)
    options = {"viewport": viewport} if viewport else {}
    found: list[str] = []
    async with console.visitor("otto", color_scheme=scheme, locale=locale, **options) as visitor:
        page = await visitor.tab("/enrol")
        found += await violations(page, axe)
        await page.goto("/login")
        found += await violations(page, axe)
        await log_in(page)
        for path in (*PAGES, f"/requests/{record.request.hex()}"):
            await page.goto(path)
            if record.request.hex() in path:
                await page.wait_for_selector("#decision[data-ready]")
                await page.wait_for_selector("#readings[data-ready]")
                await page.wait_for_selector("#effect tbody")
            await page.evaluate(
                "() => document.querySelectorAll('details').forEach((one) => { one.open = true; })"
            )
            found += await violations(page, axe)
            found += [f"{path} is too wide"] if await sideways(page) else []

    assert found == []


async def test_axe_finds_a_violation_where_there_is_one(console: Console, axe: str) -> None:
    async with console.visitor(None) as visitor:
        page = await visitor.tab("/login")
        await page.evaluate("() => document.querySelector('#login').replaceChildren()")

        assert "button-name" in str(await violations(page, axe))


async def test_pages_speak_the_readers_language(console: Console) -> None:
    async with console.visitor(None, locale="zh-CN") as visitor:
        page = await visitor.tab("/login")
        await expect(page.locator("h1")).to_have_text("登录")
        await page.click("text=English")

        await expect(page.locator("h1")).to_have_text("Log in")


async def test_the_browser_encodes_and_hashes_as_nodes_do(console: Console) -> None:
    script = """async (documents) => {
        const { canonical, documentHash, toHex } = await import("/static/bytes.js");
        const hash = async (document) => toHex(await documentHash("approval", document));
        return Promise.all(documents.map(async (one) => [canonical(one), await hash(one)]));
    }"""
    async with console.visitor(None) as visitor:
        page = await visitor.tab("/login")
        found = await page.evaluate(script, DOCUMENTS)

    assert found == [[canonical(one).decode(), approval_digest(one).hex()] for one in DOCUMENTS]


async def test_the_browser_verifies_inclusion_as_python_proves_it(console: Console) -> None:
    script = """async (cases) => {
        const { rootOf } = await import("/static/entry.js");
        const { fromHex, toHex } = await import("/static/bytes.js");
        const root = ([leaf, index, size, path]) => rootOf(fromHex(leaf), index, size, path.map(fromHex));
        return Promise.all(cases.map(async (one) => toHex(await root(one).catch(() => new Uint8Array()))));
    }"""
    leaves = [leaf_hash(bytes([number])) for number in range(13)]
    read = leaf_reader(leaves)
    places = [(index, size) for size in (1, 2, 7, 13) for index in range(size)]
    paths = [[one.hex() for one in prove_inclusion(read, index, size=size)] for index, size in places]
    cases: list[Any] = [
        [leaves[index].hex(), index, size, path] for (index, size), path in zip(places, paths, strict=True)
    ]
    short = [[leaf, index, size, path[:-1]] for leaf, index, size, path in cases if path]
    async with console.visitor(None) as visitor:
        page = await visitor.tab("/login")
        found = await page.evaluate(script, cases + short)

    roots = [frontier_at(read, size).root().hex() for _, size in places]
    assert found == roots + [""] * len(short)


async def test_an_auditor_verifies_an_entry_and_sees_one_that_is_not_in_the_log(console: Console) -> None:
    async def lie(route: Any) -> None:
        answer = await route.fetch()
        document = await answer.json()
        document["entry"] = document["entry"].replace("31", "32", 1)
        await route.fulfill(response=answer, json=document)

    async with console.logged_in("anna") as page:
        await page.goto("/log/1")
        await page.click("#verify")
        await expect(page.locator("#message")).to_contain_text("This entry is in the log")
        await page.route("**/proof", lie)
        await page.click("#verify")

        await expect(page.locator("#message")).to_contain_text("This entry is NOT in the log")


async def test_keys_open_pages(console: Console) -> None:
    async with console.logged_in("otto") as page:
        await page.keyboard.press("g")
        await page.keyboard.press("p")
        await page.wait_for_url("**/policy")

        await expect(page.locator("h1")).to_contain_text("Policy in force")


async def test_the_log_is_read_by_kind_and_saved_as_it_is(console: Console) -> None:
    record = await console.ask(5)
    async with console.logged_in("anna") as page:
        await page.goto("/log")
        await page.select_option("#kind", "request")
        await page.click('button[type="submit"]')
        await expect(page.locator("tbody tr td:nth-child(2)").first).to_have_text("request")
        kinds = set(await page.locator("tbody tr td:nth-child(2)").all_inner_texts())
        await page.click("tbody a")
        await expect(page.locator("main")).to_contain_text(f"policy explain {record.request.hex()}")
        answer = await page.request.get(f"{page.url}/entry.json")
        saved = await answer.body()

    assert kinds == {"request"}
    assert saved in await console.running.parts.database.entries(
        0, console.running.parts.sequencer.state.size
    )


async def test_what_was_signed_today_is_drawn_and_in_the_table(console: Console) -> None:
    await console.ask(1, "settled")
    async with console.logged_in("anna") as page:
        await page.goto("/wallets")
        await expect(page.locator("#outflows canvas")).to_have_count(1)
        await page.click("summary")

        today = page.locator("details tbody tr").first
        await expect(today).to_contain_text(datetime.now(UTC).strftime("%Y-%m-%d"))
        await expect(today).to_contain_text(re.compile("[1-9][0-9]* eth"))


async def test_a_node_that_goes_away_shows_on_the_open_page(console: Console) -> None:
    node = console.house.nodes["node-c"]
    async with console.logged_in("anna") as page:
        await page.goto("/nodes")
        row = page.locator("tr", has_text="node-c").first
        await expect(row.locator(".chip")).to_have_text("live")
        node.down = True
        try:
            await console.ask(1, "settled")
            await expect(row.locator(".chip")).to_have_text("down")
        finally:
            node.down = False
