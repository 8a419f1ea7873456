"""The audit of a log passes what is sound and names the first thing that is not."""

import json
import re
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cli.audit import verify
from policy.audit import AuditReport, Trust, audit, parse_trust
from policy.errors import MalformedError
from policy.ledger import fold, initial
from policy.limits_audit import LimitsAudit, sum_afresh
from policy.log.checkpoint import Note, parse_note
from policy.log.merkle import Frontier, leaf_hash
from policy.log.tiles import increment
from policy.roster import COORDINATOR
from policy.values import replace
from tests.simulation.cluster import cosign, cosigned, note_of
from tests.simulation.world import DAY_MS, LIMIT, ORIGIN, SANCTIONED, Book, World, public_key

WORLD = World()
QUORUM = ("node-1", "node-2", "witness-1")
Files = dict[str, bytes]


@cache
def busy() -> Book:
    """A log of more than a tile with payments on many days."""
    book = Book(WORLD)
    for nonce in range(80):
        book.pay(100 + nonce, nonce=nonce)
        if nonce % 8 == 0:
            book.burn(book.reserve(book.request(10, fee_ceiling=10), nonce=1000 + nonce))
            book.request(10, to=SANCTIONED)
        book.advance(DAY_MS // 3)
    book.change("policy", WORLD.policy(name="second"))
    book.append(b"an attacker's noise")
    book.advance(DAY_MS)
    book.pay(500, nonce=2000)
    assert len(book.entries) > 256
    return book


def published(book: Book, *, by: tuple[str, ...] = QUORUM) -> Files:
    """The files of a log."""
    note = note_of(book)
    files = dict(increment(lambda path: None, Frontier(), entries=book.entries))
    return {**files, "checkpoint": cosigned(note, *(cosign(name, note) for name in by))}


def checked(files: Files, trust: Trust | None = None) -> AuditReport:
    return audit(files.get, trust=trust, progress=lambda done, total: None)


def pinned(**changed: Any) -> Trust:
    fields = {
        "origin": ORIGIN,
        "log_key": public_key(COORDINATOR),
        "genesis": leaf_hash(busy().entries[0]),
        "cosigners": {name: public_key(name) for name in WORLD.cosigners},
        "w": 3,
        **changed,
    }
    return Trust(**fields)


def first_bad(report: AuditReport) -> tuple[int, str]:
    assert not report.ok
    assert report.first_bad is not None
    return report.first_bad


def small() -> Book:
    book = Book(WORLD)
    book.pay(100, nonce=0)
    return book


def test_a_sound_log_passes() -> None:
    book = busy()
    report = checked(published(book))

    assert report.ok, report.first_bad
    assert (report.size, report.cosigners, report.mismatches) == (len(book.entries), 3, 0)
    assert report.replayed_verdicts == sum(o.verdict is not None for o in book.outcomes) > 140
    assert report.inert == sum(not o.accepted for o in book.outcomes) > 7
    assert report.genesis_policy == book.outcomes[0].subject
    assert report.trust == "from_directory"


def test_a_sound_log_passes_under_the_keys_it_is_pinned_to() -> None:
    report = checked(published(busy()), pinned())

    assert report.ok, report.first_bad
    assert report.trust == "pinned"


@pytest.mark.parametrize("index", [0, 1, 17, 255, 256, len(busy().entries) - 1])
def test_an_edited_entry_is_named(index: int) -> None:
    files = published(busy())
    (path,) = [
        p for p in files if p.startswith("tile/entries/00") and files[p].find(busy().entries[index]) >= 0
    ]
    at = files[path].find(busy().entries[index]) + 20
    files[path] = files[path][:at] + bytes([files[path][at] ^ 1]) + files[path][at + 1 :]

    found, why = first_bad(checked(files))
    assert found == index
    assert "the entry was changed" in why


@pytest.mark.parametrize("index", [0, 200, 256])
def test_an_edited_tile_is_named(index: int) -> None:
    files = published(busy())
    path = "tile/0/000" if index < 256 else f"tile/0/001.p/{len(busy().entries) - 256}"
    at = 32 * (index % 256) + 5
    files[path] = files[path][:at] + bytes([files[path][at] ^ 1]) + files[path][at + 1 :]

    found, why = first_bad(checked(files))
    assert found == index
    assert "hash in its tile was changed" in why


def test_an_edited_upper_tile_is_named() -> None:
    files = published(busy())
    (path,) = [p for p in files if p.startswith("tile/1/")]
    files[path] = bytes(32)

    assert path in first_bad(checked(files))[1]


def test_a_truncated_log_is_named_where_it_ends() -> None:
    files = published(busy())
    (path,) = [p for p in files if p.startswith("tile/entries/001")]
    whole = files[path]
    files[path] = whole[: len(whole) // 2]
    found, why = first_bad(checked(files))
    assert 256 < found < len(busy().entries)
    assert "ends before this entry" in why

    del files[path]
    assert first_bad(checked(files)) == (256, f"{path} is missing")


def test_an_entry_put_in_place_of_another_is_named() -> None:
    book = small()
    files = published(book)
    other = small()
    other.entries[2], other.entries[3] = other.entries[3], other.entries[2]
    files[f"tile/entries/000.p/{len(book.entries)}"] = published(other)[
        f"tile/entries/000.p/{len(book.entries)}"
    ]

    assert first_bad(checked(files))[0] == 2


@pytest.mark.parametrize("path", ["checkpoint", "tile/0/000.p/5"])
def test_a_missing_file_is_named(path: str) -> None:
    files = published(small())
    del files[path]

    assert "checkpoint" in first_bad(checked(files))[1] or path in first_bad(checked(files))[1]


def test_a_checkpoint_of_another_branch_is_refused() -> None:
    book, other = small(), small()
    book.idle()
    other.order("veto", b"\x01" * 32)
    files = {**published(book), "checkpoint": published(other)["checkpoint"]}

    found, why = first_bad(checked(files))
    assert found == len(book.entries)
    assert "another log or branch" in why


@pytest.mark.parametrize("checkpoint", [b"", b"garbage", b"\xff" * 100])
def test_a_checkpoint_that_cannot_be_read_is_refused(checkpoint: bytes) -> None:
    assert "checkpoint" in first_bad(checked({**published(small()), "checkpoint": checkpoint}))[1]


@pytest.mark.parametrize("by", [(), ("node-1",), ("node-1", "node-2")])
def test_missing_cosignatures_are_refused(by: tuple[str, ...]) -> None:
    found, why = first_bad(checked(published(small(), by=by)))

    assert found == len(small().entries)
    assert f"need cosignatures of 3 of 4 cosigners, got {len(by)}" in why


def test_a_strangers_cosignature_does_not_count() -> None:
    assert "got 2" in first_bad(checked(published(small(), by=("node-1", "node-2", "eve"))))[1]


def test_a_checkpoint_not_signed_by_the_log_is_refused() -> None:
    files = published(small())
    note = parse_note(files["checkpoint"], 10**5)
    lines = tuple(line for line in note.signatures if line.name != ORIGIN)
    files["checkpoint"] = Note(note.body, lines).to_bytes()

    assert "no signature of log" in first_bad(checked(files))[1]


def test_a_state_that_the_entries_do_not_fold_to_is_refused() -> None:
    book = small()
    liar = book.fork()
    liar.state = replace(liar.state, digest=bytes(32))

    assert "another state" in first_bad(checked(published(liar)))[1]


OTHERS = {name: public_key(name + "x") for name in WORLD.cosigners}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (
            {"log_key": public_key("eve")},
            "signed it under another key than the one known here: another deploy",
        ),
        (
            {"cosigners": OTHERS},
            "got 0; node-1, node-2, witness-1 signed it under another key .*; no line of",
        ),
        (
            {"cosigners": {**pinned().cosigners, "node-1": OTHERS["node-1"]}},
            "got 2; node-1 signed it under an",
        ),
        ({"w": 4}, "need cosignatures of 4 of 4 cosigners, got 3; no line of node-3$"),
        ({"genesis": bytes(32)}, "another deployment's log, or another's trust file"),
        ({"origin": "log.example.com/other"}, f"is of {ORIGIN}, not of log.example.com/other"),
    ],
)
def test_what_does_not_fit_the_pinned_keys_is_named(changed: dict[str, Any], why: str) -> None:
    assert re.search(why, first_bad(checked(published(small()), pinned(**changed)))[1])


