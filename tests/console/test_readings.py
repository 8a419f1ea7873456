"""What each node itself reads in the bytes, as an operator sees it before they decide, in a real browser."""

from typing import Any

import pytest
from playwright.async_api import Page, expect

from custody.records import RequestRecord
from policy.encoding import Json
from tests.console.console_house import Console


async def read(page: Page, record: RequestRecord) -> None:
    """The request's page, once the nodes were asked."""
    await page.goto(f"/requests/{record.request.hex()}")
    await page.wait_for_selector("#readings[data-ready]")


async def test_three_nodes_that_read_the_request_in_the_bytes_are_said_to_agree(console: Console) -> None:
    record = await console.ask(5)
    async with console.logged_in("otto") as page:
        await read(page, record)

        await expect(page.locator("#nodes-say")).to_have_attribute("data-kind", "good")
        await expect(page.locator("#nodes-say")).to_contain_text("All 3 nodes read")
        await expect(page.locator("#readings tbody tr")).to_have_count(3)
        for row in await page.locator("#readings tbody tr").all():
            await expect(row).to_contain_text("pays 5 eth to 0x1111111111111111111111111111111111111111")
            await expect(row).to_contain_text("waits · large")


OTHER = {"asset": "eth", "destination": "0x" + "22" * 20, "amount": "5", "fee_max": "1"}
LIES: list[tuple[dict[str, Json], str]] = [
    (
        {"decoded": {**OTHER, "slot": {"chain": "evm:31337", "account": "0x", "nonce": "0"}}},
        "not what the request",
    ),
    ({"decoded": {"unreadable": "the bytes are no transaction"}}, "no transaction"),
    ({"verdict": {"outcome": "deny", "rule": "forbidden", "reason": ""}}, "denied · forbidden"),
    ({"policy": "11" * 32}, "pays 5 eth"),
    ({"tx": "11" * 32}, "pays 5 eth"),
    ({"request": "11" * 32}, "about something else"),
    ({"origin": "another.example.com/log"}, "about something else"),
    ({"node": "node-b"}, "about something else"),
]


@pytest.mark.parametrize(
    ("lie", "said"), LIES, ids=["pays", "blind", "denies", "policy", "tx", "id", "log", "name"]
)
async def test_a_node_that_reads_otherwise_is_shown_loudly(
    console: Console, lie: dict[str, Json], said: str
) -> None:
    record, node = await console.ask(5), console.house.nodes["node-c"]
    node.misreads = lie
    try:
        async with console.logged_in("otto") as page:
            await read(page, record)

            for place in ("#read-summary", "#nodes-say"):
                await expect(page.locator(place)).to_have_attribute("role", "alert")
                await expect(page.locator(place)).to_contain_text("do NOT agree")
            await expect(page.locator("#readings tbody tr").last).to_contain_text(said)
    finally:
        node.misreads = {}


async def test_another_key_under_a_nodes_name_than_this_browser_has_seen_is_shown_loudly(
    console: Console,
) -> None:
    record = await console.ask(5)
    async with console.logged_in("otto") as page:
        await read(page, record)
        pinned: dict[str, str] = await page.evaluate("({ ...localStorage })")
        await page.evaluate("localStorage.setItem(Object.keys(localStorage)[0], '11'.repeat(32))")
        await read(page, record)

        assert len(pinned) == 3
        await expect(page.locator("#nodes-say")).to_contain_text("do NOT agree")
        await expect(page.locator("#readings tbody")).to_contain_text("a name keeps its key for ever")


async def test_a_node_that_does_not_answer_is_shown_loudly(console: Console) -> None:
    record, node = await console.ask(5), console.house.nodes["node-b"]
    node.down = True
    try:
        async with console.logged_in("otto") as page:
            await read(page, record)

            await expect(page.locator("#nodes-say")).to_have_attribute("role", "alert")
            await expect(page.locator("#nodes-say")).to_contain_text("Only 2 of 3 nodes answered")
            await expect(page.locator("#readings")).to_contain_text("No answer: node-b is down")
    finally:
        node.down = False


async def test_a_reading_that_the_coordinator_made_up_is_no_nodes_word(console: Console) -> None:
    async def lie(route: Any) -> None:
        answer = await route.fetch()
        document = await answer.json()
        document["nodes"][1]["body"] = document["nodes"][1]["body"].replace("large", "small")
        await route.fulfill(response=answer, json=document)

    record = await console.ask(5)
    async with console.logged_in("otto") as page:
        await page.route("**/readings", lie)
        await read(page, record)

        await expect(page.locator("#nodes-say")).to_contain_text("do NOT agree")
        await expect(page.locator("#readings")).to_contain_text("not signed by this node")


async def test_what_the_chain_says_would_happen_is_on_the_page(console: Console) -> None:
    record = await console.ask(5)
    async with console.logged_in("otto") as page:
        await page.goto(f"/requests/{record.request.hex()}")

        await expect(page.locator("#effect")).to_contain_text("It would go through.")
        await expect(page.locator("#effect")).to_contain_text("+5 eth")


async def test_nodes_are_asked_again_by_themselves_and_that_keeps_no_session_alive(console: Console) -> None:
    record = await console.ask(5)
    async with console.logged_in("otto") as page, console.logged_in("mia") as other:
        await read(page, record)
        async with page.expect_request("**/readings") as again:
            await read(other, record)
            await other.wait_for_selector("#decision[data-ready]")
            await other.click("#approve")
        sent = await (await again.value).all_headers()

    assert sent["hx-request"] == "true"
