"""A witness of an auditor cosigns what extends all it cosigned before, and says why not."""

import hashlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from cli.witness.keeper import Keeper, make
from cli.witness.server import WitnessServer
from policy.errors import MalformedError, OperationalError
from policy.log.checkpoint import (
    TYPE_ED25519,
    Checkpoint,
    Note,
    encode_vkey,
    log_signature,
    log_signature_message,
    parse_note,
    parse_vkey,
    verify_cosignatures,
)
from policy.log.merkle import EMPTY_ROOT, Frontier, leaf_hash, leaf_reader, prove_consistency
from policy.log.tiles import increment
from policy.log.witnessing import Submission, ask, lines_of, parse_submission, read_head
from policy.roster import COORDINATOR
from tests.simulation.world import ORIGIN, identity_key, public_key

NAME = "auditor.example.com/watch"
VECTOR = json.loads((Path(__file__).parents[1] / "vectors" / "tlog_witness.json").read_text())
ORIGIN_HASH = hashlib.sha256(ORIGIN.encode()).hexdigest()


def entries(size: int, *, branch: str = "") -> list[bytes]:
    """The entries of a log, or of a branch of it from the fourth on."""
    return [f"entry {number}{branch if number > 2 else ''}".encode() for number in range(size)]


def note(
    size: int, *, branch: str = "", root: bytes = b"", by: str = COORDINATOR, origin: str = ORIGIN
) -> Note:
    frontier = Frontier()
    for entry in entries(size, branch=branch):
        frontier = frontier.append(leaf_hash(entry))
    body = Checkpoint(origin, size, root or frontier.root(), bytes(32)).body()
    signature = identity_key(by).sign(log_signature_message(body))
    return Note(body, (log_signature(origin, public_key(by), signature=signature),))


def call(size: int, old: int, *, branch: str = "", **changed: str | bytes) -> Submission:
    leaves = [leaf_hash(entry) for entry in entries(size, branch=branch)]
    signed = note(size, branch=branch, **changed)  # type: ignore[arg-type]
    proof = prove_consistency(leaf_reader(leaves), old, new_size=size) if old <= size else ()
    return Submission(old, proof, signed, *read_head(signed.body))


@contextmanager
def running(folder: Path, **bounds: Any) -> Iterator[tuple[str, Keeper]]:
    if not (folder / "witness.pem").exists():
        make(folder, NAME)
    keeper = Keeper(folder, {ORIGIN: public_key(COORDINATOR)})
    with WitnessServer(("127.0.0.1", 0), keeper, **bounds) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", keeper
        finally:
            server.shutdown()
            thread.join()
            keeper.close()


def post(url: str, data: bytes) -> tuple[int, str, bytes]:
    """Status, content type and body of the answer."""
    request = urllib.request.Request(f"{url}/add-checkpoint", data=data)  # noqa: S310 - a server of this test
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read()


@cache
def first() -> bytes:
    return call(3, 0).to_bytes()


def test_the_specifications_example_is_read_and_written_alike() -> None:
    found = parse_submission(VECTOR["body"].encode())

    assert (found.old_size, found.origin, found.head.size) == (
        VECTOR["old"],
        VECTOR["origin"],
        VECTOR["size"],
    )
    assert (len(found.proof), len(found.note.signatures)) == (VECTOR["proof"], VECTOR["signatures"])
    assert found.to_bytes() == VECTOR["body"].encode()


def test_what_extends_all_before_is_cosigned(tmp_path: Path) -> None:
    with running(tmp_path / "watch") as (url, keeper):
        for found in (call(3, 0), call(3, 3), call(10, 3), call(700, 10)):
            status, _, answer = post(url, found.to_bytes())

            assert status == 200
            (line,) = lines_of(answer, found.note, keys={NAME: keeper.public_key})
            assert verify_cosignatures(found.note.with_signatures(line), {NAME: keeper.public_key})[NAME] > 0


