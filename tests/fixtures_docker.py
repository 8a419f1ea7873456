"""A cluster in containers for tests, by pytest-docker, where a container engine answers.

Where none does, ``container_cluster`` skips with one sentence that says why; every test that asks for it
has a twin that runs on local SoftHSM. The image is assembled from this machine, so no registry is asked.

A test module asks for these fixtures by ``pytest_plugins = ("tests.fixtures_docker",)``.
"""

import asyncio
import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_docker.plugin import containers_scope

from deploy.containers.assemble import assemble
from tests.e2e.cluster import found, scratch_folder
from tests.e2e.containers.cluster import COMPOSE_FILE, Compose, ContainerCluster
from tests.e2e.containers.engine import NoEngine, find_compose


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
    assemble(folder)
    return folder


@pytest.fixture(scope="session")
def coordinator_image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build context of the coordinator's image."""
    folder = tmp_path_factory.mktemp("coordinator-image")
    assemble(folder, "coordinator")
    return folder


@pytest.fixture(scope="session")
def service_image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build context of the image for rebalancers, sweepers and observers."""
    folder = tmp_path_factory.mktemp("service-image")
    assemble(folder, "service")
    return folder


@pytest.fixture(scope=containers_scope)
def container_cluster(compose_command: tuple[str, ...], image_folder: Path) -> Iterator[ContainerCluster]:
    """Three nodes and a witness, provisioned in containers; ``docker_services`` starts them."""
    folder = scratch_folder()
    compose = Compose.project_in(folder, image_folder, compose_command)
    try:
        yield ContainerCluster(compose)
    finally:
        compose.down()
        shutil.rmtree(folder)


@pytest.fixture(scope=containers_scope)
def running_containers(container_cluster: ContainerCluster, docker_services: object) -> ContainerCluster:
    """The cluster, which ``docker_services`` has brought up, with its genesis entry and key."""
    for process in container_cluster.processes.values():
        process.wait_listening()
    asyncio.run(found(container_cluster))
    return container_cluster


# What pytest-docker asks for.


@pytest.fixture(scope=containers_scope)
def docker_compose_command(container_cluster: ContainerCluster) -> str:
    return shlex.join(container_cluster.compose.command)


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    return str(COMPOSE_FILE)


@pytest.fixture(scope=containers_scope)
def docker_compose_project_name(container_cluster: ContainerCluster) -> str:
    return container_cluster.compose.project


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    """The image is built by then. With --wait, compose 1.29 would end well and start nothing."""
    return ["up -d"]


@pytest.fixture(scope="session")
def docker_cleanup() -> list[str]:
    return []  # container_cluster removes it, also when its own half of the set-up has failed
