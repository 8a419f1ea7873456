"""Yes and no in a real browser: what an operator's passkey signs is in the log, and nothing else is."""

import json
from typing import Any

import pytest
from playwright.async_api import Page, Request, expect

from cli.approvals import grouped
from custody.approvals import draft
from custody.records import RequestRecord
from policy.approval import comparison_digest, parse_approval
from policy.state import RequestState
from tests.console.console_house import Console, Passkey, log_in


def known(console: Console, record: RequestRecord) -> RequestState:
    """The request as the log has it."""
    return console.running.parts.sequencer.state.requests[record.request]


def path_of(record: RequestRecord) -> str:
    return f"/requests/{record.request.hex()}"


async def ready(page: Page, record: RequestRecord) -> None:
    """The request's page, once it has computed what is to be signed."""
    await page.goto(path_of(record))
    await page.wait_for_selector("#decision[data-ready]")


async def approve(page: Page, record: RequestRecord) -> dict[str, Any]:
    """Approve; what the page has sent."""
    await ready(page, record)
    sent: list[Request] = []
    page.on("request", lambda one: sent.append(one) if one.method == "POST" else None)
    await page.click("#approve")
    await expect(page.locator("#message")).to_contain_text("You have approved")
    found: dict[str, Any] = json.loads(sent[-1].post_data or "")
    return found


async def send(page: Page, record: RequestRecord, document: Any, **headers: str) -> tuple[int, Any]:
    """The page's own call, with anything in it."""
    token = await page.locator('meta[name="csrf"]').get_attribute("content")
    given = {
        "X-Quorumkeep-Csrf": token or "",
        "Accept": "application/json",
        "Origin": page.url.partition("/requests")[0],
    }
    answer = await page.request.post(f"{path_of(record)}/approval", data=document, headers=given | headers)
    return answer.status, await answer.text()


async def test_an_operator_logs_in_reads_and_approves(console: Console) -> None:
    record = await console.ask(5)
    async with console.logged_in("otto") as page:
        await page.click(f'a[href="{path_of(record)}"]')
        await expect(page.locator("#sentence")).to_contain_text("Pay 5 eth from wallet hot-wallet")
        await page.click("#approve")
        await expect(page.locator("#message")).to_contain_text("You have approved")

    (given,) = known(console, record).approvals
    assert given.operator == "otto"


async def test_with_the_last_approval_it_is_paid_and_every_open_page_says_so(console: Console) -> None:
    record = await console.ask(3)
    async with console.logged_in("otto") as first, console.logged_in("mia") as second:
        await approve(first, record)
        await approve(second, record)

        await expect(first.locator("#live .chip").first).to_have_text("settled")


async def test_what_an_operator_stands_behind_does_not_wait_for_them(console: Console) -> None:
    record = await console.ask(5)
    async with console.logged_in("olga") as page:
        await page.goto(path_of(record))

        await expect(page.locator("#reject")).to_have_count(1)
        await expect(page.locator("#approve")).to_have_count(0)


@pytest.mark.parametrize(("ether", "state"), [(5, "waiting"), (2, "ready")])
async def test_one_operator_stops_what_waits_for_people_or_for_its_delay(
    console: Console, ether: int, state: str
) -> None:
    record = await console.ask(ether, state)
    async with console.logged_in("clerk") as page:
        await page.goto(path_of(record))
        await page.fill("#reason", "the customer denies it — “not mine”")
        await page.click("#reject")
        await expect(page.locator("#message")).to_contain_text("rejected it, for good")

    assert known(console, record).rejected_by == "clerk"
    await console.running.until(record.request, "denied", "cancelled")


async def test_a_no_without_a_reason_is_not_signed(console: Console) -> None:
    record = await console.ask(5)
    async with console.logged_in("clerk") as page:
        await page.goto(path_of(record))
        await page.click("#reject")
        await expect(page.locator("#message")).to_contain_text("Give a reason")

    assert known(console, record).rejected_by == ""


async def test_a_device_without_the_operators_passkey_approves_nothing(console: Console) -> None:
    record = await console.ask(5)
    async with console.visitor("otto") as visitor:
        page = await visitor.tab("/login")
        await log_in(page)
        await ready(page, record)
        assert visitor.session is not None
        place = {"authenticatorId": visitor.authenticator}
        await visitor.session.send("WebAuthn.clearCredentials", place)
        other = place | {"credential": Passkey("mia").for_browser(console.site)}
        await visitor.session.send("WebAuthn.addCredential", other)
        await page.click("#approve")
        await expect(page.locator("#message")).to_contain_text("No passkey signed")

    assert known(console, record).approvals == ()


