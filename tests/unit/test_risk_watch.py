"""One scoring observer with its memory, its list and its metrics, over a book."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from custody.adapters.risk_store import RiskStore
from custody.client import Endpoint
from custody.risk.main import MEMORY, Assignment, Seat, Watch
from custody.risk.metrics import RiskMetrics
from custody.risk.ports import NoScreening
from custody.risk.sanctions import Words
from policy.errors import OperationalError
from tests.simulation.world import OTHER, Book, identity_key
from tests.unit.risk_house import BookLog
from tests.unit.test_audit import pinned
from tests.unit.test_risk_reading import paying

DAYS = 180  # more entries than are read before they are kept


@cache
def long_book() -> Book:
    return paying(DAYS)


class Seated:
    """An observer in a folder; what it keeps outlives it."""

    def __init__(self, folder: Path, log: BookLog) -> None:
        self.folder, self.log, self.metrics = folder, log, RiskMetrics()
        self.store = RiskStore(folder / MEMORY)
        self.list_file, self.shared = folder / "list.json", folder / "shared"
        self.shared.mkdir(exist_ok=True)
        self.write_list(datetime.now(UTC).date().isoformat())

    def write_list(self, day: str) -> None:
        self.list_file.write_text(json.dumps({"source": "tests", "as_of": day, "addresses": []}))

    def watch(self) -> Watch:
        key = identity_key("oskar")
        seat = Seat(self.folder, "oskar", Endpoint("", b"", ""), pinned(), key)
        assignment = Assignment(self.list_file, 7, Words(), 1.0, exchange=self.shared)
        return Watch(seat, assignment, desk=self.log, store=self.store, metrics=self.metrics)

    def metric(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"quorumkeep_scoring_{name}")


@pytest.fixture
def seated(tmp_path: Path) -> Iterator[Seated]:
    found = Seated(tmp_path, BookLog(long_book().fork()))
    with closing(found.store):
        yield found


def test_a_second_start_reads_nothing_again_and_scores_the_same(seated: Seated) -> None:
    request = seated.log.book.request(600, to=OTHER)
    (first,) = seated.watch().look()
    asked = seated.log.asked
    (again,) = seated.watch().look()

    assert (first, first.request) == (again, request)
    assert asked == seated.log.asked == len(seated.log.book.entries)


def test_a_damaged_memory_is_thrown_away_and_read_anew_at_the_next_look(seated: Seated) -> None:
    seated.watch().look()
    with closing(sqlite3.connect(seated.folder / MEMORY)) as connection, connection:
        connection.execute("UPDATE pages SET page = x'00'")
    seated.log.book.pay(90, nonce=1000)
    request = seated.log.book.request(600, to=OTHER)
    watch = seated.watch()

    with pytest.raises(OperationalError, match="fold the log anew: that is done at the next look"):
        watch.look()

    assert [one.request for one in watch.look()] == [request]


def test_what_was_read_is_kept_though_nothing_can_be_stated(seated: Seated) -> None:
    seated.write_list("2020-02-29")
    with pytest.raises(NoScreening):
        seated.watch().look()
    asked, silent = seated.log.asked, seated.metric("silent")
    with pytest.raises(NoScreening):
        seated.watch().look()

    assert asked == seated.log.asked
    assert (silent, seated.metric("looked_seconds")) == (1.0, 0.0)


def test_metrics_tell_when_it_looked_and_what_was_logged(seated: Seated) -> None:
    watch = seated.watch()
    watch.look()

    assert seated.metric("silent") == 0.0
    assert (seated.metric("looked_seconds") or 0) > 1_700_000_000
    assert seated.metric("risk_count") == 0.0
