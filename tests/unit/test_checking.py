"""What keeps a coordinator or a node from starting is all said by a check, which changes nothing."""

import asyncio
import json
import re
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import CertificateBuilder, Name, random_serial_number
from sqlalchemy import create_engine, text

from cli.main import main as quorumkeep
from custody.adapters.examining import _unsaid
from custody.check.main import check
from signer_nodes.adapters.schema import VERSION
from signer_nodes.adapters.store import NodeStore
from signer_nodes.api.health import answering
from signer_nodes.main import main as quorumkeep_node
from tests.conformance.test_custody_backup import configured
from tests.unit.custody_cluster import genesis_entry, policy_document
from tests.unit.custody_house import House
from tests.unit.test_settings import COORDINATOR, GENESIS, NODE, folder, secret

pytest_plugins = ("tests.fixtures_postgres",)
__all__ = ["folder"]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield int(taken.getsockname()[1])


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_sound_configuration_is_checked_and_nothing_is_made(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(folder, COORDINATOR)
    before = contents(folder)
    code = quorumkeep(["coordinator", "check", "--config", str(path), "--json"])
    said = json.loads(capsys.readouterr().out)

    assert (code, said["ok"], said["problems"], said["database"]) == (0, True, [], "none")
    assert contents(folder) == before


def test_every_problem_is_said_at_once_with_its_line(
    folder: Path, taken_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "genesis.json").unlink()
    wrong = COORDINATOR.replace("127.0.0.1:0", f"127.0.0.1:{taken_port}")
    url = "postgresql+psycopg://custody:hush-hush@127.0.0.1:1/custody"
    path = written(folder, f'database = "{url}"\ncolour = "red"\n{wrong}')
    code = quorumkeep(["coordinator", "check", "--config", str(path)])
    said = capsys.readouterr()

    assert code == 1
    assert [line.split()[:3] for line in said.out.splitlines() if line.startswith("  line ")] == [
        ["line", "1:", "database"],
        ["line", "2:", "colour"],
        ["line", "4:", "listen"],
        ["line", "6:", "genesis"],
    ]
    assert "hush" not in said.out + said.err


@pytest.mark.parametrize(("days", "said"), [(-1, "has expired on"), (10, "days: renew"), (31, "")])
def test_a_certificate_that_ends_soon_is_a_warning_and_keeps_nobody_from_starting(
    folder: Path, days: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    end = datetime.now(UTC) + timedelta(days=days)
    key = Ed25519PrivateKey.generate()
    made = CertificateBuilder(Name([]), Name([]), key.public_key(), random_serial_number())
    made = made.not_valid_before(end - timedelta(days=90)).not_valid_after(end)
    (folder / "console.pem").write_bytes(made.sign(key, None).public_bytes(Encoding.PEM))
    secret(folder / "console.key", key)
    console = (
        '[console]\norigin = "https://a.example.com"\nlisten = "127.0.0.1:0"\n'
        'certificate = "console.pem"\ncertificate_key = "console.key"\n'
    )
    path = written(folder, COORDINATOR + console)
    code = quorumkeep(["coordinator", "check", "--config", str(path), "--json"])
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    quorumkeep(["coordinator", "check", "--config", str(path)])

    assert code == 0 and len(warnings) == bool(said)
    assert said in "".join(warnings)
    assert ("warning: console.certificate" in capsys.readouterr().out) == bool(said)


async def test_ports_of_the_coordinator_that_runs_are_its_own(folder: Path, taken_port: int) -> None:
    (folder / "data").mkdir()
    path = written(folder, COORDINATOR.replace("127.0.0.1:0", f"127.0.0.1:{taken_port}"))
    assert [one.key for one in check(path).problems] == ["listen"]
    async with answering(folder / "data", "coordinator", state=lambda: "ready"):
        found = await asyncio.to_thread(check, path)

    assert found.runs and not found.problems


def test_a_node_is_checked_without_its_pin(
    folder: Path, taken_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    good = quorumkeep_node(["check", "--config", str(written(folder, NODE)), "--json"])
    sound = json.loads(capsys.readouterr().out)
    (folder / "module.so").unlink()
    path = written(folder, NODE.replace("127.0.0.1:0", f"127.0.0.1:{taken_port}"))
    bad = quorumkeep_node(["check", "--config", str(path)])

    assert (good, sound["ok"], bad) == (0, True, 1)
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()[1:]] == ["listen", "hsm.module"]


def newer(store: Path) -> None:
    with sqlite3.connect(store) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()


def older(store: Path) -> None:
    with sqlite3.connect(store) as db:
        db.execute("PRAGMA user_version = 1")
    db.close()


def damaged(store: Path) -> None:
    store.write_bytes(store.read_bytes()[:4096] + b"\xff" * 40_000)


def another_deployments(store: Path) -> None:
    store.unlink()
    with closing(NodeStore(store)) as kept:
        kept.append(0, [b"another"], checkpoint=b"note")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (newer, "start the newer program"),
        (damaged, "damaged"),
        (another_deployments, "log of another deployment"),
        (older, ""),  # a start upgrades it
        (lambda store: store.unlink(), ""),
        (lambda store: store.write_bytes(b""), ""),
        (lambda store: (store.unlink(), store.mkdir()), "is no file"),
    ],
)
def test_a_nodes_store_that_a_start_refuses_is_a_problem(
    folder: Path, spoil: Callable[[Path], object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = folder / "node.db"
    with closing(NodeStore(store)) as kept:
        kept.append(0, [GENESIS, bytes(60_000)], checkpoint=b"note")
    spoil(store)
    before = contents(folder)

    code = quorumkeep_node(["check", "--config", str(written(folder, NODE)), "--json"])
    found = [(one["key"], one["problem"]) for one in json.loads(capsys.readouterr().out)["problems"]]

    assert (code, len(found)) == ((1, 1) if said else (0, 0))
    assert all(key == "data_dir" and said in problem for key, problem in found)
    assert contents(folder) | {"config.toml": b""} == before | {"config.toml": b""}


@pytest.mark.parametrize("config", [COORDINATOR, NODE])
def test_a_folder_that_cannot_even_be_looked_at_is_a_problem_among_others(
    folder: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(folder, re.sub('data_dir = "[^"]*"', f'data_dir = "{"d" * 300}"', config))
    program = quorumkeep_node if config is NODE else quorumkeep
    words = ["check"] if config is NODE else ["coordinator", "check"]

    assert program([*words, "--config", str(path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"]


@pytest.fixture
async def begun(tmp_path: Path, database_url: str) -> House:
    """A deployment with a log in a database of each kind."""
    house = House(tmp_path)
    house.database = database_url
    async with house.with_key():
        pass
    return house


def problems(tmp_path: Path, house: House, *, genesis: bytes = b"") -> list[str]:
    tmp_path.mkdir()
    path = configured(tmp_path / "coordinator", house.database, genesis=genesis or house.genesis)
    return [one.text for one in check(path).problems if one.key == "database"]


async def test_the_database_must_be_this_deployments_and_not_of_a_later_program(
    tmp_path: Path, begun: House
) -> None:
    path = configured(tmp_path / "coordinator", begun.database, genesis=begun.genesis)
    ready = check(path)
    (foreign,) = problems(tmp_path / "other", begun, genesis=genesis_entry(policy_document(), time_ms=2_000))
    engine = create_engine(begun.database)
    with engine.begin() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    (later,) = problems(tmp_path / "later", begun)

    assert (ready.database, ready.size > 0) == ("ready", True)
    assert "holds another log" in foreign
    assert "9999" in later and "later program" in later


def test_an_empty_database_and_one_of_another_program_are_told_apart(
    tmp_path: Path, new_postgres_url: Callable[[], str]
) -> None:
    house = House(tmp_path)
    house.database = new_postgres_url()
    path = configured(tmp_path / "coordinator", house.database, genesis=house.genesis)
    empty = check(path).database
    engine = create_engine(house.database)
    with engine.begin() as db:
        db.execute(text("CREATE TABLE books (title text)"))
    engine.dispose()
    (foreign,) = problems(tmp_path / "other", house)

    assert empty == "empty"
    assert "another program" in foreign


@pytest.mark.parametrize("place", ["shop:{}@127.0.0.1/q", "127.0.0.1/q?password={}"])
@pytest.mark.parametrize("said", ["refused for {}", "x" * 295 + " {}"])
def test_what_a_driver_says_is_shown_without_the_urls_password(place: str, said: str) -> None:
    url = "postgresql+psycopg://" + place.format("hunter2-and-more")

    assert "hunt" not in _unsaid(url, said.format("hunter2-and-more"))
