"""kill -9 of any one process at any time: nothing signed twice, no request lost, and everything resumes."""

import contextlib
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from operator import eq, lt, ne

import pytest

from cli.demo import policy as names
from cli.demo.scenario import COORDINATOR_NAME, COSIGNERS, Deployment, wait_live
from policy.entries import ShredEntry, parse_entry
from policy.errors import QuorumkeepError
from tests.chaos.record import published_entries
from tests.e2e.payment_stream import (
    SMALLEST,
    Stream,
    check_everything,
    running_deployment,
)
from tests.waiting import seen

VICTIMS = (COORDINATOR_NAME, *COSIGNERS)
BETWEEN_S = 2.0
EVERY_S = 0.25
SETTLE_S = 60.0


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with running_deployment() as made:
        yield made


@pytest.fixture(scope="module")
def paid() -> dict[str, int]:
    """Every payment of this module, which all share one chain."""
    return {}


def kill(deployment: Deployment, name: str) -> None:
    """kill -9, and wait until the supervisor has brought it back and it follows the log again."""
    process = deployment.supervisor.process_ids()[name]
    os.kill(process, signal.SIGKILL)
    seen(lambda: deployment.supervisor.process_ids()[name], partial(ne, process))


def kill_in_turns(deployment: Deployment, source: random.Random, *, rounds: int) -> None:
    """Every process once a round, in seeded order, each at a seeded moment once all are well again."""
    for _ in range(rounds):
        for name in source.sample(VICTIMS, len(VICTIMS)):
            time.sleep(source.random() * BETWEEN_S)
            kill(deployment, name)
            wait_live(deployment, COSIGNERS)


@pytest.mark.parametrize("seed", [1])
def test_each_request_is_paid_once_while_every_process_is_killed_in_turn(
    deployment: Deployment, paid: dict[str, int], seed: int
) -> None:
    with Stream(deployment, f"turns-{seed}", SMALLEST + seed * 10**6, EVERY_S).flowing() as stream:
        kill_in_turns(deployment, random.Random(seed), rounds=1)
        seen(lambda: len(stream.accepted), partial(lt, len(VICTIMS)))
    stream.settle(SETTLE_S)
    paid.update(stream.accepted)

    check_everything(deployment, paid)


def test_each_request_is_paid_once_when_the_coordinator_loses_its_database(
    deployment: Deployment, paid: dict[str, int]
) -> None:
    with Stream(deployment, "database", SMALLEST, EVERY_S).flowing() as stream:
        seen(lambda: len(stream.accepted), partial(lt, 4))
        deployment.supervisor.kill(COORDINATOR_NAME)
        shutil.rmtree(deployment.folder / "coordinator" / "data")
        deployment.supervisor.revive(COORDINATOR_NAME)
        wait_live(deployment, COSIGNERS)
    stream.ask_again()  # what no cosigner was told of yet was in the database alone
    stream.settle(SETTLE_S)
    paid.update(stream.accepted)

    check_everything(deployment, paid)


@contextlib.contextmanager
def refreshing(deployment: Deployment) -> Iterator[list[int]]:
    """An administrator who has the key refreshed again and again; the epochs that were said to have begun."""
    begun: list[int] = []
    ending = threading.Event()

    def run() -> None:
        while not ending.is_set():
            with contextlib.suppress(QuorumkeepError):
                begun.append(refresh(deployment))
            ending.wait(4 * EVERY_S)

    thread = threading.Thread(target=run, name="refreshing")
    thread.start()
    try:
        yield begun
    finally:
        ending.set()
        thread.join()


def refresh(deployment: Deployment) -> int:
    """Have the key refreshed; its epoch."""
    return int(deployment.ask(names.ADMINISTRATORS[0], "key", "refresh", names.KEY)["epoch"])


def receipts(deployment: Deployment) -> set[tuple[int, str]]:
    """Which epochs are destroyed, and by whom, as the published log has it."""
    entries = [parse_entry(data).entry for data in published_entries(deployment)]
    return {(entry.epoch, entry.by) for entry in entries if isinstance(entry, ShredEntry)}


def refresh_through_kills(
    deployment: Deployment, source: random.Random, *, kills: int
) -> tuple[dict[str, int], int]:
    """Payments and refreshes all the time, and kills at random moments; what was paid, and the last epoch."""
    label = f"refreshes-{source.random()}"
    with Stream(deployment, label, SMALLEST + source.randrange(10**9), EVERY_S).flowing() as stream:
        with refreshing(deployment) as begun:
            for name in source.choices(VICTIMS, k=kills):
                time.sleep(source.random() * BETWEEN_S)
                kill(deployment, name)
                wait_live(deployment, COSIGNERS)
        epoch = refresh(deployment)
    stream.settle(SETTLE_S)
    assert begun == sorted(set(begun)) and len(begun) > 1
    assert epoch > begun[-1]
    return stream.accepted, epoch


@pytest.mark.parametrize("seed", [5])
def test_refreshes_through_kills_leave_one_epoch_in_which_everything_is_paid(
    deployment: Deployment, paid: dict[str, int], seed: int
) -> None:
    accepted, epoch = refresh_through_kills(deployment, random.Random(seed), kills=3)
    paid.update(accepted)

    everything = {(over, name) for over in range(epoch) for name in names.NODES}
    seen(lambda: receipts(deployment), partial(eq, everything), every_s=EVERY_S)
    check_everything(deployment, paid)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(20, 23))
def test_refreshes_go_on_through_many_kills(deployment: Deployment, paid: dict[str, int], seed: int) -> None:
    accepted, _ = refresh_through_kills(deployment, random.Random(seed), kills=15)
    paid.update(accepted)

    check_everything(deployment, paid)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(10, 13))
def test_each_request_is_paid_once_through_many_rounds_of_kills(
    deployment: Deployment, paid: dict[str, int], seed: int
) -> None:
    with Stream(deployment, f"rounds-{seed}", SMALLEST + seed * 10**6, EVERY_S).flowing() as stream:
        kill_in_turns(deployment, random.Random(seed), rounds=4)
    stream.settle(2 * SETTLE_S)
    paid.update(stream.accepted)

    check_everything(deployment, paid)