def test_a_log_on_another_branch_is_not_cosigned(tmp_path: Path) -> None:
    with running(tmp_path / "watch") as (url, keeper):
        assert post(url, call(10, 0).to_bytes())[0] == 200
        forked = call(20, 10, branch=" of another")

        assert post(url, forked.to_bytes())[0] == 422
        assert post(url, call(10, 10, branch=" of another").to_bytes())[0] == 422
        assert parse_note(keeper.last(ORIGIN_HASH) or b"", 9999).body == note(10).body


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (call(5, 3, by="eve"), 403),
        (replace(call(5, 3), note=Note(note(5).body, note(6).signatures)), 403),
        (call(5, 3, origin="log.example.com/other"), 404),
        (call(2, 3), 400),
        (call(5, 2), 409),
        (call(5, 0), 409),
        (replace(call(5, 3), proof=()), 422),
        (replace(call(5, 3), proof=(*call(5, 3).proof, bytes(32))), 422),
        (replace(call(5, 3), proof=tuple(bytes(32) for _ in call(5, 3).proof)), 422),
        (call(3, 3, root=bytes(32)), 422),
        (replace(call(3, 3), proof=(bytes(32),)), 422),
    ],
)
def test_what_is_wrong_is_answered_in_the_words_of_the_protocol(
    tmp_path: Path, sent: Submission, status: int
) -> None:
    with running(tmp_path / "watch") as (url, keeper):
        assert post(url, first())[0] == 200
        found, kind, body = post(url, sent.to_bytes())

        assert found == status
        if status == 409:
            assert (kind, body) == ("text/x.tlog.size", b"3\n")
        assert parse_note(keeper.last(ORIGIN_HASH) or b"", 9999).body == note(3).body


def test_an_empty_log_has_the_root_of_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "watch") as (url, _):
        body = note(1).body.replace(b"\n1\n", b"\n0\n")
        signature = identity_key(COORDINATOR).sign(log_signature_message(body))
        signed = Note(body, (log_signature(ORIGIN, public_key(COORDINATOR), signature=signature),))

        assert post(url, Submission(0, (), signed, *read_head(body)).to_bytes())[0] == 422
        assert post(url, call(0, 0, root=EMPTY_ROOT).to_bytes())[0] == 200


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"old 3\n",
        b"old 03\n\n" + note(5).to_bytes(),
        b"old -1\n\n" + note(5).to_bytes(),
        b"new 3\n\n" + note(5).to_bytes(),
        b"old 3\nAAAA\n\n" + note(5).to_bytes(),
        b"old 3\n!\n\n" + note(5).to_bytes(),
        b"old 3\n" + 64 * (b"A" * 43 + b"=\n") + b"\n" + note(5).to_bytes(),
        b"old 3\n\n" + note(5).to_bytes()[:-3],
        b"old 3\n\n" + note(5).body.replace(b"5", b"5\x00") + b"\n",
        b"old 3\n\n\xff\xfe\n\n\xe2\x80\x94 a b\n",
    ],
)
def test_what_is_no_call_is_refused_and_the_witness_goes_on(tmp_path: Path, data: bytes) -> None:
    with running(tmp_path / "watch") as (url, _):
        assert post(url, data)[0] == 400
        assert post(url, first())[0] == 200


def test_a_call_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    with running(tmp_path / "watch") as (url, _):
        assert post(url, b"old 3\n" + bytes(70_000))[0] == 413
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10) as caller:
            head = b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: " + b"9" * 5000
            caller.sendall(head + b"\r\n\r\n")
            assert caller.recv(100).startswith(b"HTTP/1.1 413")


def test_connections_beyond_the_bound_are_closed_and_free_again_when_others_end(tmp_path: Path) -> None:
    with running(tmp_path / "watch", connections_max=2, connection_s=0.3) as (url, _):
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        slow = [socket.create_connection(address, timeout=5) for _ in range(3)]
        for one in slow:
            one.sendall(b"POST /add-checkpoint HTTP/1.1\r\n")

        with suppress(ConnectionResetError):
            assert slow[2].recv(1) == b""
        began = time.monotonic()
        assert [one.recv(1) for one in slow[:2]] == [b"", b""]  # ended, however much they go on to say
        assert time.monotonic() - began < 3
        for one in slow:
            one.close()
        while post_or_nothing(url) != 200:
            assert time.monotonic() - began < 5
            time.sleep(0.01)


