"""A backup of the coordinator's database is one snapshot, for any kind; nothing wrong is restored."""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import create_engine, inspect, text

from custody.adapters.identity import load_identity
from custody.adapters.store import Store
from custody.adapters.tables import METADATA
from custody.api.errors import CallRefused
from custody.backup import command
from custody.backup.main import MANIFEST, back_up, restore
from policy.encoding import canonical, statement
from policy.errors import OperationalError
from tests.unit.custody_cluster import ETHER, ORIGIN, WALLET, make_request
from tests.unit.custody_house import FakeChain, House, Running
from tests.waiting import until

pytest_plugins = ("tests.fixtures_postgres",)
CONFIG = """\
origin = "{origin}"
listen = "127.0.0.1:7600"
data_dir = "data"
database = "{database}"
genesis = "genesis.json"
identity_key = "identity.key"
log_key = "log.key"
[nodes.node-a]
address = "127.0.0.1:7700"
certificate = "node-a.pem"
[chains."evm:31337"]
url = "http://127.0.0.1:8545"
"""


def configured(folder: Path, database: str, *, genesis: bytes, origin: str = ORIGIN) -> Path:
    """A coordinator's folder, with an identity of its own."""
    folder.mkdir(exist_ok=True)
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "identity.key").write_bytes(pem)
    (folder / "genesis.json").write_bytes(genesis)
    (folder / "config.toml").write_text(CONFIG.format(origin=origin, database=database))
    return folder / "config.toml"


def moved(config: Path) -> Path:
    """Where the same coordinator is when it has another database."""
    return config.parent.with_name(config.parent.name + "-moved") / config.name


def with_database(config: Path, database: str) -> Path:
    """The same coordinator on another database."""
    other = moved(config)
    shutil.copytree(config.parent, other.parent)
    other.write_text(CONFIG.format(origin=ORIGIN, database=database))
    return other


async def pay(running: Running, house: House, *names: str) -> None:
    for name in names:
        _, body, signature = make_request(name, amount=ETHER // 100, now_ms=house.now_ms())
        record = await running.service.submit(body, signature)
        await running.until(record.request, "settled")


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> House:
    made = House(tmp_path)
    made.database = database_url
    return made


@pytest.fixture
def config(house: House) -> Path:
    return configured(house.folder / "coordinator", house.database, genesis=house.genesis)


def rows(url: str) -> dict[str, list[Any]]:
    engine = create_engine(url)
    with engine.connect() as db:
        names = inspect(db).get_table_names()
        found = {name: sorted(map(str, db.execute(text(f"SELECT * FROM {name}")).all())) for name in names}  # noqa: S608
    engine.dispose()
    return found


@pytest.fixture
def other_url(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> str:
    """An empty database of the other kind."""
    if not database_url.startswith("sqlite"):
        return f"sqlite:///{tmp_path / 'other.db'}"
    make: Callable[[], str] = request.getfixturevalue("new_postgres_url")
    return make()


async def test_a_backup_made_at_work_restores_into_the_other_kind_and_old_ones_catch_up(
    house: House, config: Path, other_url: str
) -> None:
    """What was paid after the backup was made comes from the cosigners, and is not paid again."""
    folder = house.folder / "backup"
    async with house.with_key() as running:
        await pay(running, house, "before")
        made = back_up(config, folder)
        await pay(running, house, "after")
        size = running.parts.sequencer.state.size
        await until(lambda: all(len(node.log) == size for node in house.nodes.values()))
    before = rows(house.database)
    restored = restore(with_database(config, other_url), folder)
    now = rows(other_url)
    house.database = other_url
    async with house.running() as running:
        caught_up = running.parts.sequencer.state.size
        await pay(running, house, "later")
        with pytest.raises(CallRefused, match="set addresses_claimed = '") as no_new_address:
            await running.service.give_address("shop", WALLET, label="may be another's")
        claimed = await running.service.give_address("shop", WALLET, label="mine", path="m/0/1")
        await until(lambda: running.parts.replication.quorum.size == running.parts.sequencer.state.size)
        counts = await running.parts.database.counts()

    assert restored == made
    assert now["feed"] != before["feed"] and not now["lease"] and not now["presignatures"]
    assert len(now["entries"]) == made.size < caught_up == size
    assert set(now["entries"]) <= set(before["entries"])
    assert set(now) == {*METADATA.tables, "alembic_version"}
    assert counts == {"settled": 3}
    assert no_new_address.value.code == "unavailable" and claimed.path == "m/0/1"
    assert isinstance(house.chain, FakeChain) and len(house.chain.mined) == 3


@dataclass(frozen=True)
class Made:
    """A coordinator's folder, its database and a backup, of one test alone."""

    folder: Path
    genesis: bytes

    @property
    def database(self) -> str:
        return f"sqlite:///{self.folder / 'custody.db'}"

    @property
    def config(self) -> Path:
        return self.folder / "coordinator" / "config.toml"

    @property
    def backup(self) -> Path:
        return self.folder / "backup"


@pytest.fixture(scope="module")
async def first(tmp_path_factory: pytest.TempPathFactory) -> Made:
    house = House(tmp_path_factory.mktemp("first"))
    async with house.with_key():
        pass
    back_up(
        configured(house.folder / "coordinator", house.database, genesis=house.genesis),
        house.folder / "backup",
    )
    return Made(house.folder, house.genesis)


@pytest.fixture
def made(first: Made, tmp_path: Path) -> Made:
    copy = Made(tmp_path / "made", first.genesis)
    shutil.copytree(first.folder, copy.folder)
    copy.config.write_text(CONFIG.format(origin=ORIGIN, database=copy.database))
    return copy


def _change_manifest(folder: Path) -> None:
    document = json.loads((folder / MANIFEST).read_bytes())
    document["manifest"]["size"] += 1
    (folder / MANIFEST).write_text(json.dumps(document, separators=(",", ":"), sort_keys=True))


def _change_row(folder: Path) -> None:
    path = folder / "entries.jsonl.gz"
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(lines[:-1])))


