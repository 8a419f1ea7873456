"""A new policy's backtest goes with its draft, is made again before a signature, and says when it is old."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.admin.change_file import Change, parse_change, read_change
from cli.main import invoke
from cli.policies.summaries import FLIPS_MAX, TIME_MS_MAX, LogBacktest, read_summary
from cli.results import Result
from policy.audit import audit
from policy.document import parse_policy
from policy.encoding import canonical
from policy.errors import MalformedError, OperationalError
from tests.simulation.world import DAY_MS, STRANGER, Book, World
from tests.unit.custody_cluster import ETHER, make_request
from tests.unit.test_audit import published, trust_file, written
from tests.unit.test_cli_admin import change, person
from tests.unit.test_cli_admin_drafts import Desk, desk
from tests.unit.test_custody_enacting import stricter
from tests.waiting import until

__all__ = ["desk"]
WORLD = World()
NONE = {"name": "none", "when": {"destinations": ["customers"]}, "then": {"outcome": "deny"}}
ANYBODY = {"name": "anybody", "when": {}, "then": {"outcome": "allow"}}


def text(result: Result) -> str:
    """What a person reads, tables included."""
    return "\n".join(map(str, result.text))


def book_of(payments: int = 2) -> Book:
    """A log with payments, and one that was denied."""
    book = Book(WORLD)
    for nonce in range(payments):
        book.pay(100, nonce=nonce)
    book.request(70, to=STRANGER)
    return book


def summary_of(book: Book, policy: Any, *, policy_hash: str) -> dict[str, Any]:
    test = LogBacktest(parse_policy(policy), policy_hash)
    report = audit(published(book).get, trust=None, progress=lambda done, total: None, watch=test)
    assert report.ok, report.first_bad
    assert test.summary()["root"] == report.root.hex()
    return test.summary()


def with_backtest(book: Book, **changed: Any) -> Change:
    """A change of the world's first policy, with its backtest on a log."""
    made = change("policy", name="second", **(changed or {"rules": [NONE]}))
    return made.with_backtest(summary_of(book, made.document, policy_hash=made.document_hash))


def log_at(folder: Path, book: Book) -> str:
    """The folder of a log's published files, in place of what is there."""
    shutil.rmtree(folder / "log", ignore_errors=True)
    return str(written(folder / "log", published(book)))


def file_of(folder: Path, made: Change) -> str:
    made.write(folder / "change.json")
    return str(folder / "change.json")


# In the file.


def test_a_change_keeps_its_backtest_and_nobody_signs_it(tmp_path: Path) -> None:
    made = with_backtest(book_of())
    bare = change("policy", name="second", rules=[NONE])
    home = str(person(tmp_path, "ada"))
    invoke("admin", "sign", file_of(tmp_path, made), "--as", home, "--fingerprint", bare.fingerprint)
    signed = read_change(tmp_path / "change.json")

    assert signed.backtest == made.backtest
    assert signed.fingerprint == bare.fingerprint
    assert [*signed.signatures] == ["ada"]
    assert "backtest" not in signed.proof()


def test_flips_both_ways_are_in_it_with_their_amounts() -> None:
    found = with_backtest(book_of(), rules=[NONE, ANYBODY]).backtest

    assert found["totals"]["stricter"]["reserve"] == {"requests": 2, "amounts": {"eth": "200"}}
    assert found["totals"]["looser"]["request"] == {"requests": 1, "amounts": {"eth": "70"}}
    assert found["flipped"] == len(found["flips"]) == 5
    assert found["judged"] == {"request": 3, "reserve": 2}


def test_it_shows_some_flips_and_counts_all(tmp_path: Path) -> None:
    book = Book(WORLD)
    for _ in range(FLIPS_MAX + 5):
        book.request(10)
    made = with_backtest(book)
    shown = invoke("admin", "show", file_of(tmp_path, made))

    assert (len(made.backtest["flips"]), made.backtest["flipped"]) == (FLIPS_MAX, FLIPS_MAX + 5)
    assert "and 5 more: quorumkeep policy backtest --json has all" in text(shown)


