"""The core of the end-to-end tests on both kinds of deployment: local processes, and containers.

The bodies are those of test_nodes.py, so a container has to do exactly what a process does. Without a
container engine the second half of each pair is skipped with a sentence that says why.
"""

import pytest

from tests.e2e import test_nodes as nodes
from tests.e2e.cluster import Cluster, ScriptedCoordinator

pytest_plugins = ("tests.fixtures_docker",)
BUILD_S = 600


@pytest.fixture(
    scope="module",
    params=["local", pytest.param("containers", marks=[pytest.mark.docker, pytest.mark.timeout(BUILD_S)])],
)
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