def test_a_checkpoint_of_one_deployment_over_the_files_of_another_is_named() -> None:
    mine, theirs = small(), Book(World(nodes=3), start=False)
    theirs.genesis(policy=WORLD.policy(name="another"))
    theirs.key()
    theirs.pay(100, nonce=0)
    files = {**published(theirs), "checkpoint": published(mine)["checkpoint"]}
    trust = pinned(genesis=leaf_hash(mine.entries[0]))

    assert len(mine.entries) == len(theirs.entries)
    assert "belongs to another log or branch" in first_bad(checked(files, trust))[1]
    assert "another deployment's log" in first_bad(checked(published(theirs), trust))[1]


@pytest.mark.parametrize(
    "changed",
    [
        {"origin": "log.example.com/other"},
        {"log_key": public_key("eve")},
        {"genesis": bytes(32)},
        {"cosigners": {name: public_key(name + "x") for name in WORLD.cosigners}},
        {"w": 4},
    ],
)
def test_a_log_that_is_not_the_pinned_one_is_refused(changed: dict[str, Any]) -> None:
    report = checked(published(small()), pinned(**changed))

    assert not report.ok
    assert report.first_bad is not None
    assert report.first_bad[0] == (0 if "genesis" in changed else report.size)


# What a log may hold, and what it may not.


