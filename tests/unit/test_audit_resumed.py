"""An audit looks at signatures ahead, is stopped and goes on, and says the same as one that does neither."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from cli.audit import verify
from cli.audit_pool import Pool
from cli.audit_state import AuditState
from cli.main import main
from cli.policies.sample_files import sample_trust, write_sample
from cli.policies.sample_log import sample_entries
from policy.audit import AuditReport, Work, audit
from policy.audit_fold import Seen
from policy.entries import parse_entry
from policy.errors import MalformedError
from policy.ledger import fold, initial
from policy.prechecking import Found, Proof, Task, precheck
from policy.roster import parse_roster
from tests.simulation.world import DAY_MS, Book, World, public_key
from tests.unit.test_audit import Files, busy, first_bad, pinned, published, trust_file, written

WORLD = World()
SAMPLE_ENTRIES = 2_200


class Inline:
    """Looks at once, in this process; remembers what it found."""

    def __init__(self, look: Callable[[Task], Found] = lambda task: {}) -> None:
        self.found: dict[int, Proof] = {}
        self._look = look

    def submit(self, task: Task) -> Callable[[], Found]:
        found = self._look(task)
        self.found |= found
        return lambda: found


def looking() -> Inline:
    return Inline(lambda task: precheck(parse_roster(task.roster), task))


def checked(files: Files, work: Work) -> AuditReport:
    return audit(files.get, trust=None, progress=lambda done, total: None, work=replace(work, ahead_from=0))


def plain(files: Files) -> AuditReport:
    return audit(files.get, trust=None, progress=lambda done, total: None)


@cache
def forged() -> Book:
    """A log with signatures that are not what they say: by others, over other things, by keys of before."""
    book = busy().fork()
    book.log_request(book.asked(10), by="eve")
    job = book.reserve(book.request(20), nonce=3000)
    other = book.reserve(book.request(30), nonce=3001)
    signature = WORLD.signature(book.state.jobs[other])
    book.write("signature", {"job": job.hex(), "index": 0, "signature": signature.hex()})
    book.price(7, by=("eve", "olga"))
    roster: dict[str, Any] = dict(WORLD.roster())
    roster["initiators"] = [
        {**one, "key": public_key(f"{one['name']} anew").hex()} for one in roster["initiators"]
    ]
    book.change("roster", roster)
    book.advance(DAY_MS)
    book.idle()
    book.request(40)  # by the key of before
    return book


@cache
def said() -> AuditReport:
    """What an audit of it says that does nothing ahead and begins at the beginning."""
    return plain(published(forged()))


def test_signatures_checked_ahead_change_nothing_that_an_audit_says() -> None:
    files, checker = published(forged()), looking()
    report = checked(files, Work(checker))

    assert report == said()
    assert report.ok, report.first_bad
    kinds = {forged().outcomes[index].kind for index in checker.found}
    assert {"request", "signature"} <= kinds
    assert len(checker.found) > 150


def test_a_key_of_before_counts_no_more_though_its_signature_was_checked_ahead() -> None:
    """The last request is checked under the first roster, where its key still was the backend's."""
    checker = looking()
    report = checked(published(forged()), Work(checker))
    last = len(forged().entries) - 1

    assert last in checker.found
    assert not forged().outcomes[last].accepted
    assert report.inert == sum(not outcome.accepted for outcome in forged().outcomes)


@pytest.mark.parametrize("proof", [Proof(), Proof(bytes(32), bytes(33))])
def test_a_signature_checked_over_something_else_is_checked_again(proof: Proof) -> None:
    signatures = {i for i, one in enumerate(forged().outcomes) if one.kind == "signature"}
    wrong = Inline(lambda task: dict.fromkeys(signatures, proof))

    assert checked(published(forged()), Work(wrong)) == said()


def test_every_signature_of_a_log_of_payments_is_found_ahead() -> None:
    entries = list(islice(sample_entries(), 300))
    state, _ = fold(initial(), entries[0])
    task = Task(state.origin, state.roster_document, state.roster_hash, 0, entries)
    kinds = [parse_entry(entry).kind for entry in entries]
    found = precheck(state.roster, task)
    left = {kind for index, kind in enumerate(kinds) if index not in found}

    assert left == {"genesis", "key", "reserve"}
    assert {"request", "approval", "price", "signature", "observation"} == set(kinds) - left


# Stopped and resumed.


class Killed(Exception):
    """Ends an audit in the middle."""


def stopped_at(files: Files, size: int) -> Seen:
    """How far an audit had come that was stopped once it had seen ``size`` entries."""
    seen: list[Seen] = []

    def keep(found: Seen) -> None:
        seen.append(found)
        if found.size >= size:
            raise Killed

    with pytest.raises(Killed):
        checked(files, Work(keep=keep, keep_every=16))
    return seen[-1]


def test_an_audit_that_was_stopped_goes_on_and_says_the_same() -> None:
    files = published(forged())
    for size in (16, 256):
        seen = stopped_at(files, size)
        kept: list[Seen] = []
        resumed = checked(files, Work(seen=seen, keep=kept.append, keep_every=16))

        assert resumed == said()
        assert kept[0].size == size + 16


