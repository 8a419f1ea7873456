"""A drill that is not as its page says has failed; which drills there are is said in one place."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.demo.policy import demo_policy
from cli.drills.attacks import INVARIANTS
from cli.drills.own import look_at_own
from cli.drills.run import DRILLS
from cli.drills.steps import Steps, Unlike
from cli.main import invoke
from cli.operations_arguments import DRILLS as NAMED
from cli.parser import build_parser
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


def own(name: str, tmp_path: Path, *more: str) -> Steps:
    """What a drill sees of a real deployment's public parts."""
    made = steps()
    given = build_parser().parse_args(["drill", name, *more])
    look_at_own(name, given, steps=made)
    return made


def backup(folder: Path, node: int, epoch: int = 0) -> str:
    public = json.loads((DOCS / "spec" / "examples" / "backup-public.json").read_text())
    path = folder / f"{node}.{epoch}.backup"
    path.write_text(json.dumps({"public": {**public, "index": node, "epoch": epoch}}))
    return str(path)


def test_own_backups_of_one_epoch_are_enough_and_of_two_are_not(tmp_path: Path) -> None:
    first, second = backup(tmp_path, 1), backup(tmp_path, 2)

    assert own("stolen-backup", tmp_path, "--backup", first, second).ok
    with pytest.raises(Unlike, match="one epoch"):
        own("stolen-backup", tmp_path, "--backup", first, backup(tmp_path, 2, epoch=1))
    with pytest.raises(Unlike, match="enough to rebuild"):
        own("stolen-backup", tmp_path, "--backup", first)


def own_policy(tmp_path: Path, *, unapproved: bool) -> Steps:
    """What the drill says of a policy; ``unapproved`` lets large payments go by themselves."""
    policy: Any = demo_policy("0x" + "11" * 20)
    if unapproved:
        (large,) = (rule for rule in policy["rules"] if rule["name"] == "large")
        large["then"] = {"outcome": "allow"}
    (tmp_path / "client.json").write_text(json.dumps({"policy": policy}))
    invariants = tmp_path / "invariants.json"
    invariants.write_text(json.dumps(INVARIANTS))
    return own("bad-policy", tmp_path, "--dir", str(tmp_path), "--invariants", str(invariants))


@pytest.mark.slow
def test_own_invariants_are_proved_and_the_slips_they_catch_are_counted(tmp_path: Path) -> None:
    made = own_policy(tmp_path, unapproved=False)

    assert made.ok and "slips of the pen" in made.rows[1]["says"]


def test_an_own_policy_that_breaks_its_invariants_is_found(tmp_path: Path) -> None:
    with pytest.raises(Unlike, match="keeps its invariants"):
        own_policy(tmp_path, unapproved=True)


def test_a_folder_that_lacks_the_logs_key_starts_no_other_coordinator(tmp_path: Path) -> None:
    with pytest.raises(Unlike, match=r"log\.key"):
        own("lost-coordinator", tmp_path, "--dir", str(tmp_path))
