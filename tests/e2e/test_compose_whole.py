"""Both compose files on a real engine: a withdrawal goes through, and a restart of any part loses nothing.

PostgreSQL and Prometheus are named as in docs/containers.md, by QUORUMKEEP_POSTGRES_IMAGE and
QUORUMKEEP_PROMETHEUS_IMAGE; without them, or without an engine, it is skipped with the reason.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.demo.chain import ETHER
from policy.roster import COORDINATOR
from tests.e2e.cluster import scratch_folder
from tests.e2e.containers import beside
from tests.e2e.containers.cluster import INSIDE, PUBLIC, ran
from tests.e2e.containers.next_program import RULES, VERSION, assembled, next_tree
from tests.e2e.containers.payments import AMOUNT, Payments
from tests.e2e.containers.whole import (
    BESIDE,
    BUILDS,
    COORDINATORS,
    COSIGNERS,
    CUSTOMER,
    Whole,
    anvil_program,
    fund,
    until,
)
from tests.e2e.demos import PROGRAM

pytest_plugins = ("tests.fixtures_docker",)
pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.timeout(3600)]
SERVICES = (*COSIGNERS, *COORDINATORS, "postgres", "prometheus")
PYTHON = "/opt/quorumkeep/bin/python3"
CHECK = ("upgrade", "check", "--as", "people/anna")
BACKUP = ("-I", "-m", "custody.backup.command")
KEPT = ("/var/lib/quorumkeep/monday", "--config", "/etc/quorumkeep/config.toml")


def up(job: str) -> str:
    return f'up{{job="{job}"}}==1'


@pytest.fixture(scope="module")
def whole(
    compose_command: tuple[str, ...],
    image_folder: Path,
    coordinator_image_folder: Path,
    service_image_folder: Path,
) -> Iterator[Whole]:
    images = {
        name: os.environ.get(f"QUORUMKEEP_{name.upper()}_IMAGE", "") for name in ("postgres", "prometheus")
    }
    anvil = anvil_program()
    if not all(images.values()):
        pytest.skip("QUORUMKEEP_POSTGRES_IMAGE and QUORUMKEEP_PROMETHEUS_IMAGE name no images to try with")
    if os.geteuid() != 0 or anvil is None:
        pytest.skip("only root gives secrets' files to the containers' users, and the chain is anvil")
    folder = scratch_folder()
    builds = {"node": image_folder, "coordinator": coordinator_image_folder, "service": service_image_folder}
    made = Whole(compose_command, folder, builds, images, anvil)
    try:
        made.set_up()
        fund(made)
        yield made
    finally:
        made.down()
        shutil.rmtree(folder)


def test_every_container_gets_healthy_with_no_privilege(whole: Whole) -> None:
    whole.wait_healthy(*SERVICES)

    for name in SERVICES:
        check_privileges(whole, name)


def test_a_withdrawal_settles_and_prometheus_sees_the_coordinator(whole: Whole) -> None:
    paid = whole.pay("order-1")

    assert paid["state"] == "settled"
    until(lambda: whole.scraped(up("quorumkeep")))


def test_a_node_that_is_restarted_gets_healthy_and_payments_go_on(whole: Whole) -> None:
    whole.compose("restart", "node-a")
    meanwhile = whole.pay("order-2")
    whole.wait_healthy("node-a")

    assert meanwhile["state"] == "settled"


def test_the_coordinator_that_stands_by_takes_over_when_the_other_is_killed(whole: Whole) -> None:
    ran("docker", "kill", whole.container("coordinator-1"))
    until(lambda: state_of(whole, "coordinator-2") == "ready")
    ran("docker", "start", whole.container("coordinator-1"))
    whole.wait_healthy(*COORDINATORS)

    assert whole.pay("order-3")["state"] == "settled"


def test_down_and_up_keeps_everything(whole: Whole, tmp_path: Path) -> None:
    before = whole.cli("request", "list", "--as", "people/shop")
    whole.compose("down")
    whole.compose("up", "-d")
    whole.wait_healthy(*SERVICES)

    assert whole.cli("request", "list", "--as", "people/shop") == before
    assert whole.pay("order-1")["state"] == "settled"  # the same payment, not another one
    assert whole.pay("order-4")["state"] == "settled"
    writer = next(name for name in COORDINATORS if state_of(whole, name) == "ready")
    ran("docker", "cp", f"{whole.container(writer)}:/var/lib/quorumkeep/log", str(tmp_path))
    ran(
        str(PROGRAM),
        "audit",
        "verify",
        str(tmp_path / "log"),
        "--trust",
        str(whole.folder / "treasury/trust.json"),
    )


def test_what_runs_beside_the_coordinators_does_its_work_with_no_privilege(whole: Whole) -> None:
    beside.start(whole)
    whole.chain().pay(whole.address("deposits"), ETHER)

    until(lambda: whole.cli("deposits", "deposits", "--as", "people/anna")["deposits"])
    until(lambda: whole.holds("vault") > 0)
    until(lambda: whole.holds("deposits") < ETHER // 10)
    assert whole.pay("order-5", "desk")["state"] == "settled"  # which waited for two scorers' word
    for one in beside.SERVICES:
        check_privileges(whole, one.service)
        assert whole.described(one.service)["RestartCount"] == 0, whole.logs(one.service)
    until(lambda: all(whole.scraped(up(f"quorumkeep-{name}")) for name in BESIDE))


def test_the_next_program_takes_over_one_container_at_a_time_and_signing_never_stops(
    whole: Whole, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = next_tree(tmp_path / "next")
    whole.build({kind: assembled(tree, kind, tmp_path / kind) for kind in BUILDS}, "next")
    whole.tree = tree
    received = whole.chain().balance(CUSTOMER)
    with Payments(whole).flowing() as payments:
        order = [name for turn in turns(whole) for name in turned(whole, turn, payments)]
        for one in beside.SERVICES:
            whole.compose("up", "-d", "--no-deps", one.service)
        payments.one_more()
    with capsys.disabled():
        sys.stdout.write(
            f"\n{payments.asked} payments, each settled; the slowest took {payments.longest_s:.1f} s\n"
        )
    labels = {name: version_of(whole, name) for name in (*order, *(one.service for one in beside.SERVICES))}
    programs = {one["program"] for one in whole.cli(*CHECK)["runs"].values()}

    assert (set(order[:4]), set(order[4:]), len(order)) == (set(COSIGNERS), set(COORDINATORS), 6)
    assert programs == set(labels.values()) == {VERSION}
    assert len(set(payments.settled)) == payments.asked
    assert whole.chain().balance(CUSTOMER) - received == AMOUNT * payments.asked


def test_the_next_rules_come_into_force_and_the_program_before_stops_at_them(whole: Whole) -> None:
    change, public = "public/version.json", f"{PUBLIC}/version.json"
    whole.cli("admin", "draft", "version", "--as", "people/anna", "--out", change)
    (whole.folder / change).chmod(0o444)
    fingerprint = whole.cli("admin", "show", change)["fingerprint"]
    for name in COSIGNERS:
        ready = ("accept", "ready", "--dir", INSIDE, "--change", public, "--fingerprint", fingerprint)
        said = whole.compose("exec", "-T", name, PYTHON, "-I", "-m", "signer_nodes.main", *ready, "--json")
        (whole.folder / f"{name}.accepted.json").write_text(said)
    whole.cli("admin", "merge", change, *(f"{name}.accepted.json" for name in COSIGNERS))
    whole.cli("admin", "submit", change, "--as", "people/anna")
    whole.set_variables({"NODE_IMAGE": "quorumkeep-node:local"})
    whole.compose("up", "-d", "--no-deps", "node-c")
    paid = whole.pay("under-the-next-rules")  # the first entry after the switch
    ended = ran("docker", "wait", whole.container("node-c")).strip()
    said = whole.logs("node-c")
    whole.set_variables({"NODE_IMAGE": "quorumkeep-node:next"})
    whole.compose("up", "-d", "--no-deps", "node-c")
    whole.wait_healthy("node-c")

    assert (ended, paid["state"], whole.cli(*CHECK)["rules"]) == ("1", "settled", RULES)
    assert f"under rules {RULES}, this program has {RULES - 1}: upgrade it" in said


def test_a_lost_database_is_restored_from_a_backup_of_before(whole: Whole) -> None:
    ran("docker", "exec", whole.container("coordinator-1"), PYTHON, *BACKUP, "backup", *KEPT)
    paid = whole.pay("order-7")
    received = whole.chain().balance(CUSTOMER)
    whole.compose("rm", "-s", "-f", *COORDINATORS, "postgres")
    ran("docker", "volume", "rm", f"{whole.project}_postgres")
    whole.compose("up", "-d", "postgres")
    whole.wait_healthy("postgres")
    inside = ("run", "-T", "--rm", "--no-deps", "--entrypoint", PYTHON, "coordinator-1")
    whole.compose(*inside, *BACKUP, "restore", *KEPT)
    whole.compose("up", "-d")
    whole.wait_healthy(*COORDINATORS)

    again = whole.pay("order-7")  # found in the log, and not paid again
    assert (again["request"], whole.chain().balance(CUSTOMER)) == (paid["request"], received)
    assert whole.pay("order-8")["state"] == "settled"


def turns(whole: Whole) -> Iterator[str]:
    """Whose turn it is by ``upgrade check``, once that allows it, until everybody has had theirs."""

    def allowed() -> str | None:
        done = whole.asked(*CHECK)
        return str(json.loads(done.stdout)["next"] or "nobody") if done.returncode == 0 else None

    while (turn := until(allowed)) != "nobody":
        yield str(turn)


def turned(whole: Whole, turn: str, payments: Payments) -> list[str]:
    """Those that are replaced at a turn: of coordinators first the one that waits."""
    waits = sorted(COORDINATORS, key=lambda name: state_of(whole, name) == "ready")
    names = waits if turn == COORDINATOR else [turn]
    for name in names:
        replace_without(whole, name, payments)
    return names


def replace_without(whole: Whole, name: str, payments: Payments) -> None:
    """Stop a container, start one of the image that is named now, and see a payment at each time."""
    whole.compose("stop", name)
    payments.one_more()
    whole.compose("up", "-d", "--no-deps", name)
    whole.wait_healthy(name)
    payments.one_more()


def version_of(whole: Whole, name: str) -> str:
    """The program that the image of a running container says to have."""
    described = whole.described(name)
    assert described["State"]["Running"], whole.logs(name)
    return str(described["Config"]["Labels"]["org.opencontainers.image.version"])


def check_privileges(whole: Whole, name: str) -> None:
    described = whole.described(name)
    host, config = described["HostConfig"], described["Config"]
    assert host["ReadonlyRootfs"] and not host["Privileged"]
    assert host["CapDrop"] == ["ALL"] and not host["CapAdd"]
    assert config["User"].partition(":")[0] not in ("", "0", "root")


def state_of(whole: Whole, name: str) -> str:
    """How a coordinator stands by its own health check; the other one of two that serve is a ``standby``."""
    check = (PYTHON, "-I", "-m", "signer_nodes.api.health", "/var/lib/quorumkeep/data")
    asked = ["docker", "exec", whole.container(name), *check]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return str(json.loads(done.stdout)["state"]) if done.returncode == 0 else ""
