"""Who kept an older checkpoint sees when a log does not go on from it; logs are read from URLs, too."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.audit import verify
from policy.audit import AuditReport, audit
from policy.log.checkpoint import Note, parse_note
from tests.simulation.cluster import cosign, cosigned, note_of
from tests.simulation.world import Book, World
from tests.unit.test_audit import Files, first_bad, published, written

WORLD = World()


def grown() -> tuple[Book, Book]:
    """A log, and the same log three payments later."""
    book = Book(WORLD)
    book.pay(100, nonce=0)
    later = book.fork()
    for nonce in (1, 2, 3):
        later.pay(100, nonce=nonce)
    return book, later


def checked(files: Files, *older: bytes) -> AuditReport:
    return audit(files.get, trust=None, progress=lambda done, total: None, older=older)


def test_a_log_that_goes_on_from_the_checkpoints_that_were_kept_says_so() -> None:
    book, later = grown()
    report = checked(published(later), note_of(book), note_of(later))

    assert report.ok
    assert report.extends == (len(book.entries), len(later.entries))
    assert checked(published(later)).extends == ()


def test_a_log_with_another_entry_before_the_older_checkpoint_was_forked() -> None:
    book, _ = grown()
    other = Book(WORLD)
    other.pay(101, nonce=0)
    other.pay(100, nonce=1)
    report = checked(published(other), note_of(book))

    index, why = first_bad(report)
    assert index == len(book.entries) - 1
    assert "the log was forked" in why


def test_an_older_checkpoint_that_the_log_did_not_sign_is_no_evidence_of_a_fork() -> None:
    book, later = grown()
    note = parse_note(note_of(book), 10**5)
    root = note.body.split(b"\n")[2]
    altered = Note(note.body.replace(root, base64.b64encode(bytes(32))), note.signatures).to_bytes()

    index, why = first_bad(checked(published(later), altered))
    assert index == len(book.entries) - 1
    assert "is not signed by this log" in why
    assert "forked" not in why


def test_a_cosigner_of_two_logs_that_contradict_one_another_is_named() -> None:
    book, _ = grown()
    other = Book(WORLD)
    other.pay(101, nonce=0)
    other.pay(100, nonce=1)
    kept = cosigned(note_of(book), cosign("node-1", note_of(book)), cosign("eve", note_of(book)))
    lied = cosigned(note_of(book), cosign("node-1", note_of(book)), cosign("witness-1", note_of(book)))

    assert first_bad(checked(published(other, by=("node-1", "node-2", "node-3")), kept))[1].endswith(
        "; node-1 cosigned both"
    )
    assert first_bad(checked(published(other), lied))[1].endswith("; node-1, witness-1 cosigned both")
    assert "cosigned both" not in first_bad(checked(published(other), note_of(book)))[1]


def test_a_cosignature_that_does_not_verify_is_named_by_its_cosigner() -> None:
    book, later = grown()
    files = published(later)
    note = parse_note(files["checkpoint"], 10**5)
    borrowed = cosign("witness-1", note_of(book))
    files["checkpoint"] = note.with_signatures(borrowed).to_bytes()

    assert "the signature of cosigner 'witness-1' does not verify" in first_bad(checked(files))[1]


def test_a_log_that_was_cut_back_is_not_taken_for_a_young_one() -> None:
    book, later = grown()

    assert "cut back" in first_bad(checked(published(book), note_of(later)))[1]


@pytest.mark.parametrize("note", [b"", b"nonsense", b"other.example.com\n0\nAAAA\n"])
def test_what_is_no_checkpoint_of_this_log_is_named(note: bytes) -> None:
    book, _ = grown()

    assert "older checkpoint" in first_bad(checked(published(book), note))[1]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The URL of a folder, for as long as it is asked for."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_log_is_read_from_a_url(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book, later = grown()
    kept = tmp_path / "kept"
    kept.write_bytes(note_of(book))
    with served(written(tmp_path / "log", published(later))) as url:
        assert verify(url, trust=None, since=[kept], json_output=True) == 0
        assert json.loads(capsys.readouterr().out)["extends"] == [len(book.entries)]
        (tmp_path / "log" / "tile" / "0" / f"000.p/{len(later.entries)}").unlink()
        assert verify(url, trust=None, json_output=True) == 1
        assert "is missing" in json.loads(capsys.readouterr().out)["first_bad"]["why"]
    assert verify(url, trust=None, json_output=True) == 2
    assert "refused" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://log.example.com/treasury", "ftp://127.0.0.1/log", "file:///etc"])
def test_a_log_is_read_over_tls_or_from_this_machine(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(url, trust=None, json_output=True) == 2
    assert "https" in capsys.readouterr().err