SPOILS: dict[str, tuple[Callable[[Path], object], str]] = {
    "manifest changed": (_change_manifest, "did not make this backup"),
    "manifest missing": (lambda folder: (folder / MANIFEST).unlink(), "whole backup"),
    "manifest cut": (lambda folder: (folder / MANIFEST).write_bytes(b"{"), "cannot be read"),
    "entry missing": (_change_row, "missing or damaged"),
    "table missing": (lambda folder: (folder / "requests.jsonl.gz").unlink(), "missing or damaged"),
    "table cut": (
        lambda folder: (folder / "requests.jsonl.gz").write_bytes(
            (folder / "requests.jsonl.gz").read_bytes()[:-9]
        ),
        "missing or damaged",
    ),
}


@pytest.mark.parametrize(("spoil", "why"), SPOILS.values(), ids=SPOILS)
def test_a_damaged_backup_restores_nothing(made: Made, spoil: Callable[[Path], object], why: str) -> None:
    spoil(made.backup)
    target = made.folder / "target.db"

    with pytest.raises(OperationalError, match=why):
        restore(with_database(made.config, f"sqlite:///{target}"), made.backup)

    assert not target.exists() or rows(f"sqlite:///{target}") == {}


def test_nothing_is_written_over(made: Made, database_url: str) -> None:
    """Neither the database that was backed up, nor any other, nor a backup."""
    restore(with_database(made.config, database_url), made.backup)
    for config, database in ((made.config, made.database), (moved(made.config), database_url)):
        before = rows(database)
        with pytest.raises(OperationalError, match="nothing is written over"):
            restore(config, made.backup)
        with pytest.raises(OperationalError, match="is there already"):
            back_up(config, made.backup)

        assert rows(database) == before


def test_another_deployments_or_coordinators_backup_is_refused(made: Made, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path / 'target.db'}"
    other = with_database(made.config, target)
    (other.parent / "genesis.json").write_bytes(made.genesis + b" ")
    stranger = configured(tmp_path / "stranger", target, genesis=made.genesis)

    with pytest.raises(OperationalError, match="which is another deployment"):
        restore(other, made.backup)
    with pytest.raises(OperationalError, match="did not make this backup"):
        restore(stranger, made.backup)


@pytest.mark.parametrize(("field", "later"), [("format", 2), ("schema", "9999")])
def test_a_later_programs_backup_is_refused(made: Made, field: str, later: object) -> None:
    body = json.loads((made.backup / MANIFEST).read_bytes())["manifest"] | {field: later}
    sign = load_identity(made.config.parent / "identity.key").sign
    signature = sign(statement("coordinator-backup", body)).hex()
    (made.backup / MANIFEST).write_bytes(canonical({"manifest": body, "signature": signature}))

    with pytest.raises(OperationalError, match="later program"):
        restore(with_database(made.config, f"sqlite:///{made.folder / 'target.db'}"), made.backup)


def test_what_is_no_sound_log_is_not_backed_up(made: Made) -> None:
    engine = create_engine(made.database)
    with engine.begin() as db:
        db.execute(text("UPDATE entries SET data = data || x'20' WHERE \"index\" = 0"))
    engine.dispose()
    fresh = with_database(made.config, f"sqlite:///{made.folder / 'fresh.db'}")

    with pytest.raises(OperationalError, match="do not lead to its checkpoint"):
        back_up(made.config, made.folder / "second")
    with pytest.raises(OperationalError, match="there is no database"):
        back_up(fresh, made.folder / "third")
    Store(f"sqlite:///{made.folder / 'fresh.db'}").close()
    with pytest.raises(OperationalError, match="has not begun"):
        back_up(fresh, made.folder / "third")

    assert [path.name for path in made.folder.glob("*second*")] == []


def test_the_coordinators_image_backs_up_and_restores_by_a_command_of_its_own(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made.folder / "monday"
    target = f"sqlite:///{made.folder / 'target.db'}"
    taken = command.main(("backup", str(folder), "--config", str(made.config)))
    again = command.main(("backup", str(folder), "--config", str(made.config)))
    said = capsys.readouterr()
    given = command.main(("restore", str(folder), "--config", str(with_database(made.config, target))))

    assert (taken, again, given) == (0, 1, 0)
    assert "name a new folder" in said.err and "entries" in said.out
    assert rows(target)["entries"] == rows(made.database)["entries"]