def test_what_was_seen_before_is_believed_for_signatures_alone() -> None:
    """Entries whose signatures were seen as good are not verified again, and all the rest of them is."""
    book = forged()
    seen = stopped_at(published(book), 288)
    believed = checked(published(book), Work(seen=seen._replace(inert=frozenset())))

    assert "not those of the last run" in first_bad(believed)[1]


def test_a_log_that_is_not_the_one_seen_before_is_named() -> None:
    seen = stopped_at(published(busy()), 64)
    other, short = Book(WORLD), Book(WORLD)
    other.request(11)
    for nonce in range(21):
        other.pay(100 + nonce, nonce=nonce)
        other.advance(DAY_MS)
    short.pay(100, nonce=0)

    index, why = first_bad(checked(published(other), Work(seen=seen)))
    assert (index, why) == (63, "the first 64 entries are not those of the last run: keep both logs")
    assert "the last run 64: it was cut back" in first_bad(checked(published(short), Work(seen=seen)))[1]


# The file.

SEEN = Seen(2048, b"r" * 32, b"d" * 32, frozenset({7, 2000}))


def test_what_was_seen_is_read_back_as_it_was_kept(tmp_path: Path) -> None:
    kept = AuditState(tmp_path / "state", trust=None, key=tmp_path / "key")
    assert kept.load().size == 0
    kept.keep(SEEN)

    assert AuditState(tmp_path / "state", trust=None, key=tmp_path / "key").load() == SEEN
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("state", "key")] == [0o600, 0o600]


def test_a_state_that_is_not_this_audits_is_refused_by_name(tmp_path: Path) -> None:
    path, key = tmp_path / "state", tmp_path / "key"
    AuditState(path, trust=None, key=key).keep(SEEN)
    with pytest.raises(MalformedError, match="another trust file"):
        AuditState(path, trust=pinned(), key=key).load()
    with pytest.raises(MalformedError, match="not this user's on this machine"):
        AuditState(path, trust=None, key=tmp_path / "other").load()
    path.write_bytes(path.read_bytes().replace(b"2048", b"4096"))
    with pytest.raises(MalformedError, match="was altered"):
        AuditState(path, trust=None, key=key).load()
    path.write_bytes(b"")
    with pytest.raises(MalformedError, match="was altered"):
        AuditState(path, trust=None, key=key).load()


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(32))
    (tmp_path / "key").chmod(0o644)

    with pytest.raises(MalformedError, match="can be read by others"):
        AuditState(tmp_path / "state", trust=None, key=tmp_path / "key")


def test_the_command_refuses_an_altered_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    folder = written(tmp_path / "log", published(busy()))
    (tmp_path / "state").write_text("{}\n00\n")
    done = verify(
        str(folder), trust=trust_file(tmp_path), state=tmp_path / "state", processes=1, json_output=True
    )

    assert done == 2
    assert "was altered" in capsys.readouterr().err


def test_a_killed_audit_of_a_long_log_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    log, state, trust = tmp_path / "log", tmp_path / "state", tmp_path / "trust.json"
    write_sample(log, SAMPLE_ENTRIES)
    trust.write_text(json.dumps(sample_trust()))
    _kill_once_it_has_kept(state, [str(log), "--trust", str(trust), "--state", str(state)])

    assert verify(str(log), trust=trust, state=state, processes=1, json_output=True) == 0
    resumed = json.loads(capsys.readouterr().out)
    assert verify(str(log), trust=trust, processes=1, json_output=True) == 0
    assert resumed == json.loads(capsys.readouterr().out)
    assert (resumed["size"], resumed["trust"]) == (SAMPLE_ENTRIES, "pinned")


def _kill_once_it_has_kept(state: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "cli.main", "audit", "verify", *arguments, "--processes", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=dict(os.environ))
    deadline = time.monotonic() + 60
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert state.exists()


def test_a_pool_looks_at_signatures_in_other_processes_and_has_found_nothing_when_work_fails() -> None:
    book = busy()
    task = Task(
        book.state.origin, book.state.roster_document, book.state.roster_hash, 0, tuple(book.entries[:40])
    )
    with Pool(1) as pool:
        found = pool.submit(task)()
        assert found == precheck(parse_roster(book.state.roster_document), task)
        assert len(found) > 20
        assert pool.submit(task._replace(roster={"nobody": []}))() == {}
        assert pool.submit(task._replace(entries=[None]))() == {}  # type: ignore[list-item]
        assert pool.submit(task)() == found
    assert pool.submit(task)() == {}


def test_the_bench_command_audits_a_log_of_the_length_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "bench",
        "audit",
        "--entries",
        "300",
        "--processes",
        "1",
        "--folder",
        str(tmp_path),
        "--json",
    ]

    assert main(arguments) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["entries"], shown["processes"]) == (300, 1)
    assert shown["cpu_s"] > 0
    assert (tmp_path / "300" / "checkpoint").exists()
