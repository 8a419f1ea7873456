"""The pages of what a rebalancer says, in a real browser: read by everybody, and true to the report."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import expect

from tests.console import console_house
from tests.console.console_house import Console
from tests.console.rebalancing_house import hand_in, made_up, reported
from tests.console.test_reading import PHONE, axe, sideways, violations

__all__ = ["axe"]
ROUTE = "/rebalancing/mover/eth"


@pytest.fixture(scope="module")
async def house() -> AsyncIterator[Console]:
    if console_house.CHROMIUM is None:
        pytest.skip("there is no Chromium: deploy/setup.sh installs Debian's")
    async with reported() as made:
        yield made


@pytest.mark.parametrize(
    ("scheme", "locale", "viewport", "alarm"),
    [("light", "en-GB", None, False), ("dark", "zh-CN", PHONE, True)],
)
async def test_axe_finds_no_violation_and_no_page_is_too_wide(
    house: Console, axe: str, *, scheme: str, locale: str, viewport: Any, alarm: bool
) -> None:
    await hand_in(house, made_up(house.house.now_ms(), alarm=alarm))
    options = {"viewport": viewport} if viewport else {}
    found: list[str] = []
    async with house.logged_in("anna", color_scheme=scheme, locale=locale, **options) as page:
        for path in ("/rebalancing", ROUTE):
            await page.goto(path)
            await page.evaluate(
                "() => document.querySelectorAll('details').forEach((one) => { one.open = true; })"
            )
            found += await violations(page, axe)
            found += [f"{path} is too wide"] if await sideways(page) else []

    assert found == []


async def test_every_chart_is_drawn_with_its_series(house: Console) -> None:
    await hand_in(house, made_up(house.house.now_ms()))
    async with house.logged_in("anna") as page:
        await page.goto(ROUTE)
        await expect(page.locator(".chart canvas")).to_have_count(4)
        legends = await page.locator(".chart").first.locator(".u-legend .u-label").all_inner_texts()
        drawn = await page.evaluate(
            """() => Array.from(document.querySelectorAll(".chart canvas")).map((one) =>
                one.getContext("2d").getImageData(0, 0, one.width, one.height).data.some((byte) => byte))"""
        )

    assert legends == ["UTC", "swept above", "topped up below", "Target", "Maximum", "Held"]
    assert drawn == [True] * 4


async def test_a_proposal_that_was_asked_for_leads_to_its_request(house: Console) -> None:
    record = await house.ask(1, "settled")
    await hand_in(house, made_up(house.house.now_ms(), request=record.request))
    async with house.logged_in("otto") as page:
        await page.keyboard.press("g")
        await page.keyboard.press("b")
        await page.wait_for_url("**/rebalancing")
        await page.click('main a[href^="/requests/"]')

        await page.wait_for_url(f"**/requests/{record.request.hex()}")
