"""A rebalancer's report: bounded, read strictly, and taken in from its author alone."""

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from custody.client import CustodyClient
from custody.rebalance_report import (
    ALARMS_MAX,
    DAYS_MAX,
    MOMENTS_MAX,
    MOVES_MAX,
    REPORT_BYTES_MAX,
    TAG,
    Day,
    Moment,
    RebalanceReport,
    ReportedAlarm,
    ReportedChoice,
    ReportedMove,
    ReportedNote,
    RouteReport,
    parse_report,
)
from custody.rebalancing.desk import ClientDesk
from custody.rebalancing.records import Alarm, Note
from custody.rebalancing.reporting import Reporter, fitting
from custody.reports import SKEW_MS, told
from policy.encoding import Json, canonical, statement
from policy.errors import MalformedError
from tests.unit.custody_cluster import ETHER, ORIGIN, identity, public, roster_document
from tests.unit.custody_house import House
from tests.unit.rebalancing_house import HOT, Mover
from tests.unit.rebalancing_months import months
from tests.unit.test_custody_api import Door, opened

MOVE = ReportedMove(
    "top-up.eth.20261126.1", "top-up", "asked", 4 * ETHER, 10, 20, b"\x05" * 32, "", ("it runs dry",)
)
ALARM = ReportedAlarm(5, "one day", 9, 8, 2, ended_ms=7, ended_why="the airdrop is over")
ROUTE = RouteReport(
    route="eth",
    asset="eth",
    wallet="hot",
    source="cold",
    decimals=18,
    mode="forecast",
    owed=1,
    refill_to=2,
    sweep_to=3,
    reasons=("because",),
    moments=(Moment(3_600_000, 5, 1, 9, 5, 10),),
    days=(Day(0, "withdrawn", (1, 2, 3, 4, 5), 4), Day(0, "deposited", (1, 2, 3, 4, 5))),
    moves=(MOVE,),
    alarms=(ALARM, replace(ALARM, ended_ms=0, ended_why="")),
    choices=(ReportedChoice(999_000, 998_000, 7, 1200, 300),),
)
NOTE = ReportedNote(4, "eth", "run", "customers take ten times as much")
INITIATORS: Json = [
    {"name": "shop", "key": public("shop").hex(), "people": []},
    {"name": "mover", "key": public("mover").hex(), "people": [], "groups": ["rebalancer"]},
    {"name": "other", "key": public("other").hex(), "people": [], "groups": ["rebalancer"]},
]
REPORT = RebalanceReport(ORIGIN, "mover", 1000, (ROUTE,), (NOTE,))


def test_a_report_is_read_as_it_was_written() -> None:
    assert parse_report(REPORT.body()) == REPORT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("moments", [{"hour_ms": 0}] * (MOMENTS_MAX + 1)),
        ("days", [{"day_ms": 0, "flow": "withdrawn", "amounts": ["1"]}]),
        ("moves", [{}] * (MOVES_MAX + 1)),
        ("alarms", [{}] * (ALARMS_MAX + 1)),
        ("reasons", ["<\u202e>"]),
        ("decimals", 78),
        ("owed", "-1"),
        ("unknown", 1),
    ],
)
def test_what_a_report_may_not_have_is_named(name: str, value: Json) -> None:
    body: Any = REPORT.body()
    body["routes"][0][name] = value

    with pytest.raises(MalformedError, match=name):
        parse_report(body)


@pytest.fixture(scope="module")
def mover(tmp_path_factory: pytest.TempPathFactory) -> Mover:
    return months(tmp_path_factory.mktemp("report"), days=12, looks_a_day=2)


def reporter_of(mover: Mover) -> Reporter:
    return Reporter(mover.desk, mover.book, routes=[mover.route], now_ms=lambda: mover.desk.now_ms)


def test_a_report_has_what_is_held_forecast_proposed_and_alarmed(mover: Mover) -> None:
    seen = mover.book.exposures("eth")[-1]
    mover.book.put_alarm(Alarm("eth", mover.desk.now_ms, "one day", 9, 8, 2, seen.band))
    reporter_of(mover).tell()
    (route,) = mover.desk.reported[-1].routes

    assert (route.moments[-1].held, route.mode) == (seen.hot_base, seen.mode)
    assert route.alarm is not None and route.alarm.quota == 2
    assert {move.name for move in route.moves} <= {move.name for move in mover.book.moves()}
    assert route.moves and all(move.reasons for move in route.moves)
    for flow in ("withdrawn", "deposited"):
        days = route.flow(flow)
        assert [day.day_ms for day in days] == sorted({day.day_ms for day in days})
        assert days[5].came is not None and days[-1].came is None
        assert days[-1].day_ms > mover.desk.now_ms


