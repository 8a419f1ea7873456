"""A drill that is not as its page says has failed; which drills there are is said in one place."""

from pathlib import Path

import pytest

from cli.drills.run import DRILLS
from cli.drills.steps import Steps, Unlike
from cli.main import invoke
from cli.operations_arguments import DRILLS as NAMED
from cli.results import Misuse
from policy.errors import OperationalError
from tests.architecture.planting import REPOSITORY

DOCS = REPOSITORY / "docs"


def steps() -> Steps:
    return Steps(lambda text: None)


def test_a_drill_of_no_steps_has_shown_nothing() -> None:
    assert not steps().ok


def test_the_first_thing_that_is_not_so_ends_a_drill() -> None:
    made = steps()
    made.must("the sun rises", True)

    with pytest.raises(Unlike, match="not so: it sets in the east"):
        made.must("it sets in the east", False, seen="the west")
    assert not made.ok
    assert [row["ok"] for row in made.rows] == [True, False]
    assert made.rows[1]["seen"] == "the west"


def test_what_must_be_refused_must_be_refused_for_its_reason() -> None:
    def refuse() -> None:
        raise OperationalError("the token is gone")

    made = steps()
    made.refused("it does not start", refuse, reason="token is gone")

    assert made.ok
    with pytest.raises(Unlike):
        made.refused("it does not start", refuse, reason="the disk is full")
    with pytest.raises(Unlike, match="it was done"):
        steps().refused("it does not start", lambda: 7, reason="")


def test_the_parser_offers_the_drills_that_there_are_and_their_pages_are_there() -> None:
    assert tuple(DRILLS) == NAMED
    assert all((DOCS / one.page).is_file() for one in DRILLS.values())
    assert set(invoke("drills").document["drills"]) == set(NAMED)


def test_the_page_of_drills_has_every_one() -> None:
    page = (DOCS / "drills.md").read_text()

    assert all(f"| `{name}` |" in page for name in NAMED)


def test_who_cannot_note_it_is_told_before_anything_is_played(tmp_path: Path) -> None:
    invoke("identity", "create", "administrator", "anna", "--dir", str(tmp_path / "anna"))

    with pytest.raises(Misuse, match="a note is a backend's"):
        invoke("drill", "lost-node", "--as", str(tmp_path / "anna"))
