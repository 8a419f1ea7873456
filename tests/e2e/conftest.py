"""What end-to-end tests share: one cluster a module, with its genesis entry and key."""

import shutil
from collections.abc import AsyncIterator

import pytest

from tests.e2e.cluster import Cluster, ScriptedCoordinator, found, scratch_folder


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    """Three nodes and a witness, running."""
    folder = scratch_folder()
    made = Cluster(folder)
    try:
        made.start()
        await found(made)
        yield made
    finally:
        made.kill_all()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def coordinator(cluster: Cluster) -> AsyncIterator[ScriptedCoordinator]:
    """A coordinator that starts without a database: it takes the log from the cosigners."""
    made = ScriptedCoordinator(cluster)
    await made.ready()
    await made.recover()
    yield made
    await made.close()