def post_or_nothing(url: str) -> int:
    """The status of a first call; 0 when its connection was closed."""
    try:
        return post(url, first())[0]
    except OSError:
        return 0


# What is kept.


def test_what_was_cosigned_is_shown_and_outlives_the_process(tmp_path: Path) -> None:
    folder = tmp_path / "watch"
    with running(folder) as (url, keeper):
        assert post(url, call(7, 0).to_bytes())[0] == 200
        shown = urllib.request.urlopen(f"{url}/{ORIGIN_HASH}/checkpoint").read()  # noqa: S310
        signed = parse_note(shown, 9999)
        assert verify_cosignatures(signed, {NAME: keeper.public_key})
        assert signed.body == note(7).body
    with running(folder) as (url, _):
        assert post(url, call(8, 0).to_bytes())[2] == b"7\n"
        assert post(url, call(8, 7).to_bytes())[0] == 200


def test_a_witness_whose_memory_was_changed_does_not_start(tmp_path: Path) -> None:
    folder = tmp_path / "watch"
    with running(folder) as (url, _):
        assert post(url, call(7, 0).to_bytes())[0] == 200
    (folder / f"{ORIGIN_HASH}.checkpoint").write_bytes(note(3).to_bytes())

    with pytest.raises(OperationalError, match="not what this witness cosigned"):
        Keeper(folder, {ORIGIN: public_key(COORDINATOR)})


def test_two_processes_are_never_one_witness(tmp_path: Path) -> None:
    with running(tmp_path / "watch"), pytest.raises(OperationalError, match="another process"):
        Keeper(tmp_path / "watch", {ORIGIN: public_key(COORDINATOR)})


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "watch", NAME)
    assert (tmp_path / "watch" / "witness.pem").stat().st_mode & 0o777 == 0o600
    (tmp_path / "watch" / "witness.pem").chmod(0o640)

    with pytest.raises(OperationalError, match="others can read the key"):
        Keeper(tmp_path / "watch", {})


def test_a_witness_that_cannot_write_cosigns_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "watch") as (url, keeper):
        (tmp_path / "watch" / f".{ORIGIN_HASH}.checkpoint.new").mkdir()

        assert post(url, first())[0] == 500
        assert keeper.last(ORIGIN_HASH) is None


# Those who ask.


def test_the_proof_for_a_witness_comes_from_published_files() -> None:
    files = dict(increment(lambda path: None, Frontier(), entries=entries(700)))
    for old in (0, 3, 256, 699, 700):
        assert ask(files.get, note(700), old_size=old) == call(700, old)


def test_an_answer_without_the_witnesss_own_signature_is_no_cosignature(tmp_path: Path) -> None:
    with running(tmp_path / "watch") as (url, keeper):
        answer = post(url, first())[2]

        assert lines_of(answer, note(3), keys={NAME: keeper.public_key})
        with pytest.raises(MalformedError):
            lines_of(answer, note(3), keys={"other": keeper.public_key})
        with pytest.raises(MalformedError):
            lines_of(answer, note(3), keys={NAME: public_key("eve")})


def test_the_commands_say_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "watch")
    assert main(["witness", "init", folder, "--name", NAME, "--json"]) == 0
    assert parse_vkey(json.loads(capsys.readouterr().out)["vkey"]).name == NAME
    assert main(["witness", "init", folder, "--name", NAME]) == 1
    assert main(["witness", "init", str(tmp_path / "other"), "--name", "a space"]) == 2
    assert main(["witness", "run", folder]) == 2
    assert main(["witness", "run", folder, "--log", "nonsense"]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_place_that_cannot_be_had_is_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "w")
    vkey = encode_vkey(ORIGIN, TYPE_ED25519, public_key=public_key("log"))
    assert main(["witness", "init", folder, "--name", NAME]) == 0
    capsys.readouterr()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        code = main(["witness", "run", folder, "--log", vkey, "--listen", listen, "--json"])

    found = json.loads(capsys.readouterr().out)
    assert (code, found["ok"]) == (1, False) and listen in found["error"]
