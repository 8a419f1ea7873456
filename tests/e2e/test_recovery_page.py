"""The recovery page says what works: its blocks run as they stand, on a real key, and give it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_account import Account

from policy.bip32 import checksum_address, derive, ethereum_address, parse_path
from policy.state import KeyRecord
from signer_nodes.rebuild import RecoveryError
from signer_nodes.recovery import recover_key
from tests.e2e.cluster import Cluster, ScriptedCoordinator
from tests.e2e.deployment import NODES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "runbook-recovery.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page_script(page: str, pins: dict[str, str]) -> str:
    """All blocks of the page in one script; the tests' key has another name."""
    declared = "declare -A pin=(" + " ".join(f"[{name}]=$(cat pins/{name})" for name in pins) + ")"
    blocks = "\n".join(BLOCK.findall(page)).replace("key=main", "key=hot")
    return f"set -euo pipefail\n{declared}\n{blocks}"


def run(cluster: Cluster, script: str) -> "subprocess.CompletedProcess[str]":
    programs = Path(sys.executable).parent
    return subprocess.run(
        ["bash", "-c", script],
        cwd=cluster.folder,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def pins(cluster: Cluster) -> Iterator[dict[str, str]]:
    folder = cluster.folder / "pins"
    folder.mkdir(mode=0o700)
    found = {name: cluster.processes[name].pin for name in NODES}
    for name, pin in found.items():
        (folder / name).write_text(pin)
    yield found


def stop(cluster: Cluster, *names: str) -> None:
    assert [cluster.processes[name].stop() for name in names] == [0] * len(names)


def address_of(key: KeyRecord, path: str) -> str:
    derived = derive(key.group_key, key.chain_code, path=parse_path(path))
    return checksum_address(ethereum_address(derived.public_key))


async def test_the_page_ends_with_the_private_key_of_the_accounts(
    cluster: Cluster, coordinator: ScriptedCoordinator, pins: dict[str, str]
) -> None:
    key = coordinator.state.keys["hot"]
    stop(cluster, *NODES)

    ran = run(cluster, page_script(PAGE.read_text(), pins))

    assert ran.returncode == 0, ran.stderr[-3000:]
    recovered = json.loads((cluster.folder / "recovered.json").read_bytes())
    assert recovered["group_key"] == key.group_key.hex()
    assert [account["path"] for account in recovered["accounts"]] == ["m/0/0", "m/0/1"]
    for account in recovered["accounts"]:
        assert Account.from_key(account["private_key"]).address == address_of(key, account["path"])
        assert account["address"] in ran.stdout
        assert account["private_key"] not in ran.stdout + ran.stderr
    assert not any(pin in ran.stdout + ran.stderr for pin in pins.values())


async def test_after_it_the_nodes_go_on_and_old_backups_outlive_a_refresh(
    cluster: Cluster, pins: dict[str, str]
) -> None:
    """Runs after the page: a backup of the new epoch does not mix with one of the old."""
    cluster.start(*NODES)
    successor = ScriptedCoordinator(cluster)
    await successor.ready(within_s=30)
    await successor.recover()
    assert (await successor.change_key("refresh", attempt=3)).accepted
    await successor.commit()
    await successor.tell_quorum()
    await successor.close()
    stop(cluster, "node-c")
    made = run(cluster, backup_command("node-c", "epoch-1.backup"))
    files = [cluster.folder / name for name in ("node-a.backup", "node-b.backup", "epoch-1.backup")]
    keys = [cluster.folder / "officers" / name / "key.pem" for name in ("olga", "quinn")]

    recover_key(files[:2], keys, paths=(), out=cluster.folder / "old.json")

    assert made.returncode == 0, made.stderr[-3000:]
    assert "the share of node-c of key hot in epoch 1" in made.stdout
    with pytest.raises(RecoveryError, match=r"node-b\.backup is of epoch 0, .*epoch-1\.backup of epoch 1"):
        recover_key(files[1:], keys, paths=(), out=cluster.folder / "mixed.json")
    rebuilt, first = (
        json.loads((cluster.folder / name).read_bytes()) for name in ("old.json", "recovered.json")
    )
    assert (rebuilt["epoch"], rebuilt["private_key"]) == (0, first["private_key"])


async def test_a_running_node_keeps_its_store_to_itself(cluster: Cluster, pins: dict[str, str]) -> None:
    refused = run(cluster, backup_command("node-a", "second.backup"))

    assert refused.returncode == 1
    assert "another process holds it" in refused.stderr
    assert not (cluster.folder / "second.backup").exists()


def backup_command(node: str, out: str) -> str:
    return (
        "told=$(quorumkeep identity fingerprint officers/olga/card.json)\n"
        f"quorumkeep key backup --dir {node} --key hot --quorum 1 --out {out} --pin-fd 3"
        f' --officer "officers/olga/card.json=$told" 3< pins/{node}'
    )


def test_the_test_sees_a_page_that_does_not_work(cluster: Cluster, pins: dict[str, str]) -> None:
    ran = run(cluster, page_script("```sh\nfalse\ntrue\n```\n", pins))

    assert ran.returncode != 0
