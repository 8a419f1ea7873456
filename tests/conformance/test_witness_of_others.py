"""Our witness with a log that others wrote, and our log with a witness of others: Go's tlog, torchwood.

Built from the Go module proxy, so slow, and skipped where there is no Go.
"""

import base64
import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from policy.log.checkpoint import TYPE_ED25519, encode_vkey, key_id
from policy.log.merkle import EMPTY_ROOT, Frontier
from policy.log.tiles import increment
from policy.log.witnessing import ask, lines_of
from policy.roster import COORDINATOR
from tests.simulation.world import ORIGIN, identity_key, public_key
from tests.unit.test_witness import entries, note, post, running
from tests.waiting import seen

GO = shutil.which("go") or shutil.which("/usr/local/go/bin/go") or ""
HERE = Path(__file__).parent / "witness_go"
LITEWITNESS = "filippo.io/torchwood/cmd/litewitness@v0.6.1"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not GO, reason="there is no Go here"),
]


def go(*arguments: str, **environment: str) -> None:
    done = subprocess.run(
        [GO, *arguments],
        cwd=HERE,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "dial tcp" in done.stderr:
        pytest.skip("the Go modules cannot be had here")
    assert done.returncode == 0, done.stderr


def signer_key() -> str:
    """The log's key as golang.org/x/mod/sumdb/note reads it."""
    seed = identity_key(COORDINATOR).private_bytes_raw()
    material = base64.b64encode(bytes([TYPE_ED25519]) + seed).decode()
    found = key_id(ORIGIN, TYPE_ED25519, public_key=public_key(COORDINATOR)).hex()
    return f"PRIVATE+KEY+{ORIGIN}+{found}+{material}"


def test_a_log_in_go_gets_cosignatures_that_go_verifies(tmp_path: Path) -> None:
    go("build", "-o", str(tmp_path / "log"), ".")
    with running(tmp_path / "watch") as (url, keeper):
        command = [str(tmp_path / "log"), url, keeper.vkey, signer_key()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-4:] == ["stale 409", "a jump 200", "another branch 422", "cut back 400"]


@pytest.fixture
def litewitness(tmp_path: Path) -> Iterator[tuple[str, bytes]]:
    """The URL and the public key of a witness of torchwood's, which knows our log."""
    if not shutil.which("ssh-agent"):
        pytest.skip("there is no ssh-agent here, which keeps the witness's key")
    go("install", LITEWITNESS, GOBIN=str(tmp_path))
    key = Ed25519PrivateKey.generate()
    pem = tmp_path / "key.pem"
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    pem.chmod(0o600)
    agent, database = str(tmp_path / "agent"), str(tmp_path / "db")
    vkey = encode_vkey(ORIGIN, TYPE_ED25519, public_key=public_key(COORDINATOR))
    public = key.public_key().public_bytes_raw()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = [subprocess.Popen(["ssh-agent", "-D", "-a", agent], stdout=subprocess.DEVNULL)]
    try:
        seen(lambda: Path(agent).exists())
        _ran(["ssh-add", str(pem)], SSH_AUTH_SOCK=agent)
        _introduce(database, vkey)
        serve = ["-db", database, "-name", "others.example.com/w", "-ssh-agent", agent]
        serve += ["-key", _fingerprint(pem), "-listen", f"127.0.0.1:{port}"]
        started.append(subprocess.Popen([str(tmp_path / "litewitness"), *serve]))
        seen(lambda: _listens(port))
        yield f"http://127.0.0.1:{port}", public
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(10)


def test_a_witness_in_go_cosigns_our_log(litewitness: tuple[str, bytes]) -> None:
    url, key = litewitness
    files = dict(increment(lambda path: None, Frontier(), entries=entries(700)))
    for old, size in ((0, 300), (300, 700)):
        grown = dict(increment(lambda path: None, Frontier(), entries=entries(size)))
        sent = ask(grown.get, note(size), old_size=old)
        status, _, answer = post(url, sent.to_bytes())

        assert status == 200, answer
        assert lines_of(answer, sent.note, keys={"others.example.com/w": key})
    status, kind, body = post(url, ask(files.get, note(700), old_size=300).to_bytes())
    assert (status, kind, body) == (409, "text/x.tlog.size", b"700\n")


def _introduce(database: str, vkey: str) -> None:
    """What its ``witnessctl add-log`` and ``add-key`` do, which need a module that is not served here."""
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER, tree_hash TEXT)")
        connection.execute("CREATE TABLE key (origin TEXT, key TEXT)")
        empty = base64.b64encode(EMPTY_ROOT).decode()
        connection.execute("INSERT INTO log VALUES (?, 0, ?)", (ORIGIN, empty))
        connection.execute("INSERT INTO key VALUES (?, ?)", (ORIGIN, vkey))
    connection.close()


def _ran(command: list[str], **environment: str) -> None:
    subprocess.run(command, check=True, env={**os.environ, **environment}, capture_output=True, timeout=30)


def _fingerprint(pem: Path) -> str:
    done = subprocess.run(["ssh-keygen", "-lf", str(pem)], check=True, capture_output=True, text=True)
    return done.stdout.split()[1]


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