async def test_the_page_shows_the_digest_that_a_second_screen_shows(console: Console) -> None:
    record = await console.ask(5)
    async with console.logged_in("otto") as page:
        await ready(page, record)
        shown = await page.locator("#compared").inner_text()
        command = await page.locator("#command").inner_text()
    found = draft(console.running.parts, record, operator="otto")
    assert found is not None
    approval = parse_approval({**found, "approval_id": "ab" * 32, "operator": "otto"})

    assert shown == grouped(comparison_digest(approval).hex())
    assert (
        command == f"quorumkeep approve {record.request.hex()} --digest {comparison_digest(approval).hex()}"
    )


async def test_an_approval_that_is_sent_again_counts_once_and_fits_nothing_else(console: Console) -> None:
    record, other = await console.ask(5), await console.ask(5)
    async with console.logged_in("otto") as page:
        sent = await approve(page, record)
        again = await send(page, record, sent)
        body = json.loads(sent["body"])
        moved = body | {"request": other.request.hex()}
        foreign = await send(
            page, record, sent | {"body": json.dumps(moved, separators=(",", ":"), sort_keys=True)}
        )

    assert again[0] == 200
    assert foreign[0] == 403
    assert "bad-signature" in foreign[1]
    assert len(known(console, record).approvals) == 1
    assert known(console, other).approvals == ()


async def test_a_draft_that_is_not_the_requests_is_not_signed(console: Console) -> None:
    record = await console.ask(5)

    async def lie(route: Any) -> None:
        answer = await route.fetch()
        document = await answer.json()
        document["draft"]["intent"]["destination"] = "0x" + "22" * 20
        await route.fulfill(response=answer, json=document)

    async with console.logged_in("otto") as page:
        await page.route("**/approval", lie)
        await page.goto(path_of(record))

        await expect(page.locator("#message")).to_contain_text("does something else than the request")
        await expect(page.locator("#approve")).to_be_disabled()


async def test_in_two_tabs_the_second_learns_that_the_first_has_approved(console: Console) -> None:
    record = await console.ask(5)
    async with console.visitor("otto") as visitor:
        first = await visitor.tab("/login")
        await log_in(first)
        second = await visitor.tab("/")
        await ready(second, record)
        await approve(first, record)

        await expect(second.locator("#message")).to_contain_text("It waits for you no more")
        await expect(second.locator("#approve")).to_be_disabled()
    assert len(known(console, record).approvals) == 1


async def test_when_the_session_is_over_nothing_is_taken_in(console: Console) -> None:
    record = await console.ask(5)
    async with console.visitor("otto") as visitor:
        first = await visitor.tab("/login")
        await log_in(first)
        second = await visitor.tab("/")
        await ready(second, record)
        await first.click("#logout")
        await first.wait_for_url("**/login")
        await second.click("#approve")

        await expect(second.locator("#message")).to_contain_text("The session is over")
    assert known(console, record).approvals == ()


async def test_after_a_lost_network_the_same_approval_is_sent_again(console: Console) -> None:
    record = await console.ask(5)
    async with console.logged_in("otto") as page:
        await ready(page, record)
        sent: list[str | None] = []
        page.on("request", lambda one: sent.append(one.post_data) if one.method == "POST" else None)
        await page.context.set_offline(True)
        await page.click("#approve")
        await expect(page.locator("#message")).to_contain_text("The network was lost")
        await page.context.set_offline(False)
        await page.click("#approve")
        await expect(page.locator("#message")).to_contain_text("You have approved")

    assert len(known(console, record).approvals) == 1
    assert len(sent) == 2
    assert sent[0] == sent[1]


async def test_an_auditor_reads_and_decides_nothing(console: Console) -> None:
    record = await console.ask(5)
    async with console.logged_in("anna") as page:
        await page.goto(path_of(record))
        await expect(page.locator("#live")).to_contain_text("5 eth")
        await expect(page.locator("#decision")).to_have_count(0)
        status, said = await send(page, record, {"body": "{}", "assertion": {}})

    assert status == 403
    assert "an auditor reads" in said


@pytest.mark.parametrize(
    "headers", [{"X-Quorumkeep-Csrf": "0" * 64}, {"Origin": "https://evil.example.com"}, {"Origin": "null"}]
)
async def test_a_call_of_another_site_is_refused(console: Console, headers: dict[str, str]) -> None:
    record = await console.ask(5)
    async with console.logged_in("otto") as page:
        await ready(page, record)
        status, _ = await send(page, record, {}, **headers)

    assert status == 403
