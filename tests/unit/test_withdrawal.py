"""One file has all that a log says of a request, and a short program of its own finds every change to it."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from policy.log.merkle import leaf_hash
from tests.simulation.world import DAY_MS, ORIGIN, Book, World
from tests.unit.test_audit import published, trust_file, written

PROGRAM = Path(__file__).parents[2] / "docs" / "verify_withdrawal.py"
WORLD = World()
Document = dict[str, Any]


@cache
def paid() -> tuple[Book, bytes]:
    """A log in which a payment was approved under a second policy, retried, signed and settled."""
    book = Book(WORLD)
    for nonce in range(3):
        book.pay(100, nonce=nonce)
    book.change("policy", WORLD.policy(name="second"))
    book.advance(DAY_MS)
    request = book.request(700, expires_ms=book.now_ms + 3 * DAY_MS)
    for operator in ("alice", "bob"):
        book.approve(request, operator, nonce=3)
    book.burn(book.reserve(request, nonce=3))
    job = book.reserve(request, nonce=3)
    book.sign(job)
    book.settle(job)
    book.pay(50, nonce=4)
    return book, request


def _trust(folder: Path, book: Book) -> Path:
    return trust_file(folder, genesis=leaf_hash(book.entries[0]).hex())


def exported(folder: Path, request: bytes, book: Book) -> int:
    """The exit code of the export of a request, into ``withdrawal.json`` of a folder."""
    written(folder, published(book))
    trust = str(_trust(folder.parent, book))
    out = str(folder / "withdrawal.json")
    return main(
        ["audit", "export", request.hex(), "--log", str(folder), "--trust", trust, "--out", out, "--json"]
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The exported file, and the trust file."""
    folder = tmp_path_factory.mktemp("out") / "log"
    book, request = paid()
    assert exported(folder, request, book) == 0
    return folder / "withdrawal.json", _trust(folder.parent, book)


def verified(document: Path, trust: Path) -> subprocess.CompletedProcess[str]:
    """A run of the program, in a Python that finds nothing of ours."""
    command = [sys.executable, "-I", str(PROGRAM), str(document), str(trust)]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)


def test_the_program_is_short_and_needs_nothing_of_ours() -> None:
    text = PROGRAM.read_text()

    assert len(text.splitlines()) < 200
    imported = {
        line.split()[1].split(".")[0] for line in text.splitlines() if line.startswith(("import ", "from "))
    }
    assert imported <= sys.stdlib_module_names | {"cryptography"}


def test_what_was_exported_is_verified_off_line(files: tuple[Path, Path]) -> None:
    run = verified(*files)

    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].startswith(f"{len(paid()[0].entries)} entries of {ORIGIN}, cosigned by node-1, ")
    assert any(": alice approves it, under policy " in line for line in lines)
    assert sum("the bytes pay what was asked for" in line for line in lines) == 2
    assert lines[-3].endswith("the signature is the key's")
    assert lines[-1] == "ok"


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all texts and numbers in a document."""
    if isinstance(value, dict):
        return [found for name, item in value.items() for found in leaves(item, (*path, name))]
    if isinstance(value, list):
        return [found for at, item in enumerate(value) for found in leaves(item, (*path, at))]
    return [path]


def changed(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    last = "1" if value[-1:] == "0" else "0"
    return f"{value[:-1]}{last}" if value else "0"


@pytest.fixture(scope="module")
def check() -> Callable[[Document, Document], list[str]]:
    """The program's own check, called in this process."""
    names: dict[str, Any] = {"__name__": "verify_withdrawal"}
    exec(compile(PROGRAM.read_text(), str(PROGRAM), "exec"), names)  # noqa: S102
    return lambda document, trust: list(names["check"](document, trust))


def test_every_change_to_an_entry_is_found(
    files: tuple[Path, Path], check: Callable[[Document, Document], list[str]]
) -> None:
    document, trust = (json.loads(path.read_text()) for path in files)
    said = check(document, trust)
    places = [path for path in leaves(document["entries"]) if path[1] in ("entry", "proof")]
    missed = []
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

    assert len(places) > 300
    assert said
    assert not missed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("origin", "log.example.com/other"),
        ("log_key", "11" * 32),
        ("genesis", "22" * 32),
        ("w", 5),
        ("cosigners", []),
    ],
)
def test_a_log_of_somebody_else_is_refused(
    files: tuple[Path, Path], check: Callable[[Document, Document], list[str]], name: str, value: Any
) -> None:
    document, trust = (json.loads(path.read_text()) for path in files)

    with pytest.raises((ValueError, KeyError)):
        check(document, {**trust, name: value})


