"""An upgrade of one process at a time never stops signing; a coordinator's backup serves under load."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.demo import policy as names
from cli.demo.scenario import COORDINATOR_NAME, COSIGNERS, Deployment, wait_live
from cli.demo.supervisor import Program, run_to_end
from cli.main import invoke
from cli.programs import COORDINATOR, program
from custody.adapters.schema import HEAD
from policy.errors import OperationalError
from policy.program import PROGRAM
from tests.architecture.planting import REPOSITORY
from tests.e2e.payment_stream import SMALLEST, Stream, check_everything, running_deployment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
EVERY_S, SETTLE_S, SIGNED_S = 0.25, 60.0, 60.0
SIGNED = ("signed", "broadcast", "settled")
NEXT_TABLES, NEXT_PROGRAM = "9999", "99.0.0"
STEP = f'''"""One more table."""

import sqlalchemy as sa
from alembic import op

revision = "{NEXT_TABLES}"
down_revision = "{HEAD}"


def upgrade() -> None:
    """Change the tables."""
    op.create_table("later", sa.Column("place", sa.Integer(), primary_key=True))
'''


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with running_deployment() as made:
        yield made


@pytest.fixture(scope="module")
def paid() -> dict[str, int]:
    """Every payment of this module, which all share one chain."""
    return {}


def signed_in_between(deployment: Deployment, stream: Stream) -> None:
    """A payment that is asked for from here on is signed before the deadline."""
    known, deadline = set(stream.accepted), time.monotonic() + SIGNED_S
    while True:
        assert time.monotonic() < deadline, f"nothing was signed in {SIGNED_S} s"
        for request in set(stream.accepted) - known:
            if deployment.ask(names.PAYMENTS, "request", "show", request)["state"] in SIGNED:
                return
        time.sleep(EVERY_S)


def test_restarting_one_cosigner_at_a_time_never_stops_signing(
    deployment: Deployment, paid: dict[str, int]
) -> None:
    with Stream(deployment, "rolling", SMALLEST, EVERY_S).flowing() as stream:
        for name in COSIGNERS:
            check = deployment.ask(names.ADMINISTRATORS[0], "upgrade", "check")
            assert check["safe"] and check["runs"][name]["program"] == PROGRAM
            deployment.supervisor.stop(name)
            signed_in_between(deployment, stream)
            deployment.supervisor.revive(name)
            wait_live(deployment, COSIGNERS)
    stream.settle(SETTLE_S)
    paid.update(stream.accepted)

    check_everything(deployment, paid)


def test_a_backup_made_under_load_brings_the_coordinator_back(
    deployment: Deployment, paid: dict[str, int]
) -> None:
    config = ("--config", str(deployment.folder / "coordinator" / "config.toml"))
    backup = deployment.folder / "backup"
    with Stream(deployment, "restored", SMALLEST + 10**9, EVERY_S).flowing() as stream:
        signed_in_between(deployment, stream)
        made = invoke("coordinator", "backup", "--to", str(backup), *config).document
        signed_in_between(deployment, stream)
        deployment.supervisor.kill(COORDINATOR_NAME)
        shutil.rmtree(deployment.folder / "coordinator" / "data")
        invoke("coordinator", "restore", str(backup), *config)
        deployment.supervisor.revive(COORDINATOR_NAME)
        wait_live(deployment, COSIGNERS)
    size = deployment.status()["size"]
    stream.ask_again()  # what no cosigner was told of yet was in the lost database alone
    stream.settle(SETTLE_S)
    paid.update(stream.accepted)

    assert 0 < made["size"] < size
    check_everything(deployment, paid)


def next_program(folder: Path) -> Path:
    """A copy of this program with a later number and one more step of the tables."""
    for package in ("policy", "signer_nodes", "custody"):
        shutil.copytree(REPOSITORY / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, now, later in (
        ("policy/program.py", f'"{PROGRAM}"', f'"{NEXT_PROGRAM}"'),
        ("custody/adapters/schema.py", f'HEAD: Final = "{HEAD}"', f'HEAD: Final = "{NEXT_TABLES}"'),
    ):
        text = (folder / name).read_text()
        assert text.count(now) == 1
        (folder / name).write_text(text.replace(now, later))
    (folder / "custody/adapters/migrations/versions" / f"v{NEXT_TABLES}_later.py").write_text(STEP)
    return folder


def test_a_coordinator_is_upgraded_under_load_and_only_a_backup_leads_back(
    deployment: Deployment, paid: dict[str, int], tmp_path: Path
) -> None:
    folder = deployment.folder / COORDINATOR_NAME
    config, backup = ("--config", str(folder / "config.toml")), deployment.folder / "before"
    log = deployment.folder / "logs" / f"{COORDINATOR_NAME}.log"
    older = Program(COORDINATOR_NAME, program(COORDINATOR, *config), log)
    newer = Program(older.name, older.command, log, {"PYTHONPATH": str(next_program(tmp_path))})
    with Stream(deployment, "upgraded", SMALLEST + 2 * 10**9, EVERY_S).flowing() as stream:
        invoke("coordinator", "backup", "--to", str(backup), *config)
        deployment.supervisor.stop(COORDINATOR_NAME)
        deployment.supervisor.start(newer)
        wait_live(deployment, COSIGNERS)
        signed_in_between(deployment, stream)
        runs = deployment.status()["program"]
        deployment.supervisor.stop(COORDINATOR_NAME)
        (problem,) = invoke("coordinator", "check", *config).document["problems"]
        with pytest.raises(OperationalError, match="later program"):
            run_to_end(older)
        shutil.rmtree(folder / "data")
        invoke("coordinator", "restore", str(backup), *config)
        deployment.supervisor.start(older)
        wait_live(deployment, COSIGNERS)
        signed_in_between(deployment, stream)
    stream.ask_again()
    stream.settle(SETTLE_S)
    paid.update(stream.accepted)

    assert runs == NEXT_PROGRAM
    assert problem["key"] == "database" and "later program" in problem["problem"]
    check_everything(deployment, paid)
