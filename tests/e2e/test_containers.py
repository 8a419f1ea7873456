"""The core of the end-to-end tests on both kinds of deployment: local processes, and containers.

The bodies are those of test_nodes.py, so a container has to do exactly what a process does. Without a
container engine the second half of each pair is skipped with a sentence that says why; that the image
has everything a node needs is then still tested, with its files as the root of a process.
"""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from deploy.containers.assemble import IMAGES, closure, is_wanted
from signer_nodes.api.card import parse_card
from tests.e2e import test_nodes as nodes
from tests.e2e.bills import bill, check_bill, image_files
from tests.e2e.cluster import Cluster, ScriptedCoordinator
from tests.e2e.containers.cluster import COMPOSE_FILE, INSIDE, ROOT, ContainerCluster, ContainerProcess, ran
from tests.e2e.containers.engine import NoEngine, find_compose
from tests.e2e.containers.rooted import extracted, inside
from tests.e2e.deployment import ORIGIN, WITNESS

pytest_plugins = ("tests.fixtures_docker",)
BUILD_S = 1800
IN_CONTAINERS = (pytest.mark.docker, pytest.mark.timeout(BUILD_S))
IMPORT_ALL = """
import importlib, pkgutil
for name in ("policy", "signer_nodes"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        importlib.import_module(module.name)
        print(module.name)
"""


@pytest.fixture(scope="module", params=["local", pytest.param("containers", marks=IN_CONTAINERS)])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Three nodes and a witness with a key: conftest.py's processes on this machine, or in containers."""
    fixture = "running_containers" if request.param == "containers" else "cluster"
    made: Cluster = request.getfixturevalue(fixture)
    return made


async def test_every_pair_signs(coordinator: ScriptedCoordinator) -> None:
    await nodes.test_every_pair_signs_and_other_libraries_accept_it(coordinator)


async def test_one_node_down_and_back(coordinator: ScriptedCoordinator, cluster: Cluster) -> None:
    await nodes.test_one_node_down_and_back_while_another_restarts(coordinator, cluster)


async def test_a_restarted_node_declines(coordinator: ScriptedCoordinator, cluster: Cluster) -> None:
    await nodes.test_a_restarted_node_has_no_presignatures_and_declines(coordinator, cluster)


# What only containers can get wrong.


@pytest.fixture(params=[pytest.param("containers", marks=IN_CONTAINERS)])
def witness(running_containers: ContainerCluster) -> ContainerProcess:
    process = running_containers.processes[WITNESS]
    assert isinstance(process, ContainerProcess)
    return process


def test_the_engine_shows_no_pin(running_containers: ContainerCluster, witness: ContainerProcess) -> None:
    described = json.dumps(witness.described()) + ran("docker", "top", witness.container, "-ef")

    assert "CREDENTIALS_DIRECTORY=/run/secrets" in described and "signer_nodes.main" in described
    assert witness.pin not in described + witness.logs()


def test_a_container_has_no_privilege_and_one_writable_volume(witness: ContainerProcess) -> None:
    described = witness.described()
    host = described["HostConfig"]
    writable = [mount["Destination"] for mount in described["Mounts"] if mount["RW"]]
    published = [place["HostIp"] for places in host["PortBindings"].values() for place in places]

    assert described["Config"]["User"] not in ("", "0", "root")
    assert described["Config"]["Healthcheck"]["Test"][0] == "CMD"
    assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["Privileged"]
    assert writable == [INSIDE]
    assert published == ["127.0.0.1"]


def test_a_container_complains_of_its_softhsm_and_of_nothing_else(witness: ContainerProcess) -> None:
    warnings = [line for line in witness.logs().splitlines() if " WARNING quorumkeep-node" in line]

    assert warnings and all("SoftHSM" in line for line in warnings)


def test_a_wrong_pin_ends_the_container_for_good(witness: ContainerProcess) -> None:
    witness.kill()
    wrong = "0" * 32
    witness.hand_over(wrong)

    witness.start()
    code = witness.wait_ended()
    restarts, said = witness.described()["RestartCount"], witness.logs()
    witness.hand_over(witness.pin)
    witness.start()
    witness.wait_listening()

    assert (code, restarts) == (1, 0)
    assert "PIN" in said and wrong not in said and "Traceback" not in said


# What holds without an engine.


@pytest.fixture
def root(image_folder: Path, tmp_path: Path) -> Iterator[Path]:
    """The files of the image, to be the root of a process in a user namespace of its own."""
    folder = extracted(image_folder, tmp_path / "root")
    yield folder
    shutil.rmtree(folder)


def test_the_image_holds_whatever_a_node_imports(root: Path) -> None:
    imported = ran(*inside(root, "-c", IMPORT_ALL)).split()

    assert {"signer_nodes.main", "signer_nodes.hsm.device", "policy.roster"} <= set(imported)


