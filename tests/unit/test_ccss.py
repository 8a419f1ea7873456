"""A control is shown by a check of the log, and each check has a log in which it fails."""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from policy.audit import audit
from policy.ccss import CONTROLS, LOG, NOT_SHOWN, PEOPLE, SHOWN, Control, Evidence
from policy.log.merkle import leaf_hash
from tests.simulation.world import DAY_MS, KEY, ORIGIN, Book, World
from tests.unit.test_audit import pinned, published, trust_file, written
from tests.unit.test_cli_movements import day
from tests.unit.test_withdrawal import changed, leaves

Document = dict[str, Any]
PROGRAM = Path(__file__).parents[2] / "docs" / "verify_evidence.py"
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


# The file that stands alone.


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The file, what its reader was told, and the page."""
    folder = tmp_path_factory.mktemp("evidence")
    trust = trust_file(folder, genesis=leaf_hash(sound().entries[0]).hex())
    out, page = folder / "evidence.json", folder / "evidence.html"
    assert asked(folder, sound(), "--trust", str(trust), "--out", str(out), "--html", str(page)) == 0
    return out, trust, page


def verified(document: Path, trust: Path) -> subprocess.CompletedProcess[str]:
    """A run of the program that whoever gets the file has."""
    command = [sys.executable, "-E", "-s", str(PROGRAM), str(document), str(trust)]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)


def test_every_entry_that_is_cited_is_proven_to_the_cosigned_checkpoint(
    files: tuple[Path, Path, Path],
) -> None:
    run = verified(*files[:2])
    said = run.stdout.splitlines()

    assert run.returncode == 0, run.stderr
    assert "cosigned by node-1, node-2, witness-1" in said[0]
    assert sum(line.split()[1:2] == ["shown"] for line in said) == len(CHECKED)
    assert said[-1] == "ok"


@pytest.fixture(scope="module")
def check() -> Iterator[Callable[[Document, Document], list[str]]]:
    """The program's own check, called in this process."""
    sys.path.insert(0, str(PROGRAM.parent))
    names = runpy.run_path(str(PROGRAM))
    yield lambda document, trust: list(names["check"](document, trust))
    sys.path.remove(str(PROGRAM.parent))


def test_every_change_to_an_entry_that_is_cited_is_found(
    files: tuple[Path, Path, Path], check: Callable[[Document, Document], list[str]]
) -> None:
    document, trust = (json.loads(path.read_text()) for path in files[:2])
    assert check(document, trust)
    missed = []
    places = [path for path in leaves(document["entries"]) if path[1] in ("entry", "proof", "index")]
    for path in places:
        spoiled = json.loads(json.dumps(document["entries"]))
        at = spoiled
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = changed(at[path[-1]])
        try:
            check({**document, "entries": spoiled}, trust)
        except (ValueError, KeyError, TypeError, IndexError):
            continue
        missed.append(path)

    assert len(places) > 200
    assert not missed


@pytest.mark.parametrize(
    ("control", "cited", "why"),
    [
        ("1.01.1", [0], "a genesis"),
        ("1.04.1", [10**6], "not in the file"),
        ("1.04.1", [], "by nothing"),
        ("2.02.1", [0], "by nothing"),
    ],
)
def test_a_control_is_not_shown_by_what_is_not_about_it(
    files: tuple[Path, Path, Path],
    check: Callable[[Document, Document], list[str]],
    control: str,
    cited: list[int],
    why: str,
) -> None:
    document, trust = (json.loads(path.read_text()) for path in files[:2])
    one = next(one for one in document["controls"] if one["control"] == control)
    one |= {"entries": cited, "status": "shown"}

    with pytest.raises(ValueError, match=why):
        check(document, trust)


@pytest.mark.parametrize(("field", "moved"), [("from", "2999-01-01"), ("to", "1999-01-01")])
def test_what_is_outside_of_the_period_shows_nothing_of_it(
    files: tuple[Path, Path, Path],
    check: Callable[[Document, Document], list[str]],
    field: str,
    moved: str,
) -> None:
    document, trust = (json.loads(path.read_text()) for path in files[:2])

    with pytest.raises(ValueError, match="the period"):
        check({**document, field: moved}, trust)


def test_the_program_needs_nothing_of_ours() -> None:
    lines = [line.split()[1] for line in PROGRAM.read_text().splitlines() if line[:5] in ("impor", "from ")]

    assert {name.partition(".")[0] for name in lines} <= sys.stdlib_module_names | {"verify_withdrawal"}


def test_the_page_needs_nothing_besides_itself_and_leaves_room_for_people(
    files: tuple[Path, Path, Path],
) -> None:
    text = files[2].read_text()

    assert not [word for word in ("<script", "src=", "href=", "@import", "url(") if word in text]
    assert all(number in text for number, _, _ in CONTROLS)
    people = sum(status == PEOPLE for _, _, status in CONTROLS)
    assert text.count('<td class="sign">') == people
    assert f"For people to look at: {people} of {len(CONTROLS)}" in text
    assert f"<code>{ORIGIN}</code>" in text


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