def test_a_reason_with_signs_that_are_not_seen_is_not_shown() -> None:
    found = with_backtest(book_of()).backtest

    assert read_summary(found) == found
    with pytest.raises(MalformedError, match="visible characters"):
        read_summary({**found, "flips": [{**found["flips"][0], "why": "\x1b[2J"}]})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda b: b | {"policy": "00" * 32},
        lambda b: b | {"more": 1},
        lambda b: b | {"flips": [b["flips"][0]] * (FLIPS_MAX + 1)},
        lambda b: b | {"by_rule": [{**b["by_rule"][0], "real": "allow"}]},
        lambda b: b | {"judged": {"strange": 1}},
        lambda b: b | {"totals": {"stricter": b["totals"]["stricter"]}},
        lambda b: b | {"size": -1},
        lambda b: b | {"time_ms": TIME_MS_MAX + 1},
        lambda b: "all well",
    ],
)
def test_a_backtest_that_is_none_or_of_another_policy_is_refused(spoil: Callable[[Any], Any]) -> None:
    made = with_backtest(book_of())
    document: dict[str, Any] = {"kind": "policy", "body": made.body, "signatures": []}
    parse_change(canonical(document | {"backtest": made.backtest}))

    with pytest.raises(MalformedError):
        parse_change(canonical(document | {"backtest": spoil(made.backtest)}))


def test_only_a_policy_has_one() -> None:
    with pytest.raises(MalformedError, match="of another policy"):
        change("veto").with_backtest(with_backtest(book_of()).backtest)


# Before a signature.


def test_without_a_log_it_is_shown_as_the_word_of_who_drew_it_up(tmp_path: Path) -> None:
    book = book_of()
    shown = invoke("admin", "show", file_of(tmp_path, with_backtest(book)))

    assert f"Backtest on the log's first {len(book.entries)} entries" in text(shown)
    assert "stricter: refused or asked more of 2 at the reserve, together 0.0000000000000002 eth" in text(
        shown
    )
    assert "2 at the reserve: allow by small -> deny by none" in text(shown)
    assert "the word of who drew it up" in text(shown)
    assert shown.document["backtest"]["again"] is None
    assert shown.document["backtest"]["stale"] == []


def test_a_change_without_one_says_so(tmp_path: Path) -> None:
    shown = invoke("admin", "show", file_of(tmp_path, change("policy", name="second")))

    assert "No backtest is attached" in text(shown)
    assert shown.document["backtest"] == {"attached": None, "again": None, "stale": []}
    assert "backtest" not in invoke("admin", "show", file_of(tmp_path, change("veto"))).document


def test_on_the_same_log_it_is_found_to_be_the_same(tmp_path: Path) -> None:
    book = book_of()
    made, trust = with_backtest(book), str(trust_file(tmp_path))
    shown = invoke(
        "admin", "show", file_of(tmp_path, made), "--log", log_at(tmp_path, book), "--trust", trust
    )

    assert "made again here, and is the same as attached" in text(shown)
    assert shown.document["backtest"] == {"attached": made.backtest, "again": made.backtest, "stale": []}


def test_a_log_that_has_grown_makes_it_stale_and_what_it_is_now_is_shown(tmp_path: Path) -> None:
    book = book_of()
    made = with_backtest(book)
    book.pay(100, nonce=2)
    shown = invoke("admin", "show", file_of(tmp_path, made), "--log", log_at(tmp_path, book))
    found = shown.document["backtest"]

    assert "Stale: the log has 3 entries more than when it was attached." in text(shown)
    assert "more of 3 at the reserve" in text(shown)
    assert (found["attached"]["flipped"], found["again"]["flipped"]) == (4, 6)


