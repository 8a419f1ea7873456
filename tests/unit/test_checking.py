"""What keeps a coordinator or a node from starting is all said by a check, which changes nothing."""

import asyncio
import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from cli.main import main as quorumkeep
from custody.adapters.examining import _unsaid
from custody.check.main import check
from signer_nodes.api.health import answering
from signer_nodes.main import main as quorumkeep_node
from tests.conformance.test_custody_backup import configured
from tests.unit.custody_house import House
from tests.unit.test_settings import COORDINATOR, NODE, folder

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
    (foreign,) = problems(tmp_path / "other", begun, genesis=b"another genesis")
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
