"""An operator in a real browser: what their passkey signs is in the log, and nothing else is."""

from playwright.async_api import expect

from tests.console.console_house import Console


async def test_an_operator_logs_in_reads_and_approves(console: Console) -> None:
    record = await console.ask(5)
    async with console.logged_in("otto") as page:
        await page.click(f'a[href="/requests/{record.request.hex()}"]')
        await expect(page.locator("#sentence")).to_contain_text("Pay 5 eth from wallet hot-wallet")
        await page.click("#approve")
        await expect(page.locator("#message")).to_contain_text("You have approved")

    (given,) = console.running.parts.sequencer.state.requests[record.request].approvals
    assert given.operator == "otto"