def test_noise_and_denials_on_record_are_no_fault() -> None:
    book = small()
    for noise in (b"", b"{}", book.entries[0], book.entries[3][:-1]):
        book.append(noise)
    book.request(10, to=SANCTIONED)

    report = checked(published(book))

    assert report.ok, report.first_bad
    assert report.inert == 5


def test_a_modest_claim_that_differs_is_counted_and_no_fault() -> None:
    book = small()
    book.log_request(book.asked(10), claim={"outcome": "deny", "rule": "small"})

    report = checked(published(book))

    assert report.ok
    assert (report.mismatches, report.inert) == (1, 1)


def test_a_claim_of_consent_that_was_none_is_named() -> None:
    book = small()
    book.log_request(book.asked(10, to=SANCTIONED), claim={"outcome": "allow", "rule": "small"})
    book.log_reservation(
        book.reservation(book.request(10), nonce=0), claim={"outcome": "allow", "rule": "small"}
    )

    report = checked(published(book))

    assert report.mismatches == 2
    assert first_bad(report) == (5, "claims allow by small, the verdict is deny by sanctions")


def test_a_repeated_nonce_is_named_though_the_fold_ignores_it() -> None:
    book = Book(WORLD)
    first, second = (book.reserve(book.request(10), nonce=nonce) for nonce in (0, 1))
    book.sign(first, nonce=99)
    book.sign(first, nonce=99)
    assert checked(published(book)).ok
    book.sign(second, nonce=99)

    found, why = first_bad(checked(published(book)))
    assert found == len(book.entries) - 1
    assert "repeats a nonce" in why


def test_a_signature_of_a_burned_job_is_named_though_the_fold_ignores_it() -> None:
    book = Book(WORLD)
    job = book.reserve(book.request(10), nonce=0)
    book.burn(job)
    assert checked(published(book)).ok

    book.sign(job)

    assert not book.last.accepted
    assert "burned job" in first_bad(checked(published(book)))[1]


def test_a_log_without_an_effective_genesis_entry_is_refused() -> None:
    book = Book(WORLD, start=False)
    book.genesis(by=["ada"])

    assert first_bad(checked(published(book)))[0] == 0


def test_a_log_under_newer_rules_is_not_vouched_for() -> None:
    book = small()
    book.version(2, by=WORLD.cosigners)
    book.entries.append(b"under rules 2")
    book.frontier = book.frontier.append(leaf_hash(book.entries[-1]))
    files = published(book)

    found, why = first_bad(checked(files))
    assert found == len(book.entries) - 1
    assert "upgrade it" in why


