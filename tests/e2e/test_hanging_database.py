"""A PostgreSQL that hangs: a coordinator says that it is stalled, loses nothing, and goes on."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil  # type: ignore[import-untyped]
import pytest

from cli.demo.scenario import COORDINATOR_NAME, COSIGNERS, wait_live
from signer_nodes.api.health import NotServing, ask
from tests.e2e.payment_stream import SMALLEST, Stream, check_everything
from tests.e2e.test_standby import EVERY_S, SETTLE_S, doubled
from tests.fixtures_postgres import OwnServer, own_server

FLOWING, HANGS_S, LOOKS_S = 3, 20.0, 0.2


@contextmanager
def hanging(server: OwnServer) -> Iterator[None]:
    """Every process of the server is stopped where it is; connections stay open, and nothing answers."""
    postmaster = psutil.Process(int((server.folder / "postmaster.pid").read_text().split()[0]))
    stopped = [postmaster.pid]
    os.kill(postmaster.pid, signal.SIGSTOP)  # first, so that no more are made
    try:
        for child in postmaster.children(recursive=True):
            os.kill(child.pid, signal.SIGSTOP)
            stopped.append(child.pid)
        yield
    finally:
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_coordinator_whose_database_hangs_says_that_it_is_stalled_and_goes_on_after() -> None:
    told: list[str] = []
    with own_server() as server, doubled(server.url) as deployment:
        data = deployment.folder / COORDINATOR_NAME / "data"
        with Stream(deployment, "hangs", SMALLEST, EVERY_S).flowing() as stream:
            while len(stream.accepted) < FLOWING:
                time.sleep(EVERY_S)
            before = len(stream.accepted)
            with hanging(server):
                until = time.monotonic() + HANGS_S
                while time.monotonic() < until:
                    try:
                        told.append(ask(data)["state"])
                    except NotServing as error:
                        told.append(f"not serving: {error}")
                    time.sleep(LOOKS_S)
            wait_live(deployment, COSIGNERS)
            while len(stream.accepted) < 2 * before:
                time.sleep(EVERY_S)
        stream.settle(SETTLE_S)

        assert "stalled" in told
        check_everything(deployment, stream.accepted)
