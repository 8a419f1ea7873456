"""One operator stops all signing in the browser; only the administrators' quorum lets it go on."""

import contextlib
from collections.abc import AsyncIterator

from playwright.async_api import expect

from custody.enacting import enact
from tests.console.console_house import Console, Passkey
from tests.unit.test_custody_enacting import order
from tests.waiting import until


@contextlib.asynccontextmanager
async def thawed_afterwards(console: Console) -> AsyncIterator[None]:
    """The other tests share the coordinator."""
    parts = console.running.parts
    try:
        yield
    finally:
        if parts.sequencer.state.frozen:
            await enact(parts, order("unfreeze", parts.sequencer.state.freeze.hex(), "admin"))


async def test_an_operators_passkey_freezes_and_every_open_page_says_so(console: Console) -> None:
    state = console.running.parts.sequencer
    async with (
        thawed_afterwards(console),
        console.logged_in("clerk") as page,
        console.logged_in("anna") as other,
    ):
        await page.goto("/nodes")
        await page.click("#freeze summary")
        await page.click("#freeze button")
        await expect(page.locator("#freeze #message")).to_contain_text("Give a reason")
        await page.fill("#freeze #reason", "a payment that nobody knows")
        await page.click("#freeze button")
        await expect(page.locator("#freeze #message")).to_contain_text("Signing is frozen")

        assert state.state.frozen
        await expect(other.locator("#frozen")).to_be_visible()
        await until(lambda: all(node.tip.state.frozen for node in console.house.nodes.values()))
        await page.goto("/nodes")
        await expect(page.locator("#freeze")).to_have_count(0)
        await expect(page.locator("#live")).to_contain_text("admin draft unfreeze")
        await page.goto("/log?kind=freeze")
        await expect(page.locator("tbody tr").first).to_contain_text("clerk")

    assert not state.state.frozen


async def test_another_persons_passkey_freezes_nothing(console: Console) -> None:
    async with console.visitor("otto") as visitor:
        page = await visitor.tab("/login")
        await page.click("#login")
        await page.wait_for_url("**/")
        await page.goto("/nodes")
        assert visitor.session is not None
        place = {"authenticatorId": visitor.authenticator}
        await visitor.session.send("WebAuthn.clearCredentials", place)
        other = place | {"credential": Passkey("mia").for_browser(console.site)}
        await visitor.session.send("WebAuthn.addCredential", other)
        await page.click("#freeze summary")
        await page.fill("#freeze #reason", "let me")
        await page.click("#freeze button")
        await expect(page.locator("#freeze #message")).to_contain_text("No passkey signed")

    assert not console.running.parts.sequencer.state.frozen


async def test_an_auditor_has_nothing_to_freeze_with(console: Console) -> None:
    async with console.logged_in("anna") as page:
        await page.goto("/nodes")
        await expect(page.locator("#freeze")).to_have_count(0)
        token = await page.locator('meta[name="csrf"]').get_attribute("content")
        headers = {"X-Quorumkeep-Csrf": token or "", "Accept": "application/json", "Origin": console.site}
        answer = await page.request.post("/freeze", data={"body": "{}", "assertion": {}}, headers=headers)

    assert answer.status == 403