def test_limits_added_up_anew_catch_what_the_fold_would_miss() -> None:
    book, limits = Book(WORLD), LimitsAudit()
    first = book.reserve(book.request(590), nonce=0)
    assert limits.reserved(book.state, first) == ""
    waiting = book.request(390, fee_ceiling=10)
    book.now_ms += 1
    second = book.reserve(waiting, nonce=1, fee=10)
    assert limits.reserved(book.state, second) == ""
    book.change("policy", WORLD.policy(limits=[]))
    book.advance(DAY_MS)
    third = book.reserve(book.request(100), nonce=2)
    strict = book.fork()
    strict.change("policy", WORLD.policy(name="strict"))
    strict.advance(DAY_MS)
    strict.idle()

    assert limits.reserved(book.state, third) == ""
    assert (
        LimitsAudit().reserved(strict.state, third) == f"limit daily: 1000 used and 110 more is above {LIMIT}"
    )


def test_limits_kept_from_entry_to_entry_are_what_adding_up_afresh_gives() -> None:
    state, kept, compared = initial(), LimitsAudit(), 0
    for number, entry in enumerate(busy().entries):
        state, outcome = fold(state, entry)
        if not outcome.accepted or outcome.kind not in ("reserve", "signature", "burn"):
            continue
        kept.changed(state, outcome.subject)
        places = {place for place in state.windows if place[0] in state.policy.windows_ms}
        for place in places if number % 7 == 0 else ():
            assert kept.sum_kept(place, time_ms=state.time_ms) == sum_afresh(state, place)
            compared += kept.sum_kept(place, time_ms=state.time_ms) > 0

    assert compared > 20


# The command.


def written(tmp_path: Path, files: Files) -> Path:
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    return tmp_path


def trust_file(tmp_path: Path, **changed: Any) -> Path:
    body = {
        "origin": ORIGIN,
        "log_key": public_key(COORDINATOR).hex(),
        "genesis": leaf_hash(small().entries[0]).hex(),
        "cosigners": [{"name": name, "key": public_key(name).hex()} for name in WORLD.cosigners],
        "w": 3,
        **changed,
    }
    path = tmp_path / "trust.json"
    path.write_text(json.dumps(body))
    return path


def test_the_command_says_ok_and_exits_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(tmp_path, published(small()))

    assert verify(str(folder), trust=None, json_output=False) == 0
    assert capsys.readouterr().out.startswith("ok: 5 entries")
    assert verify(str(folder), trust=trust_file(tmp_path), json_output=True) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["ok"], shown["size"], shown["first_bad"], shown["trust"]) == (True, 5, None, "pinned")


def test_the_command_names_what_is_bad_and_exits_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = published(small())
    files["tile/entries/000.p/5"] = files["tile/entries/000.p/5"].replace(b'"block"', b'"blocc"')
    files["tile/entries/000.p/5"] = files["tile/entries/000.p/5"].replace(b"payment 2", b"payment 3")
    folder = written(tmp_path, files)

    assert verify(str(folder), trust=None, json_output=True) == 1
    assert json.loads(capsys.readouterr().out)["first_bad"]["index"] == 2
    assert verify(str(folder), trust=None, json_output=False) == 1
    assert "first bad   entry 2: the entry was changed" in capsys.readouterr().out


def test_the_command_exits_2_when_it_cannot_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(str(tmp_path), trust=None, json_output=True) == 2
    folder = written(tmp_path, published(small()))
    for wrong in (tmp_path / "absent", trust_file(tmp_path, w=5)):
        assert verify(str(folder), trust=wrong, json_output=True) == 2
    for unread in (b"{", b"[" * 5_000):
        (tmp_path / "trust.json").write_bytes(unread)
        assert verify(str(folder), trust=tmp_path / "trust.json", json_output=True) == 2
    assert verify(str(folder), trust=None, since=[tmp_path], json_output=True) == 2
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["ok"], one["code"]) for one in said] == [(False, "Misuse")] * 6


@pytest.mark.parametrize("changed", [{"w": 0}, {"genesis": "00"}, {"extra": 1}, {"cosigners": []}])
def test_trust_is_read_strictly(tmp_path: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        parse_trust(json.loads(trust_file(tmp_path, **changed).read_text()))


def test_the_fold_is_fast_enough_for_a_log_of_years() -> None:
    entries = busy().entries
    started = time.process_time()
    assert checked(published(busy())).ok

    assert len(entries) / (time.process_time() - started) > 50  # a floor for busy machines, not a measurement
