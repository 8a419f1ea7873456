"""Drills of losses: a node, its token, the coordinator, and the chain."""

import shutil
import time

from cli.demo import policy as names
from cli.demo.scenario import ANVIL, COORDINATOR_NAME, COSIGNERS, wait_live
from cli.demo.scenes import SETTLED, Stage
from cli.demo.supervisor import run_to_end
from cli.drills.steps import Steps
from policy.errors import OperationalError

LOST, LEFT = names.NODES[2], names.NODES[:2]
STILL_S, POLL_S = 4.0, 0.1
UNPAID = ("received", "logged", "ready", "reserved", "signed", "broadcast")


def lost_node(stage: Stage, steps: Steps) -> None:
    """A node's machine is gone; then a second one, for a while."""
    pay(stage, steps, label="before")
    stage.deployment.supervisor.kill(LOST)
    shutil.rmtree(stage.deployment.node_folder(LOST))
    sent = pay(stage, steps, label="with-two-nodes")
    signers = stage.signers(sent)
    steps.must("the two nodes that are left sign", signers == LEFT, seen=signers)
    codes = found_by_doctor(stage)
    steps.must(
        "the doctor finds it, and that no node is to spare", {"cosigner-down", "none-to-spare"} <= codes
    )
    stage.deployment.supervisor.stop(LEFT[1])
    waiting = stage.send(names.PAYMENTS, "0.01 eth", idempotency_key="with-one-node")["request"]
    steps.must("with one node nothing is signed", stays_unpaid(stage, waiting))
    steps.must("the doctor says that signing has stopped", "signing-stopped" in found_by_doctor(stage))
    stage.deployment.supervisor.revive(LEFT[1])
    ended = stage.wait_state(waiting, SETTLED)
    steps.must("what waited is paid once the second is back", ended["state"] == SETTLED, seen=ended)


def lost_hsm(stage: Stage, steps: Steps) -> None:
    """A node's token is gone, its disk is not: such a node never comes back."""
    pay(stage, steps, label="before")
    stage.deployment.supervisor.kill(LOST)
    shutil.rmtree(stage.deployment.node_folder(LOST) / "tokens")
    (stage.deployment.node_folder(LOST) / "tokens").mkdir()
    config = str(stage.deployment.node_folder(LOST) / "config.toml")
    run = stage.deployment.node_program(LOST, "run", "--config", config)
    steps.refused(
        "without its token the node does not start",
        lambda: run_to_end(run, timeout_s=30),
        reason="failed (1)",
    )
    sent = pay(stage, steps, label="without-the-token")
    signers = stage.signers(sent)
    steps.must("the two nodes that are left sign", signers == LEFT, seen=signers)
    steps.must("the doctor finds it", {"cosigner-down", "none-to-spare"} <= found_by_doctor(stage))
    new = stage.deployment.node_program(LOST, "provision", *_as(stage, LOST), "--json")
    steps.refused(
        "its name is not provisioned anew: a successor has a new one",
        lambda: run_to_end(new, timeout_s=30),
        reason="failed (1)",
    )


def lost_coordinator(stage: Stage, steps: Steps) -> None:
    """The coordinator dies with a payment under way, and its database with it."""
    first = pay(stage, steps, label="before")
    size = int(stage.deployment.status()["size"])
    under_way = stage.send(names.PAYMENTS, "0.01 eth", idempotency_key="under-way")["request"]
    stage.deployment.supervisor.kill(COORDINATOR_NAME)
    shutil.rmtree(stage.deployment.folder / COORDINATOR_NAME / "data")
    stage.deployment.supervisor.revive(COORDINATOR_NAME)
    wait_live(stage.deployment, COSIGNERS)
    found = int(stage.deployment.status()["size"])
    steps.must("a coordinator without its database has the log from the cosigners", found >= size, seen=found)
    paid = balance(stage)
    again = pay(stage, steps, label="before")
    steps.must("the same idempotency key is the same payment", again == first and balance(stage) == paid)
    repeated = pay(stage, steps, label="under-way")
    steps.must("the backend repeats what was under way: one request", repeated == under_way, seen=repeated)
    steps.must("every payment was made once", balance(stage) == 2 * SMALL, seen=balance(stage))


def chain_halt(stage: Stage, steps: Steps) -> None:
    """The chain answers nobody for a while."""
    pay(stage, steps, label="before")
    stage.deployment.supervisor.stop(ANVIL)
    sent = [
        stage.send(names.PAYMENTS, "0.01 eth", idempotency_key=f"halted-{number}")["request"]
        for number in range(3)
    ]
    steps.must("requests are taken in while the chain is halted", len(set(sent)) == len(sent))
    steps.must(
        "none of them is paid, denied or lost", all(stays_unpaid(stage, one, for_s=1.0) for one in sent)
    )
    stage.deployment.supervisor.revive(ANVIL)
    stage.deployment.supervisor.wait_for(ANVIL, lambda _: stage.deployment.chain.answers(), timeout_s=30)
    states = [stage.wait_state(one, SETTLED)["state"] for one in sent]
    steps.must("all are paid once it goes on", states == [SETTLED] * len(sent), seen=states)
    steps.must("every payment was made once", balance(stage) == 4 * SMALL, seen=balance(stage))


SMALL = 10**16


def pay(stage: Stage, steps: Steps, *, label: str) -> str:
    """A small payment under an idempotency key, to its end; its request."""
    paid = stage.pay("0.01 eth", idempotency_key=label)
    steps.must(f"a payment ({label}) settles", paid["state"] == SETTLED, seen=paid)
    return str(paid["request"])


def balance(stage: Stage) -> int:
    """What the customer was paid in all."""
    return stage.deployment.chain.balance(names.CUSTOMER)


def stays_unpaid(stage: Stage, request: str, *, for_s: float = STILL_S) -> bool:
    """Whether a request waits, and goes on waiting."""
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        if stage.deployment.ask("bob", "request", "show", request)["state"] not in UNPAID:
            return False
        time.sleep(POLL_S)
    return True


def found_by_doctor(stage: Stage, timeout_s: float = 30.0) -> set[str]:
    """The codes of the doctor's findings, once it finds a cosigner down."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = stage.deployment.ask("anna", "doctor", "--dir", str(stage.deployment.folder))
        codes = {str(one["code"]) for one in found["findings"]}
        if "cosigner-down" in codes:
            return codes
        if time.monotonic() > deadline:
            raise OperationalError(f"the doctor finds no cosigner down, but {', '.join(sorted(codes))}")
        time.sleep(POLL_S)


def _as(stage: Stage, name: str) -> tuple[str, ...]:
    origin = stage.deployment.connection().origin
    return (
        "--dir",
        str(stage.deployment.node_folder(name)),
        "--name",
        name,
        "--role",
        "node",
        "--origin",
        origin,
    )
