"""Two coordinators on one PostgreSQL: one serves, the other hands on and takes over, nothing is lost."""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator

import pytest

from cli.demo import scenario
from cli.demo.scenario import COORDINATOR_NAME, COSIGNERS, Deployment, wait_live
from cli.demo.supervisor import Program, Supervisor, free_ports
from cli.programs import COORDINATOR, program
from signer_nodes.api.health import READY, STANDBY, ask
from tests.e2e.cluster import scratch_folder
from tests.e2e.payment_stream import SMALLEST, Stream, check_everything
from tests.fixtures_postgres import server_pair

pytest_plugins = ("tests.fixtures_postgres",)

SECOND = "coordinator-2"
EVERY_S, SETTLE_S = 0.25, 60.0


@pytest.fixture
def deployment(new_postgres_url: Callable[[], str]) -> Iterator[Deployment]:
    with doubled(new_postgres_url()) as made:
        yield made


@contextlib.contextmanager
def doubled(url: str) -> Iterator[Deployment]:
    """A deployment with a funded key and two coordinators; clients call the one that stands by."""
    folder = scratch_folder()
    try:
        with Supervisor() as supervisor:
            made = scenario.prepare(folder, supervisor, say=lambda _: None)
            (made.ports[SECOND],) = free_ports(1)
            scenario.lay_out(made)
            _double(made, url)
            scenario.start_all(made)
            _start_second(made)
            call_by(made, SECOND)
            wait_live(made, COSIGNERS)
            scenario.make_keys(made)
            scenario.fund(made)
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _double(deployment: Deployment, url: str) -> None:
    """Give the coordinator the database, and make it a fellow with a folder of its own."""
    first, second = (deployment.folder / name for name in (COORDINATOR_NAME, SECOND))
    config = first / "config.toml"
    config.write_text(f'database = "{url}"\nadvertise = "127.0.0.1"\n' + config.read_text())
    shutil.copytree(first, second)
    listen = deployment.address(COORDINATOR_NAME)
    copy = config.read_text().replace(listen, deployment.address(SECOND))
    (second / "config.toml").write_text(copy.replace('publish_dir = "../log"', 'publish_dir = "../log-2"'))


def _start_second(deployment: Deployment) -> None:
    config = str(deployment.folder / SECOND / "config.toml")
    log = deployment.folder / "logs" / f"{SECOND}.log"
    deployment.supervisor.start(Program(SECOND, program(COORDINATOR, "--config", config), log))


def states(deployment: Deployment) -> list[str]:
    """What supervisors of the two are told."""
    return [ask(deployment.folder / name / "data")["state"] for name in (COORDINATOR_NAME, SECOND)]


def call_by(deployment: Deployment, name: str) -> None:
    """Have clients call this coordinator."""
    path = deployment.folder / "client.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "address": deployment.address(name)}))


def test_a_coordinator_that_is_killed_under_load_is_replaced(deployment: Deployment) -> None:
    """Through the standby all the time: first it hands on, then it serves, then the first has it again."""
    with Stream(deployment, "over", SMALLEST, EVERY_S).flowing() as stream:
        time.sleep(2.0)
        before, told = len(stream.accepted), states(deployment)
        deployment.supervisor.kill(COORDINATOR_NAME)
        wait_live(deployment, COSIGNERS)
        while len(stream.accepted) < 2 * before:
            time.sleep(EVERY_S)
        deployment.supervisor.revive(COORDINATOR_NAME)
    stream.settle(SETTLE_S)
    call_by(deployment, COORDINATOR_NAME)  # which hands on to the second, until that ends
    wait_live(deployment, COSIGNERS)
    deployment.supervisor.stop(SECOND)
    wait_live(deployment, COSIGNERS)

    assert before > 0
    assert told == [READY, STANDBY]
    check_everything(deployment, stream.accepted)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_database_fails_over_to_its_standby_under_load() -> None:
    with server_pair(synchronous=True) as pair, doubled(pair.url) as deployment:
        with Stream(deployment, "over", SMALLEST, EVERY_S).flowing() as stream:
            time.sleep(2.0)
            before = len(stream.accepted)
            pair.fail_over()
            while len(stream.accepted) < 2 * before:
                time.sleep(EVERY_S)
        stream.settle(SETTLE_S)
        wait_live(deployment, COSIGNERS)

        assert before > 0
        check_everything(deployment, stream.accepted)