def test_the_largest_report_is_within_its_bound(mover: Mover) -> None:
    worst = "\N{GREEK SMALL LETTER OMEGA}" * 300
    whole = reporter_of(mover).report().routes[0]
    move = replace(MOVE, amount=2**256 - 1, error=worst, reasons=(worst,) * 16)
    moment = Moment(2**53 - 1, *(2**256 - 1,) * 5)
    day = Day(2**53 - 1, "withdrawn", (2**256 - 1,) * 5, 2**256 - 1)
    large = replace(
        whole,
        reasons=(worst,) * 16,
        moments=(moment,) * MOMENTS_MAX,
        days=(day,) * DAYS_MAX,
        moves=(move,) * MOVES_MAX,
    )

    for routes in (1, 16):
        cut = fitting(RebalanceReport(ORIGIN, "mover", 1, (large,) * routes, (NOTE,) * 20))
        assert parse_report(cut.body()) == cut
        assert len(cut.routes) == routes
        assert len(canonical(cut.body())) <= REPORT_BYTES_MAX
        assert cut.routes[0].moments


def test_what_would_not_show_in_a_text_does_not_stop_a_report(mover: Mover) -> None:
    mover.book.add_note(Note(mover.desk.now_ms, "eth", "blind", "the node said:\n\u202e\x00 'no' \ufffd"))
    reporter_of(mover).tell()

    assert "'no'" in mover.desk.reported[-1].notes[0].text


def test_what_another_service_would_cost_is_asked_once_a_day(mover: Mover) -> None:
    reporter = reporter_of(mover)
    asked: list[int] = []
    movements = mover.book.movements

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(mover.book, name)

        def movements(self, asset: str, **rest: int) -> Any:
            asked.append(1)
            return movements(asset, **rest)

    reporter = Reporter(mover.desk, Counting(), routes=[mover.route], now_ms=lambda: mover.desk.now_ms)
    counts = []
    for _ in range(2):
        asked.clear()
        reporter.report()
        counts.append(len(asked))

    assert counts[1] == counts[0] - 1


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with opened(House(tmp_path, roster=roster_document(initiators=INITIATORS))) as found:
        yield found


def signed(report: RebalanceReport, key: str = "") -> tuple[bytes, bytes]:
    body = report.body()
    return canonical(body), identity(key or report.by).sign(statement(TAG, body))


def hand_in(client: CustodyClient, *, body: bytes, signature: bytes) -> None:
    client.report(body, signature)


async def test_only_a_rebalancer_reports_and_only_of_itself(door: Door) -> None:
    now_ms = door.house.now_ms()
    mine = replace(REPORT, time_ms=now_ms)
    cases = {
        "forbidden": [
            ("shop", signed(replace(mine, by="shop"))),
            ("other", signed(mine)),
            ("otto", signed(mine)),
        ],
        "bad-signature": [("mover", signed(mine, "shop")), ("mover", (canonical(mine.body()), b"\x00" * 64))],
        "foreign-origin": [("mover", signed(replace(mine, origin="other.example/log")))],
        "clock-skew": [("mover", signed(replace(mine, time_ms=now_ms + 2 * SKEW_MS)))],
        "malformed": [("mover", (b"{}", b"")), ("mover", (b'"' + b"x" * REPORT_BYTES_MAX + b'"', b""))],
    }

    for code, given in cases.items():
        for caller, (body, signature) in given:
            refused = await door.refusal(caller, partial(hand_in, body=body, signature=signature))
            assert refused == code, (caller, code)
    assert await told(door.running.parts) == ()


async def test_the_newest_report_of_each_rebalancer_is_kept(door: Door) -> None:
    now_ms = door.house.now_ms()
    for by, time_ms in (("mover", now_ms - 50), ("mover", now_ms), ("mover", now_ms - 9), ("other", now_ms)):
        body, signature = signed(replace(REPORT, by=by, time_ms=time_ms))
        await door.ask(by, partial(hand_in, body=body, signature=signature))

    kept = [(one.report.by, one.report.time_ms) for one in await told(door.running.parts)]
    assert kept == [("mover", now_ms), ("other", now_ms)]


async def test_what_was_put_into_the_database_without_its_signature_is_not_shown(door: Door) -> None:
    body, signature = signed(replace(REPORT, time_ms=door.house.now_ms()))
    await door.ask("mover", partial(hand_in, body=body, signature=signature))
    database = door.running.parts.database
    (kept,) = await database.reports()
    await database.put_report(
        replace(kept, time_ms=kept.time_ms + 1, body=body.replace(b"because", b"no way"))
    )

    assert await told(door.running.parts) == ()


async def test_a_rebalancers_desk_signs_its_report(door: Door) -> None:
    report = replace(REPORT, time_ms=door.house.now_ms())
    sign = identity("mover").sign
    await door.ask(
        "mover",
        lambda client: ClientDesk(client, origin=ORIGIN, name="mover", sign=sign).report(report.body()),
    )

    (kept,) = await told(door.running.parts)
    assert kept.report == report
    assert kept.report.routes[0].wallet == HOT
