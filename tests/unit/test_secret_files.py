"""Passwords come from files that nobody else can read, as Kubernetes and systemd hand them over, too."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError as DriverError

from custody.adapters.backup_tables import reading
from custody.adapters.leased import Leased, engine_of
from custody.secret_files import read_password
from policy.errors import OperationalError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")


def written(folder: Path, *, mode: int = 0o600, data: bytes = b"word\n") -> Path:
    path = folder / "password"
    path.write_bytes(data)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("data", [b"word", b"word\n"])
def test_a_password_is_the_one_line_of_its_file(tmp_path: Path, data: bytes) -> None:
    assert read_password(written(tmp_path, data=data), of="x") == "word"


@as_root
@pytest.mark.parametrize("mode", [0o440, 0o640])
def test_a_file_of_root_may_be_read_by_a_group_as_kubernetes_and_systemd_have_it(
    tmp_path: Path, mode: int
) -> None:
    assert read_password(written(tmp_path, mode=mode), of="x") == "word"


@as_root
def test_a_file_of_another_user_is_read_by_no_group(tmp_path: Path) -> None:
    path = written(tmp_path, mode=0o640)
    os.chown(path, 10001, 10001)

    with pytest.raises(OperationalError, match="chmod 600"):
        read_password(path, of="x")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o620, 0o602])
def test_a_file_that_others_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(OperationalError, match="chmod 600"):
        read_password(written(tmp_path, mode=mode), of="x")


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"two\nlines\n", "é\n".encode(), b"a\0b", b"dos\r\n", b"x" * 1025]
)
def test_what_is_not_one_line_of_text_is_refused_and_not_repeated(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(OperationalError, match="one line of ASCII") as refused:
        read_password(written(tmp_path, data=data), of="x")

    assert "two" not in str(refused.value)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)

    for wrong, said in (("pipe", "is no file"), ("none", "cannot read"), (".", "is no file")):
        with pytest.raises(OperationalError, match=said):
            read_password(tmp_path / wrong, of="x")


@pytest.mark.parametrize(
    "wrong",
    [
        "me@db/x?passfile=/a",
        "me@db/x?password_file=a",
        "me@db/x?password_file=/a&password_file=/b",
        "me:word@db/x?password_file=/a",
        "me@db/x?password=word&password_file=/a",
    ],
)
def test_a_url_names_one_file_of_a_password_or_has_it(wrong: str) -> None:
    with pytest.raises(OperationalError, match="password_file=") as refused:
        engine_of(f"postgresql+psycopg://{wrong}")

    assert "word@" not in str(refused.value)


@pytest.mark.parametrize("wrong", ["me:p@ss:word@db/x", "me@db:54x/x", "me@db/x?password=word&port=y"])
def test_a_url_that_cannot_be_read_is_refused_without_its_words_wherever_it_is_opened(wrong: str) -> None:
    for opened in (engine_of, Leased, lambda url: reading(url).__enter__()):
        with pytest.raises(OperationalError, match="URL is none that can be used") as refused:
            opened(f"postgresql+psycopg://{wrong}")

        assert "word" not in str(refused.value) + repr(refused.value.__cause__)


def test_each_connection_brings_the_password_that_the_file_has_then(tmp_path: Path) -> None:
    file = written(tmp_path, data=b"first")
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"
        engine = engine_of(f"postgresql+psycopg://me@{where}/x?sslmode=disable&password_file={file}")
        asked = [password_asked(server, engine.connect)]
        file.write_bytes(b"second")
        asked.append(password_asked(server, engine.connect))

    assert asked == [b"first", b"second"]
    assert "first" not in repr(engine) + str(engine.url)


def password_asked(server: socket.socket, connect: Callable[[], object]) -> bytes:
    """What a client says to a server of PostgreSQL's protocol that asks for a password in clear."""
    said: list[bytes] = []

    def ask() -> None:
        with server.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(b"R" + (8).to_bytes(4, "big") + (3).to_bytes(4, "big"))
            said.append(connection.recv(4096)[5:-1])

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(DriverError):
        connect()
    asking.join(10)
    return said[0]
