"""A control is shown by a check of the log, and each check has a log in which it fails."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from policy.audit import audit
from policy.ccss import CONTROLS, LOG, NOT_SHOWN, SHOWN, Control, Evidence
from policy.log.merkle import leaf_hash
from tests.simulation.world import DAY_MS, KEY, Book, World
from tests.unit.test_audit import pinned, published, trust_file, written
from tests.unit.test_cli_movements import day

WORLD = World()
CHECKED = [number for number, _, status in CONTROLS if status == LOG]


def with_key(*, imported: bool = False, min_signers: int = 2, keyed: bool = True) -> Book:
    """A log that has one key, if any, and no more."""
    book = Book(WORLD, start=False)
    policy: dict[str, Any] = WORLD.policy()
    policy["keys"][KEY] |= {"min_signers": min_signers} | ({"imported": True} if imported else {})
    book.genesis(policy=policy)
    if keyed:
        changed = {"change": "import", "dealers": []} if imported else {}
        assert book.key(min_signers=min_signers, **changed).accepted
    return book


@cache
def sound() -> Book:
    """A log with a payment that people approved, under a roster that changed."""
    book = Book(WORLD)
    request = book.request(700)
    for operator in ("alice", "bob"):
        book.approve(request, operator, nonce=0)
    book.sign(book.reserve(request, nonce=0))
    roster = WORLD.roster()
    roster["operators"] = [one for one in _list(roster["operators"]) if one["name"] != "dave"]
    book.change("roster", {**roster, "policy_delay_ms": 2 * DAY_MS})
    assert book.last.accepted
    return book


def _list(value: Any) -> list[Any]:
    found: list[Any] = value
    return found


def found(book: Book, *, from_ms: int = 0, trusted: bool = True) -> dict[str, Control]:
    """The controls by what a log has from a time on."""
    evidence = Evidence(from_ms=from_ms, to_ms=book.now_ms + 1)
    trust = pinned(genesis=leaf_hash(book.entries[0])) if trusted else None
    report = audit(published(book).get, trust=trust, progress=lambda done, total: None, watch=evidence)
    assert report.ok, report.first_bad
    return {one.number: one for one in evidence.controls(report)}


def test_a_sound_log_shows_all_that_is_checked_and_nothing_else() -> None:
    controls = found(sound())

    assert {number for number, one in controls.items() if one.status == SHOWN} == set(CHECKED)
    assert all(one.entries for one in controls.values() if one.status == SHOWN)
    assert not any(one.entries for one in controls.values() if one.status != SHOWN)


def test_the_entries_that_show_a_control_are_of_its_kind() -> None:
    controls, entries = found(sound()), sound().entries
    kinds = {
        number: {json.loads(entries[index])["kind"] for index in controls[number].entries}
        for number in ("1.01.1", "1.02.2", "1.04.1", "1.04.6", "1.06.2")
    }

    assert kinds == {
        "1.01.1": {"key"},
        "1.02.2": {"signature"},
        "1.04.1": {"approval"},
        "1.04.6": {"reserve"},
        "1.06.2": {"roster"},
    }


def unapproved() -> Book:
    """A log with a payment that a rule allowed without anybody."""
    book = Book(WORLD)
    book.pay(100, nonce=0)
    return book


FAILING: dict[str, tuple[Callable[[], Book], str]] = {
    "1.01.1": (lambda: with_key(imported=True), "was imported"),
    "1.02.2": (with_key, "nothing was signed"),
    "1.02.3": (lambda: with_key(min_signers=3), "needs all of its 3 nodes"),
    "1.02.4": (lambda: with_key(keyed=False), "has 0 of 2 accounts"),
    "1.04.1": (unapproved, "1 of 1 payments were signed without a person"),
    "1.04.6": (with_key, "nothing was signed"),
    "1.06.2": (unapproved, "no roster was changed"),
}


@pytest.mark.parametrize("number", FAILING)
def test_each_check_has_a_log_in_which_it_fails(number: str) -> None:
    make, why = FAILING[number]
    control = found(make())[number]

    assert control.status == NOT_SHOWN
    assert why in control.why
    assert not control.entries


@pytest.mark.parametrize("number", ["1.06.3", "2.04.1"])
def test_a_log_that_nobody_pinned_shows_no_record(number: str) -> None:
    assert found(sound(), trusted=False)[number].status == NOT_SHOWN


def test_every_check_is_tested_failing() -> None:
    assert {*FAILING, "1.06.3", "2.04.1"} == set(CHECKED)


def test_what_was_signed_before_the_period_shows_nothing_of_it() -> None:
    controls = found(sound(), from_ms=sound().now_ms + 1)

    assert controls["1.04.6"].status == NOT_SHOWN
    assert controls["1.06.2"].status == NOT_SHOWN


def asked(folder: Path, book: Book, *more: str) -> int:
    """The exit code of ``evidence ccss`` on a log."""
    log = written(folder / "log", published(book))
    days = ("--from", day(book), "--to", day(book))
    return main(["evidence", "ccss", str(log), "--level", "2", *days, *more])


def test_the_command_counts_every_control_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trust = trust_file(tmp_path, genesis=leaf_hash(sound().entries[0]).hex())
    code = asked(tmp_path, sound(), "--trust", str(trust), "--json")
    said = json.loads(capsys.readouterr().out)

    assert code == 0
    assert sum(said["counts"].values()) == len(said["controls"]) == len(CONTROLS)
    assert said["counts"]["shown"] == len(CHECKED)
    assert said["counts"]["people"] > said["counts"]["shown"]


def test_people_read_the_same_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(tmp_path, unapproved()) == 0
    said = capsys.readouterr().out

    assert "1 of 1 payments were signed without a person" in said
    assert f"Of {len(CONTROLS)} controls: " in said


def test_a_log_that_does_not_hold_is_no_evidence(tmp_path: Path) -> None:
    book = sound()
    log = written(tmp_path, {**published(book), "checkpoint": b"nonsense"})
    days = ["--from", day(book), "--to", day(book)]

    assert main(["evidence", "ccss", str(log), "--level", "2", *days]) == 1
