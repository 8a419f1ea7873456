"""Notes: what backends say in the log, and that nothing is ever decided by it."""

from pathlib import Path
from typing import Any

import pytest

from policy.encoding import Json
from policy.fact_entries import NOTE_TEXT_MAX
from policy.state import Outcome
from tests.simulation.world import ORIGIN, Book, World, signatures
from tests.unit.custody_house import House
from tests.unit.test_custody_statements import signed


@pytest.fixture
def book() -> Book:
    return Book(World())


def note(book: Book, *, by: str = "desk", signer: str = "", **changed: Any) -> Outcome:
    body: dict[str, Json] = {
        "origin": ORIGIN,
        "by": by,
        "about": "eth",
        "text": "no-price: there is no price that is new enough",
        "noted_ms": book.now_ms,
        **changed,
    }
    return book.write("note", body, signatures=signatures("note", body, [signer or by]))


def test_a_note_of_a_backend_stands_in_the_log_and_changes_nothing(book: Book) -> None:
    before = book.state

    outcome = note(book)

    now = book.state
    changed = {name for name in now.__struct_fields__ if getattr(before, name) != getattr(now, name)}
    assert outcome.accepted and outcome.subject == b"eth"
    assert changed <= {"size", "digest", "time_ms"}


@pytest.mark.parametrize(
    "changed",
    [
        {"by": "nobody"},
        {"signer": "nobody"},
        {"origin": "log.example.com/other"},
        {"text": "x" * (NOTE_TEXT_MAX + 1)},
        {"text": ""},
        {"about": "Not A Name"},
    ],
)
def test_a_note_that_no_backend_signed_for_this_log_is_inert(book: Book, changed: dict[str, Any]) -> None:
    assert not note(book, **changed).accepted


async def test_a_coordinator_takes_a_note_in_from_whoever_signed_it(tmp_path: Path) -> None:
    house = House(tmp_path)
    body: dict[str, Json] = {"origin": "log.example.com/test", "by": "shop", "about": "eth"}
    body |= {"text": "the forecast is trusted again", "noted_ms": 5}
    async with house.running() as running:
        size = running.parts.sequencer.state.size
        await running.service.enact("shop", signed("note", body, "shop"))

        assert running.parts.sequencer.state.size == size + 1
