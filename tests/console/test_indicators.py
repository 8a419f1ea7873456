"""The page of the risk indicators, in a real browser: what is worst, since when and what to do."""

import contextlib
from collections.abc import AsyncIterator

from playwright.async_api import expect

from custody.indicators import reading
from custody.indicators.scoring import DEFAULTS, INDICATORS, Threshold
from tests.console.console_house import Console

FAR = 10**9
EASY = {
    one.name: Threshold(-1, -2, 1) if one.low_is_bad else Threshold(FAR, 2 * FAR, 1) for one in INDICATORS
}
"""Thresholds that no reading of the house reaches."""
CRITICAL, WARN = Threshold(-2, -1, 1), Threshold(0, FAR, 1)


@contextlib.asynccontextmanager
async def held_against(console: Console, **thresholds: Threshold) -> AsyncIterator[None]:
    """The coordinator reads by these, as by a file of its configuration; nobody noted a backup or a drill."""
    parts = console.running.parts
    parts.indicators.thresholds = {**EASY, **thresholds}
    try:
        reading.show(parts, await reading.read(parts))
        yield
    finally:
        parts.indicators.thresholds = DEFAULTS


async def test_an_auditor_reads_what_is_worst_first_and_what_to_do_about_it(console: Console) -> None:
    marked = {"cosigners_down": CRITICAL, "node_lag_entries": WARN}
    async with held_against(console, **marked), console.logged_in("anna") as page:
        await page.keyboard.press("g")
        await page.keyboard.press("i")
        await page.wait_for_url("**/indicators")

        levels = await page.locator("main .wallet .chip").all_inner_texts()
        named = await page.locator("main .wallet").evaluate_all("(found) => found.map((one) => one.id)")
        assert (named[0], levels[0]) == ("cosigners_down", "critical")
        assert (named[-1], levels[-1]) == ("node_lag_entries", "warning")
        assert {"backup_age_d", "drill_age_d"} <= {*named[1:-1]} and {*levels[1:-1]} == {"unknown"}
        await expect(page.locator("#cosigners_down")).to_contain_text("runbook-lost-cosigner.md")
        await expect(page.locator("#cosigners_down time")).to_be_visible()
        await expect(page.locator("main tbody tr")).to_have_count(len(INDICATORS))


async def test_a_page_that_is_open_follows_a_reading_that_gets_worse(console: Console) -> None:
    async with held_against(console), console.logged_in("anna") as page:
        await page.goto("/indicators")
        await page.wait_for_selector('#connection[data-kind="good"]')
        await expect(page.locator("#cosigners_down")).to_have_count(0)
        async with held_against(console, cosigners_down=CRITICAL):
            await console.ask(
                1, "settled"
            )  # what happens to a request is told at once, and the page reads anew

            await expect(page.locator("#cosigners_down")).to_have_count(1)


async def test_the_page_is_read_in_chinese(console: Console) -> None:
    async with (
        held_against(console, clock_off_ms=Threshold(0, FAR, 1)),
        console.logged_in("otto", locale="zh-CN") as page,
    ):
        await page.goto("/indicators")

        await expect(page.locator("#clock_off_ms")).to_contain_text("警告")
        await expect(page.locator("#clock_off_ms")).to_contain_text("NTP")
