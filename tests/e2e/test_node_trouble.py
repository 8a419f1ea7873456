"""What goes wrong around a node: tokens, PINs, disks. Each is said plainly and loses nothing."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from signer_nodes.api.client import Refused
from signer_nodes.api.health import READY, UNWRITABLE, NotServing, ask
from signer_nodes.refused_pin import PIN_REFUSED
from tests.e2e.cluster import Cluster, Process, ScriptedCoordinator
from tests.e2e.deployment import ETH, WITNESS
from tests.waiting import WAIT_S, seen

WEAK_KEY = """
import sys, pkcs11
from pkcs11 import Attribute
token = pkcs11.lib(sys.argv[1]).get_token(token_label=sys.argv[2])
with token.open(rw=True, user_pin=sys.stdin.read()) as session:
    weak = {Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False}
    key = session.generate_key(pkcs11.KeyType.AES, 256, label="seal/hot/7", store=True, template=weak)
"""


def run(command: list[str], **options: Any) -> None:
    subprocess.run(command, check=True, capture_output=True, **options)


def said_by(process: Process, before: int) -> str:
    return (process.folder / "stderr.log").read_text()[before:]


def children_of(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(one) for one in found.split()]


async def test_a_wrong_pin_is_tried_once_and_said_plainly(cluster: Cluster) -> None:
    node = cluster.processes[WITNESS]
    node.kill()
    right, node.pin = node.pin, "0" * 32
    before = len((node.folder / "stderr.log").read_text())

    node.start()
    assert node.popen is not None
    code = node.popen.wait(timeout=WAIT_S)
    said = said_by(node, before)
    node.pin = right
    cluster.start(WITNESS)

    assert code == 1
    assert "PIN" in said and "Traceback" not in said and node.pin not in said


def test_a_refused_pin_can_be_held_until_there_is_another(cluster: Cluster, tmp_path: Path) -> None:
    node = cluster.processes[WITNESS]
    node.kill()
    before = len((node.folder / "stderr.log").read_text())
    credential = tmp_path / "pin"
    credential.write_text("0" * 32)
    command = [sys.executable, "-m", "signer_nodes.main", "run", "--config", str(node.folder / "config.toml")]

    with (node.folder / "stderr.log").open("ab") as log:
        held = subprocess.Popen(
            [*command, "--hold-refused-pin"],
            env={**os.environ, "CREDENTIALS_DIRECTORY": str(tmp_path)},
            stderr=log,
        )
        told = until(lambda: ask(node.folder)["state"], PIN_REFUSED)
        credential.write_text("1" * 32)
        code = held.wait(timeout=WAIT_S)
    said = said_by(node, before)
    cluster.start(WITNESS)

    assert told and code == 1
    assert said.count("waits for another one") == 1 and "0" * 32 not in said and "1" * 32 not in said


def until(told: Callable[[], str], wanted: str) -> str:
    """Once the supervisor is told so."""

    def look() -> str:
        with contextlib.suppress(NotServing):
            return told()
        return ""

    return seen(look, lambda answer: answer == wanted, every_s=0.1)


async def test_a_missing_token_is_said_plainly(cluster: Cluster) -> None:
    node = cluster.processes[WITNESS]
    node.kill()
    tokens = node.folder / "tokens"
    tokens.rename(node.folder / "elsewhere")
    tokens.mkdir()
    before = len((node.folder / "stderr.log").read_text())

    node.start()
    assert node.popen is not None
    code = node.popen.wait(timeout=WAIT_S)
    said = said_by(node, before)
    tokens.rmdir()
    (node.folder / "elsewhere").rename(tokens)
    cluster.start(WITNESS)

    assert code == 1
    assert "token" in said and "Traceback" not in said


async def test_a_node_whose_worker_template_was_killed_ends_so_that_it_is_started_again(
    cluster: Cluster,
) -> None:
    node = cluster.processes["node-c"]
    assert node.popen is not None
    before = len((node.folder / "stderr.log").read_text())
    children = children_of(node.popen.pid)

    for child in children:
        os.kill(child, signal.SIGKILL)
    code = node.popen.wait(timeout=WAIT_S)
    cluster.start("node-c")

    assert len(children) == code == 1
    assert "restart the node" in said_by(node, before)


async def test_a_full_disk_is_a_refusal_and_nothing_is_lost(
    coordinator: ScriptedCoordinator, cluster: Cluster
) -> None:
    node = cluster.processes["node-c"]
    node.kill()
    small = node.folder / "small"
    small.mkdir()
    try:
        run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(small)])
    except subprocess.CalledProcessError:
        pytest.skip("mounting a small disk needs privileges that this run lacks")
    try:
        await _fill_and_free(coordinator, cluster, small)
    finally:
        node.kill()
        run(["umount", str(small)])


def test_a_node_does_not_start_on_a_token_that_gives_keys_away(cluster: Cluster) -> None:
    node = cluster.processes[WITNESS]
    node.kill()
    before = len((node.folder / "stderr.log").read_text())
    module = next(
        line.split('"')[1]
        for line in (node.folder / "config.toml").read_text().splitlines()
        if line.startswith("module")
    )
    environment = {**os.environ, "SOFTHSM2_CONF": str(node.folder / "softhsm2.conf")}
    make_weak = [sys.executable, "-c", WEAK_KEY, module, node.name]
    run(make_weak, input=node.pin.encode(), env=environment)

    node.start()
    assert node.popen is not None
    code = node.popen.wait(timeout=WAIT_S)

    assert code == 1
    assert "seal/hot/7" in said_by(node, before)


async def _fill_and_free(coordinator: ScriptedCoordinator, cluster: Cluster, small: Path) -> None:
    node = cluster.processes["node-c"]
    for path in node.folder.glob("node.db*"):
        (small / path.name).write_bytes(path.read_bytes())
        (small / path.name).chmod(0o600)
    configuration = node.folder / "config.toml"
    text = configuration.read_text()
    configuration.write_text(text.replace('data_dir = "."', 'data_dir = "small"'))
    cluster.start("node-c")
    await coordinator.ready("node-c")
    size = (await coordinator.clients["node-c"].head()).size
    filler = small / "filler"
    filler.write_bytes(bytes(_free_bytes(small)))
    for number in range(40):
        coordinator.request(amount=ETH // 1000 + number)
    coordinator.checkpoint()

    with pytest.raises(Refused, match="unavailable"):
        await coordinator.append_to("node-c")
    full = ask(small)["state"]
    unchanged = (await coordinator.clients["node-c"].head()).size
    filler.unlink()
    seen(lambda: ask(small)["state"], lambda state: state == READY)
    await coordinator.commit()
    after = (await coordinator.clients["node-c"].head()).size

    assert (full, unchanged) == (UNWRITABLE, size)
    assert after == coordinator.frontier.size


def _free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
