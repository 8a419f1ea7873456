"""The score says what it claims: worse is never better, unknown is worst; a coordinator reads them all."""

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from cli.indicators import page
from custody.api.errors import CallRefused
from custody.console.texts import LANGUAGES, catalogue
from custody.enacting import Signed, enact
from custody.indicators.kept import Indicators
from custody.indicators.notes import BackupNote, DrillNote, note_body, read_note
from custody.indicators.reading import SWEEP_S, hot_share_bp, look_back, read, show
from custody.indicators.scoring import (
    DEFAULTS,
    INDICATORS,
    POINTS_MAX,
    Level,
    Missing,
    Reading,
    Threshold,
    parse_thresholds,
    points_of,
    scored,
)
from custody.indicators.showing import reading_text, worst_first
from custody.indicators.thresholds import load_thresholds
from custody.indicators.window import LogWindow
from policy.encoding import Json, canonical, statement
from policy.entries import make_entry, parse_entry, signature_list
from policy.errors import MalformedError, OperationalError
from policy.fact_entries import NoteEntry
from policy.words.language import CHINESE, ENGLISH
from tests.architecture.planting import REPOSITORY
from tests.unit.custody_cluster import ETHER, KEY, ORIGIN, identity, make_request
from tests.unit.custody_house import House, Running
from tests.unit.tier_house import TierBook
from tests.waiting import until

GOOD: dict[str, Reading] = {
    one.name: DEFAULTS[one.name].warn + 1 if one.low_is_bad else 0 for one in INDICATORS
}
READINGS = st.fixed_dictionaries(
    {one.name: st.integers(0, 20_000) | st.sampled_from(list(Missing)) for one in INDICATORS}
)
LINES = {one.name: one for one in INDICATORS}


@given(READINGS, st.sampled_from(INDICATORS), st.integers(0, 20_000))
def test_a_worse_reading_never_lowers_the_score(
    readings: Mapping[str, Reading], worsened: Any, by: int
) -> None:
    before = readings[worsened.name]
    if not isinstance(before, int):
        return
    worse = max(0, before - by) if worsened.low_is_bad else before + by

    after = scored({**readings, worsened.name: worse}, DEFAULTS).score

    assert 0 <= scored(readings, DEFAULTS).score <= after <= POINTS_MAX


def test_good_readings_score_nothing_and_no_reading_scores_all() -> None:
    assert scored(GOOD, DEFAULTS).score == 0
    assert scored({}, DEFAULTS).score == POINTS_MAX


def test_what_is_not_known_is_worth_as_much_as_what_is_critical() -> None:
    unknown = scored({**GOOD, "drill_age_d": Missing.UNKNOWN}, DEFAULTS)
    critical = scored({**GOOD, "drill_age_d": DEFAULTS["drill_age_d"].critical}, DEFAULTS)

    assert unknown.score == critical.score > 0


def test_what_a_deployment_does_not_have_is_left_out() -> None:
    without = scored({**GOOD, "hot_share_bp": Missing.NOT_APPLICABLE, "cosigners_down": 9}, DEFAULTS)
    with_it = scored({**GOOD, "cosigners_down": 9}, DEFAULTS)

    assert without.score > with_it.score
    assert {line.indicator.name for line in without.lines if line.points is None} == {"hot_share_bp"}


@pytest.mark.parametrize(("reading", "points"), [(0, 0), (9, 0), (10, 50), (15, 75), (20, 100), (10**9, 100)])
def test_points_begin_with_the_warning_and_end_with_the_critical(reading: int, points: int) -> None:
    assert points_of(reading, Threshold(10, 20, 1)) == points
    assert points_of(30 - reading, Threshold(20, 10, 1)) == points