@pytest.mark.parametrize("kind", ["request", "key", "approval"])
def test_signatures_need_what_they_are_checked_by(
    files: tuple[Path, Path], check: Callable[[Document, Document], list[str]], kind: str
) -> None:
    document, trust = (json.loads(path.read_text()) for path in files)
    left_out = [part for part in document["entries"] if part["kind"] != kind]
    if kind == "approval":  # that is the verdict's matter: the file then shows no approval
        assert not [line for line in check({**document, "entries": left_out}, trust) if "approves" in line]
        return
    with pytest.raises((ValueError, KeyError, TypeError)):
        check({**document, "entries": left_out}, trust)


def test_the_policy_of_an_approval_is_in_the_file(files: tuple[Path, Path]) -> None:
    document = json.loads(files[0].read_text())
    book, _ = paid()
    parts = {part["index"]: part for part in document["entries"]}
    approval = next(part for part in parts.values() if part["kind"] == "approval")

    assert parts[approval["policy_at"]]["entry"]["body"]["policy"]["name"] == "second"
    assert approval["roster_at"] == 0
    assert parts[0]["kind"] == "genesis"
    assert leaf_hash(book.entries[0]).hex() == json.loads(files[1].read_text())["genesis"]
    assert {receipt["receipt"]["verdict"]["outcome"] for receipt in document["receipts"]} == {"wait", "allow"}


def test_a_request_that_the_log_did_not_take_in_is_not_exported(tmp_path: Path) -> None:
    book = Book(WORLD)
    denied = book.request(100, wallet="cold")
    folder = tmp_path / "log"

    assert exported(folder, denied, book) == 1
    assert exported(folder, bytes(32), book) == 1
    assert not (folder / "withdrawal.json").exists()


def test_a_log_that_does_not_hold_is_not_exported(tmp_path: Path) -> None:
    book, request = paid()
    folder = tmp_path / "log"
    written(folder, {**published(book), "checkpoint": b"nonsense"})
    code = main(["audit", "export", request.hex(), "--log", str(folder), "--out", str(folder / "out.json")])

    assert code == 1
    assert not (folder / "out.json").exists()


# What it tells its reader.


def test_the_file_has_these_fields_and_no_others(files: tuple[Path, Path]) -> None:
    document = json.loads(files[0].read_text())

    assert document.keys() == {"format", "request", "checkpoint", "entries", "receipts"}
    known = {"index", "kind", "entry", "proof", "roster_at", "policy_at"}
    assert {name for part in document["entries"] for name in part} == known
    kinds = {part["kind"] for part in document["entries"]}
    assert kinds == {
        *("genesis", "key", "policy"),
        *("request", "approval", "reserve", "burn", "signature", "observation"),
    }


def test_the_file_has_nothing_of_another_request(files: tuple[Path, Path]) -> None:
    book, request = paid()
    text = files[0].read_text()
    others = set(book.state.requests) - {request}

    assert len(others) == 4
    for other in others:
        record = book.state.requests[other]
        assert other.hex() not in text
        assert record.request.idempotency_key not in text
        assert all(job.hex() not in text for job in record.jobs)
    assert request.hex() in text


def test_the_file_tells_the_people_the_policy_and_what_others_used(files: tuple[Path, Path]) -> None:
    """What docs/privacy.md warns of: a file without these could not be checked."""
    document = json.loads(files[0].read_text())
    genesis = document["entries"][0]["entry"]["body"]

    assert {"roster", "policy"} <= genesis.keys()
    (key,) = [part["entry"]["body"] for part in document["entries"] if part["kind"] == "key"]
    assert {"group_key", "chain_code"} <= key.keys()
    assert any("usage" in json.dumps(one) or "used" in json.dumps(one) for one in document["receipts"])