def test_another_policy_in_force_makes_it_stale(tmp_path: Path) -> None:
    book = book_of()
    made = with_backtest(book)
    book.change("policy", WORLD.policy(name="third"))
    book.advance(DAY_MS)
    book.idle()
    again = invoke("admin", "show", file_of(tmp_path, made), "--log", log_at(tmp_path, book))
    late = change("policy", name="second", rules=[NONE])
    late = late.with_backtest(summary_of(book, late.document, policy_hash=late.document_hash))
    alone = invoke("admin", "show", file_of(tmp_path, late))

    for shown in (again, alone):
        assert f"while the policy {book.state.policy_hash.hex()} is in force" in text(shown)
        assert any("draw it up anew" in reason for reason in shown.document["backtest"]["stale"])


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda found, book: found | {"flipped": 0, "flips": []}, "ask who drew the change up"),
        (lambda found, book: found | {"root": "00" * 32}, "on another log"),
        (lambda found, book: found | {"size": len(book.entries) + 1}, "get a newer copy"),
    ],
)
def test_a_backtest_that_the_log_does_not_give_is_not_signed(
    tmp_path: Path, spoil: Callable[[Any, Book], Any], why: str
) -> None:
    book = book_of()
    honest = with_backtest(book)
    path = file_of(tmp_path, honest.with_backtest(spoil(honest.backtest, book)))
    home = str(person(tmp_path, "ada"))
    given = ("--as", home, "--fingerprint", honest.fingerprint, "--log", log_at(tmp_path, book))

    with pytest.raises(OperationalError, match=why):
        invoke("admin", "sign", path, *given)
    assert read_change(Path(path)).signatures == {}
    invoke("admin", "sign", file_of(tmp_path, honest), *given)
    assert [*read_change(Path(path)).signatures] == ["ada"]


def test_a_log_that_does_not_hold_is_no_ground_to_sign_on(tmp_path: Path) -> None:
    book = book_of()
    folder = str(written(tmp_path / "log", published(book, by=("node-1",))))
    home = str(person(tmp_path, "ada"))
    made = with_backtest(book)

    with pytest.raises(OperationalError, match=r"does not hold.*need cosignatures"):
        invoke(
            *("admin", "sign", file_of(tmp_path, made), "--as", home, "--log", folder),
            *("--fingerprint", made.fingerprint),
        )


def test_a_signer_reads_it_before_the_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, home = with_backtest(book_of()), str(person(tmp_path, "ada"))
    signed = invoke("admin", "sign", file_of(tmp_path, made), "--as", home, "--fingerprint", made.fingerprint)

    said = capsys.readouterr().err
    assert said.index("2 at the reserve: allow by small -> deny by none") < said.index("fingerprint ")
    assert signed.document["backtest"]["attached"] == made.backtest


def test_signatures_of_copies_come_together_around_one_backtest(tmp_path: Path) -> None:
    made = with_backtest(book_of())
    copy = tmp_path / "copy.json"
    change("policy", name="second", rules=[NONE]).write(copy)
    told = ("--fingerprint", made.fingerprint)
    invoke("admin", "sign", str(copy), "--as", str(person(tmp_path, "adam")), *told)
    merged = invoke("admin", "merge", file_of(tmp_path, made), str(copy))

    assert merged.document["signed_by"] == ["adam"]
    assert merged.document["backtest"]["attached"] == made.backtest
    assert read_change(tmp_path / "change.json").backtest == made.backtest


# At a running coordinator.


async def asked(desk: Desk, name: str, amount: int) -> None:
    """A request in the log, that no person has to approve."""
    _, body, signature = make_request(name, amount=amount, now_ms=desk.clock())
    await desk.running.service.submit(body, signature)
    await until(lambda: len(desk.running.parts.sequencer.state.requests) == 1)


async def test_a_draft_has_the_backtest_on_the_coordinators_log(desk: Desk) -> None:
    await asked(desk, "one", ETHER // 2)
    path = await desk.draft_policy(stricter())
    found = read_change(path).backtest
    state = desk.running.parts.sequencer.state
    told = ("--fingerprint", read_change(path).fingerprint)
    signed = await desk.run("sign", str(path), "--ask", *told)
    again = signed.document["backtest"]["again"]

    assert found["totals"]["stricter"]["request"] == {"requests": 1, "amounts": {"eth": str(ETHER // 2)}}
    assert found["in_force"] == state.policy_hash.hex()
    assert again["totals"] == found["totals"] and again["size"] >= found["size"]
    assert "1 at the request: allow by small -> wait by large" in text(
        await asyncio.to_thread(invoke, "admin", "show", str(path))
    )


async def test_a_draft_can_be_drawn_up_without_one(desk: Desk) -> None:
    file = desk.folder / "policy.json"
    file.write_text(json.dumps(stricter()))
    out = desk.folder / "bare.json"
    drafted = await desk.run("draft", "policy", "--document", str(file), "--no-backtest", "--out", str(out))

    assert read_change(out).backtest == {}
    assert "No backtest is attached" in text(drafted)
