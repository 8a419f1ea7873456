"""What the console shows of tiers and of what a rebalancer says, and whom it believes."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import pytest

from custody.console.exposure import by_tier
from custody.console.rebalancing import MODES, OLD_MS, TONES, about
from custody.console.texts import LANGUAGES, catalogue
from custody.rebalance_report import RebalanceReport
from custody.rebalancing.deciding import Mode
from custody.rebalancing.moves import Stage
from tests.unit.custody_cluster import ETHER, roster_document
from tests.unit.custody_house import House, Running
from tests.unit.test_console_pages import reading
from tests.unit.test_custody_api import opened as door_of
from tests.unit.test_rebalance_report import INITIATORS, REPORT, ROUTE, hand_in, signed
from tests.unit.tier_house import TierBook, level


@contextlib.asynccontextmanager
async def console_with(
    folder: Path, *reports: RebalanceReport
) -> AsyncIterator[tuple[httpx.AsyncClient, Running]]:
    house = House(folder, roster=roster_document(initiators=INITIATORS))
    async with door_of(house) as door:
        for report in reports:
            body, signature = signed(replace(report, time_ms=report.time_ms or house.now_ms()))
            await door.ask(report.by, partial(hand_in, body=body, signature=signature))
        async with reading(door.running, "otto") as client:
            yield client, door.running


async def test_without_a_report_the_page_says_how_to_get_one(tmp_path: Path) -> None:
    async with console_with(tmp_path) as (client, _):
        page = await client.get("/rebalancing")
        missing = await client.get("/rebalancing/mover/eth")

    assert (page.status_code, missing.status_code) == (200, 404)
    assert "quorumkeep rebalance run" in page.text


async def test_text_of_a_rebalancer_is_never_markup(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    move = replace(ROUTE.moves[0], stage="decided", name=evil, error=evil, reasons=(evil, evil))
    route = replace(ROUTE, route=evil, mode=evil, reasons=(evil,), moves=(move,))
    async with console_with(tmp_path, replace(REPORT, time_ms=0, routes=(route,))) as (client, _):
        pages = [await client.get("/rebalancing")]
        (link,) = [
            part.partition('"')[0]
            for part in pages[0].text.split('href="')
            if part.startswith("/rebalancing/")
        ]
        pages.append(await client.get(link.replace("&lt;", "<")))

    for page in pages:
        assert page.status_code == 200
        assert "<img" not in page.text
        assert "&lt;img" in page.text


async def test_an_alarm_that_stands_and_a_report_that_is_old_are_said_on_both_pages(tmp_path: Path) -> None:
    async with console_with(tmp_path, replace(REPORT, time_ms=1000)) as (client, _):
        old = [(await client.get(path)).text for path in ("/rebalancing", "/rebalancing/mover/eth")]
    ended = replace(ROUTE, alarms=ROUTE.alarms[:1])
    (tmp_path / "other").mkdir()
    async with console_with(tmp_path / "other", replace(REPORT, time_ms=0, routes=(ended,))) as (client, _):
        new = [(await client.get(path)).text for path in ("/rebalancing", "/rebalancing/mover/eth")]

    alarm, age = 'role="alert"><b>', "Old: it has not looked since"
    assert all(alarm in page and age in page for page in old)
    assert not any(alarm in page or age in page for page in new)
    assert OLD_MS < 3_600_000


def test_every_stage_and_mode_has_its_words_in_both_languages() -> None:
    assert set(MODES) == {mode.value for mode in Mode}
    assert set(TONES) < {stage.value for stage in Stage}
    for language in LANGUAGES:
        assert {f"stage.{one}" for one in Stage} | {f"mode.{one}" for one in MODES} <= set(
            catalogue(language)
        )


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 eth"),
        (ETHER, "1 eth"),
        (12_345_678 * ETHER // 10**4, "1234.56 eth"),
        (123_456_789 * ETHER, "123456789 eth"),
        (1_234_567_890, "0.00000000123456 eth"),
        (ETHER // 2, "0.5 eth"),
    ],
)
def test_an_amount_is_said_to_six_digits(amount: int, text: str) -> None:
    assert about(ROUTE, amount) == text


def test_a_tier_is_set_against_its_bounds_by_amount_value_and_share() -> None:
    book = TierBook(hot={"maximum": level(500, eth=300), "share_max_bp": 2000}, cold={})
    for asset in ("eth", "usdc"):
        book.price(2, asset=asset, unit="usd/0")
    held: dict[str, dict[str, int | None]] = {
        "hot": {"eth": 200, "usdc": 100},
        "warm": {"eth": 0},
        "cold": {"eth": 1000},
    }

    hot, warm, cold = by_tier(book.state, held)

    shown = {one.measure: (one.held, one.maximum, one.percent, one.beyond) for one in hot.bounds}
    assert shown["eth"] == ("200 eth", "300 eth", 66, False)
    assert shown["usdc"] == ("100 usdc", "", 0, False)
    assert shown["usd"] == ("600 usd", "500 usd", 100, True)
    assert (hot.share, hot.share_wanted, hot.share_beyond) == ("23.07 %", "≤ 20 %", True)
    assert (warm.share, cold.share, cold.share_beyond) == ("0 %", "76.92 %", False)


def test_what_a_chain_does_not_say_is_not_known_rather_than_nothing() -> None:
    book = TierBook(hot={"maximum": level(500)})
    book.price(2, asset="eth", unit="usd/0")

    hot, *_ = by_tier(book.state, {"hot": {"eth": None}, "cold": {"eth": 5}})

    assert [(one.measure, one.held, one.beyond) for one in hot.bounds] == [
        ("eth", "", False),
        ("usd", "", False),
    ]
    assert hot.share == ""