def test_the_image_alone_makes_a_token_and_a_card(root: Path, tmp_path: Path) -> None:
    (root / "run/secrets").mkdir(parents=True)
    (root / "run/secrets/pin").write_text("a-pin-of-this-test")
    command = inside(root, "-m", "signer_nodes.main", "provision", "--dir", INSIDE, "--name", "node-a")

    subprocess.run(
        [*command, "--origin", ORIGIN],
        env={"CREDENTIALS_DIRECTORY": "/run/secrets", "PATH": "/usr/bin"},
        check=True,
        stdout=subprocess.DEVNULL,
    )

    card = parse_card((root / INSIDE[1:] / "card.json").read_bytes())
    assert (card.name, card.role) == ("node-a", "node")
    assert list((root / INSIDE[1:] / "tokens").iterdir())


def test_the_bill_of_materials_is_of_what_is_in_the_image(image_folder: Path) -> None:
    files, document = image_files(image_folder), bill(image_folder)
    packages = {one["name"] for one in document["components"] if one["purl"].startswith("pkg:deb/")}

    check_bill(document, files)
    assert files["/usr/share/doc/quorumkeep/sbom.cdx.json"] == (image_folder / "sbom.cdx.json").read_bytes()
    assert shutil.which("dpkg") is None or {"libc6", "softhsm2", "libsofthsm2"} <= packages


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_the_list_of_distributions_is_what_the_process_imports(name: str) -> None:
    kind = IMAGES[name]
    imported = {
        module.split(".")[0]
        for package in kind.packages
        for path in (ROOT / package).rglob("*.py")
        if not kind.but.intersection(path.relative_to(ROOT / package).parts)
        for module in imports(path)
    }
    known = packages_distributions()
    third = imported - sys.stdlib_module_names
    needed = {known[one][0].lower().replace("_", "-") for one in third if one in known}
    listed = {one.lower() for one in kind.distributions}
    by_name = {"psycopg", "psycopg-binary", "uvloop"}  # a URL's driver; a loop, where there is one

    assert needed - {"quorumkeep"} <= listed
    assert listed - needed <= by_name


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            yield node.module


def test_requirements_of_requirements_are_found() -> None:
    assert {"cffi", "pycparser", "asn1crypto"} <= closure(["cryptography", "python-pkcs11"])


def test_tests_and_sources_of_binaries_stay_outside() -> None:
    wanted = [is_wanted(Path(name)) for name in ("numpy/linalg.py", "numpy/tests/test_a.py", "a/b.pyx")]

    assert wanted == [True, False, False]


def test_compose_puts_no_secret_into_environment_or_arguments() -> None:
    text = re.sub(r"(?m)^\s*#.*$", "", COMPOSE_FILE.read_text())

    assert re.findall(r"(?m)^  environment:\n((?:    .*\n)+)", text) == [
        "    CREDENTIALS_DIRECTORY: /run/secrets\n"
    ]
    assert not re.search(r"(?m)^\s*(command|args|env_file|entrypoint):", text)


# The probe: a machine without an engine is an ordinary machine.


def machine(folder: Path, **programs: str) -> dict[str, str]:
    """The environment of a machine that has only these programs."""
    for name, script in programs.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return {"PATH": str(folder)}


def test_no_client_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(NoEngine, match="docker is not installed; the core tests run on local SoftHSM"):
        find_compose(machine(tmp_path))


@pytest.mark.parametrize("answer", ["exit 1", "while :; do :; done"])
def test_a_client_whose_engine_fails_or_hangs_is_said_plainly(tmp_path: Path, answer: str) -> None:
    with pytest.raises(NoEngine, match=r"no container engine answers docker info within 0\.3 s"):
        find_compose(machine(tmp_path, docker=answer), answer_s=0.3)


def test_an_engine_elsewhere_is_not_used(tmp_path: Path) -> None:
    elsewhere = machine(tmp_path, docker="exit 0") | {"DOCKER_HOST": "tcp://engine.example.com:2376"}

    with pytest.raises(NoEngine, match="not on this machine"):
        find_compose(elsewhere)


def test_an_engine_without_compose_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(NoEngine, match="neither docker compose nor docker-compose"):
        find_compose(machine(tmp_path, docker='[ "$1" = info ]'))


def test_the_plugin_goes_before_the_older_program(tmp_path: Path) -> None:
    older = machine(tmp_path, docker='[ "$1" = info ]', docker_compose="exit 0")
    first = find_compose(older)
    second = find_compose(machine(tmp_path, docker="exit 0"))

    assert (first, second) == (("docker-compose",), ("docker", "compose"))
