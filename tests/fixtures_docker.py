"""A cluster in containers for tests, by pytest-docker, where a container engine answers.

Where none does, ``container_cluster`` skips with one sentence that says why; every test that asks for it
has a twin that runs on local SoftHSM. The image is assembled from this machine, so no registry is asked.

A test module asks for these fixtures by ``pytest_plugins = ("tests.fixtures_docker",)``.
"""

import asyncio
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.e2e.cluster import scratch_folder
from tests.e2e.containers.cluster import COMPOSE_FILE, ROOT, Compose, ContainerCluster, found, ran

ANSWER_S = 5.0
TWIN = "the same tests run on local SoftHSM"


class NoEngine(Exception):
    """Why no container can be started here, as one plain sentence."""


def find_compose(environment: Mapping[str, str], *, answer_s: float = ANSWER_S) -> tuple[str, ...]:
    """The compose command of an engine that answers in time. Raises ``NoEngine``."""
    path = environment.get("PATH")
    host = environment.get("DOCKER_HOST", "")
    if sys.platform != "linux":
        raise NoEngine(f"the image is assembled from a Linux machine, and this is {sys.platform}; {TWIN}")
    if host and not host.startswith("unix://"):
        raise NoEngine(f"the container engine is not on this machine (DOCKER_HOST={host}); {TWIN}")
    if shutil.which("docker", path=path) is None:
        raise NoEngine(f"no container engine: docker is not installed; {TWIN}")
    if not _succeeds(environment, answer_s, "docker", "info"):
        raise NoEngine(f"no container engine answers docker info within {answer_s:g} s; {TWIN}")
    for command in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(command[0], path=path) and _succeeds(environment, answer_s, *command, "version"):
            return command
    raise NoEngine(f"neither docker compose nor docker-compose is installed; {TWIN}")


def _succeeds(environment: Mapping[str, str], answer_s: float, *command: str) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=answer_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@pytest.fixture(scope="session")
def compose_command() -> tuple[str, ...]:
    try:
        return find_compose(os.environ)
    except NoEngine as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build context of the node's image, made from this machine."""
    folder = tmp_path_factory.mktemp("image")
    ran(sys.executable, str(ROOT / "deploy/containers/assemble.py"), str(folder))
    return folder


@pytest.fixture(scope="session")
def container_cluster(compose_command: tuple[str, ...], image_folder: Path) -> Iterator[ContainerCluster]:
    """Three nodes and a witness, provisioned in containers; ``docker_services`` starts them."""
    folder = scratch_folder()
    compose = Compose.project_in(folder, image_folder, compose_command)
    try:
        yield ContainerCluster(compose)
    finally:
        compose.down()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def running_containers(container_cluster: ContainerCluster, docker_services: object) -> ContainerCluster:
    """The cluster, which ``docker_services`` has brought up, with its genesis entry and key."""
    for process in container_cluster.processes.values():
        process.wait_listening()
    asyncio.run(found(container_cluster))
    return container_cluster


# What pytest-docker asks for.


@pytest.fixture(scope="session")
def docker_compose_command(container_cluster: ContainerCluster) -> str:
    return shlex.join(container_cluster.compose.command)


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    return str(COMPOSE_FILE)


@pytest.fixture(scope="session")
def docker_compose_project_name(container_cluster: ContainerCluster) -> str:
    return container_cluster.compose.project


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    return ["up --build -d"]  # with --wait, compose 1.29 ends well and starts nothing


@pytest.fixture(scope="session")
def docker_cleanup() -> list[str]:
    return []  # container_cluster removes it, also when its own half of the set-up has failed