def test_a_file_of_thresholds_changes_what_it_names_alone(tmp_path: Path) -> None:
    path = tmp_path / "indicators.toml"
    path.write_text("drill_age_d = {warn = 30, critical = 60, weight = 0}\n")

    found = load_thresholds(path)

    assert found == {**DEFAULTS, "drill_age_d": Threshold(30, 60, 0)}
    assert scored({**GOOD, "drill_age_d": 99}, found).score == 0


@pytest.mark.parametrize(
    "text",
    [
        "drill_age = {warn = 1, critical = 2, weight = 1}",
        "drill_age_d = {warn = 2, critical = 1, weight = 1}",
        "drill_age_d = {warn = 1, critical = 1, weight = 1}",
        "presignatures = {warn = 1, critical = 2, weight = 1}",
        "drill_age_d = {warn = 1.5, critical = 2, weight = 1}",
        "drill_age_d = 7",
        "=",
        "x = " + "[" * 5000 + "]" * 5000,
        "\x00",
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "indicators.toml"
    path.write_text(text)

    with pytest.raises(OperationalError, match=r"correct|right file"):
        load_thresholds(path)


def test_a_file_of_nothing_is_the_defaults() -> None:
    assert parse_thresholds({}) == DEFAULTS == load_thresholds(None)


def test_the_file_that_is_handed_out_says_what_holds_without_it_and_so_does_the_page() -> None:
    path = REPOSITORY / "deploy" / "indicators.toml"
    written = tomllib.loads(path.read_text())
    page = (REPOSITORY / "docs" / "indicators.md").read_text()

    assert load_thresholds(path) == DEFAULTS
    assert set(written) == set(DEFAULTS)
    for name, one in DEFAULTS.items():
        assert re.search(
            rf"^\| `{name}` \|.*\| {one.warn}, {one.critical}, {one.weight} \|$", page, re.MULTILINE
        )


NOTES = (DrillNote("lost-node", True, 41), BackupNote(KEY, 2, ("node-a", "node-b")))


@pytest.mark.parametrize("note", NOTES)
def test_a_note_is_read_as_it_was_written(note: DrillNote | BackupNote) -> None:
    assert read_note(entry_of(note)) == note


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"drill":"x","ok":1,"seconds":2}', "drill"])
def test_a_note_that_says_something_else_counts_for_nothing(text: str) -> None:
    note = entry_of(NOTES[0])

    assert read_note(NoteEntry(note.body, note.origin, note.by, "drill", text, 1, {})) is None


def entry_of(note: DrillNote | BackupNote) -> NoteEntry:
    body: Json = note_body(ORIGIN, "shop", note=note, noted_ms=1)
    signatures = signature_list({"shop": bytes(64)})
    found = parse_entry(make_entry("note", 1, body=body, signatures=signatures)).entry
    assert isinstance(found, NoteEntry)
    return found


async def say(running: Running, note: DrillNote | BackupNote) -> None:
    body: Json = note_body(ORIGIN, "shop", note=note, noted_ms=running.parts.now_ms())
    signatures = signature_list({"shop": identity("shop").sign(statement("note", body))})
    await enact(running.parts, Signed("note", canonical(body), canonical({"signatures": signatures})))


async def ask(running: Running, name: str, amount: int) -> None:
    _, body, signature = make_request(name, amount=amount, now_ms=running.parts.now_ms())
    request = (await running.service.submit(body, signature)).request
    await running.until(request, "settled", "denied")


async def test_a_running_coordinator_reads_what_happens(tmp_path: Path) -> None:
    async with House(tmp_path).with_key() as running:
        await ask(running, "small", ETHER)
        await ask(running, "too-much", 100 * ETHER)
        await say(running, DrillNote("lost-node", True, 41))
        running.parts.login_failed("grpc")
        await until(lambda: running.parts.indicators.window.drilled_ms is not None, 3 * SWEEP_S)
        card = await read(running.parts)

        found = {line.indicator.name: line.reading for line in card.lines}
        assert found["denied_share_bp"] == 5000
        assert found["drill_age_d"] == 0 == found["cosigners_down"] == found["share_age_d"]
        assert found["failed_logins"] == 1
        assert found["backup_age_d"] is Missing.UNKNOWN
        assert found["hot_share_bp"] is Missing.NOT_APPLICABLE


async def test_the_score_is_among_the_metrics_and_in_the_status_of_people_alone(tmp_path: Path) -> None:
    async with House(tmp_path).with_key() as running:
        show(running.parts, await read(running.parts))
        shown, of_backend = await running.service.status(), await running.service.status("shop")
        assert isinstance(shown, dict) and isinstance(of_backend, dict)
        metrics = generate_latest(running.parts.metrics.registry).decode()

        assert "indicators" in shown and "indicators" not in of_backend
        assert "quorumkeep_risk_score " in metrics
        assert 'quorumkeep_indicator_points{name="backup_age_d"} 100.0' in metrics
        assert 'quorumkeep_cosigner_up{cosigner="witness"} 1.0' in metrics


async def test_a_restart_finds_again_what_was_noted_before_it(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.with_key() as running:
        for nodes in (("node-a",), ("node-b", "node-c")):
            await say(running, BackupNote(KEY, 0, nodes))
        await say(running, DrillNote("chain-halt", True, 9))
        await say(running, DrillNote("lost-node", False, 9))
    async with house.running() as again:
        await until(lambda: again.parts.indicators.window.drilled_ms is not None)
        card = await read(again.parts)

        found = {line.indicator.name: line.reading for line in card.lines}
        assert (found["backup_age_d"], found["drill_age_d"]) == (0, 0)


async def test_looking_back_takes_in_no_more_than_is_kept_and_every_note(tmp_path: Path) -> None:
    async with House(tmp_path).with_key() as running:
        await say(running, DrillNote("lost-node", True, 41))
        for name, amount in (("denied-1", 100), ("denied-2", 101), ("small-1", 1), ("small-2", 1)):
            await ask(running, name, amount * ETHER)
        parts = dataclasses.replace(running.parts, indicators=Indicators())
        parts.indicators.window = window = LogWindow(requests_max=2)

        await look_back(parts)

        assert window.drilled_ms is not None
        assert (window.is_full, window.denied_share_bp()) == (True, 0)
        for data in await running.parts.database.entries(0, running.parts.sequencer.state.size):
            parts.indicators.take_in(data)  # older ones, after newer ones
        window.forget(running.parts.now_ms(), {})
        assert window.denied_share_bp() == 0


async def test_a_drill_that_went_wrong_and_a_backup_of_one_node_are_none(tmp_path: Path) -> None:
    async with House(tmp_path).with_key() as running:
        await say(running, BackupNote(KEY, 0, ("node-a",)))
        await say(running, DrillNote("lost-node", False, 9))
        running.parts.indicators.take_some()
        card = await read(running.parts)

        found = {line.indicator.name: line.reading for line in card.lines}
        assert found["backup_age_d"] is found["drill_age_d"] is Missing.UNKNOWN


async def test_notes_of_what_is_no_share_count_for_nothing_and_are_not_kept(tmp_path: Path) -> None:
    async with House(tmp_path).with_key() as running:
        for number in range(20):
            await say(running, BackupNote(KEY, 0, (f"nobody-{number}", "node-a")))
            await say(running, BackupNote(f"key-{number}", 0, ("node-a", "node-b")))
        running.parts.indicators.take_some()
        card = await read(running.parts)

        found = {line.indicator.name: line.reading for line in card.lines}
        assert found["backup_age_d"] is Missing.UNKNOWN
        assert running.parts.indicators.window.backups_kept == 1


async def test_a_failed_call_at_the_door_is_counted(tmp_path: Path) -> None:
    from custody.adapters.api_server import CustodyServicer

    async with House(tmp_path).running() as running:
        servicer = CustodyServicer(running.service, running.parts)
        with pytest.raises(CallRefused):
            servicer._caller("Status", _status_call(), _NobodysContext())

        assert running.parts.indicators.failures(running.parts.now_ms()) == 1
        assert running.parts.indicators.failures(running.parts.now_ms() + 3_600_001) == 0


class _NobodysContext:
    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()


def _status_call() -> Any:
    from custody.api import custody_pb2 as pb

    return pb.StatusCall()


def test_the_hot_share_is_by_value_where_that_is_known_and_else_of_the_hottest_asset() -> None:
    book = TierBook()
    unknown = hot_share_bp(book.state, time_ms=book.state.time_ms)
    book.state_holdings("hot", 10)
    book.state_holdings("warm", 30)
    book.state_holdings("cold", 60)
    by_amount = hot_share_bp(book.state, time_ms=book.state.time_ms)
    for wallet, amount in (("hot", 0), ("warm", 0), ("cold", 100)):
        book.state_holdings(wallet, amount, asset="usdc")
    book.state_price(1)
    book.state_price(1, asset="usdc")
    by_value = hot_share_bp(book.state, time_ms=book.state.time_ms)

    assert (unknown, by_amount, by_value) == (Missing.UNKNOWN, 1000, 500)


def test_the_page_escapes_what_it_shows() -> None:
    line = {"name": "<b>", "warn": 1, "critical": 2, "weight": 3, "level": "unknown", "since_ms": 0}
    shown = page({"score": 7, "lines": [line]}, origin="log.example.com/<x>", made="now")

    assert "<b>" not in shown and "<x>" not in shown and "&lt;b&gt;" in shown


def test_malformed_thresholds_name_the_indicators_there_are() -> None:
    with pytest.raises(MalformedError, match="there are approval_wait_s"):
        parse_thresholds({"nonsense": {}})


def test_every_indicator_is_explained_in_every_language_and_the_english_says_what_the_status_says() -> None:
    for one in INDICATORS:
        assert catalogue("en")[f"indicator.{one.name}"] == one.what
        for language in LANGUAGES:
            assert catalogue(language)[f"indicator.{one.name}.do"]
    assert all(f"level.{level}" in catalogue(language) for level in Level for language in LANGUAGES)


def test_a_level_is_kept_with_the_time_since_which_it_holds() -> None:
    kept = Indicators()
    kept.keep(scored({**GOOD, "failed_logins": 5}, DEFAULTS), 1000)
    kept.keep(scored({**GOOD, "failed_logins": 6}, DEFAULTS), 2000)
    kept.keep(scored({**GOOD, "failed_logins": 0, "drill_age_d": 100}, DEFAULTS), 3000)

    assert kept.since["failed_logins"] == (Level.GOOD, 3000)
    assert kept.since["drill_age_d"] == (Level.WARN, 3000)
    assert kept.since["clock_off_ms"] == (Level.GOOD, 1000)


def test_what_is_shown_begins_with_the_worst() -> None:
    readings = {**GOOD, "failed_logins": 5, "cosigners_down": 4, "drill_age_d": Missing.UNKNOWN}
    shown = [line.level for line in worst_first(scored(readings, DEFAULTS).lines)]

    assert shown[:4] == [Level.CRITICAL, Level.UNKNOWN, Level.WARN, Level.GOOD]


@pytest.mark.parametrize(
    ("name", "reading", "said", "in_chinese"),
    [
        ("approval_wait_s", 1800, "30 minutes", "30 分钟"),
        ("hot_share_bp", 550, "5.5 %", "5.5 %"),
        ("drill_age_d", 1, "1 day", "1 天"),
        ("clock_off_ms", 20, "20 ms", "20 ms"),
        ("presignatures", 7, "7", "7"),
    ],
)
def test_readings_have_the_unit_of_their_name(name: str, reading: int, said: str, in_chinese: str) -> None:
    assert reading_text(name, reading, language=ENGLISH) == said
    assert reading_text(name, reading, language=CHINESE).replace(" ", "") == in_chinese.replace(" ", "")
