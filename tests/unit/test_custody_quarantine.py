"""A node in quarantine signs nothing that is reserved from then on, cosigns on, and signs when released."""

import json
from pathlib import Path

import pytest

from cli.main import invoke
from cli.results import Misuse
from custody.quarantine import LOOK_S, Quarantine, read_quarantine, write_quarantine
from policy.errors import OperationalError
from tests.unit.custody_cluster import make_request
from tests.unit.custody_house import House, Running
from tests.waiting import found, until


async def signers(running: Running, name: str) -> tuple[str, ...]:
    """Who signs a small payment."""
    _, body, signature = make_request(name, amount=1, now_ms=running.parts.now_ms())
    request = (await running.service.submit(body, signature)).request
    await running.until(request, "settled")
    job = running.parts.sequencer.state.newest_job(request)
    assert job is not None
    return job.signers


async def in_quarantine(running: Running, folder: Path, **reasons: str) -> None:
    named = {name.replace("_", "-"): reason for name, reason in reasons.items()}
    write_quarantine(folder / "quarantine.json", named)
    await until(lambda: dict(running.parts.quarantine.reasons) == named, 5 * LOOK_S)


async def test_a_node_in_quarantine_is_in_no_signing_set_and_cosigns_on(tmp_path: Path) -> None:
    async with House(tmp_path).with_key() as running:
        await in_quarantine(running, tmp_path, node_a="its disk is looked at")
        signed = [await signers(running, f"r{n}") for n in range(4)]
        await until(
            lambda: running.parts.replication.followers["node-a"].size == running.parts.sequencer.state.size
        )
        status = await running.service.status()
        assert isinstance(status, dict) and isinstance(status["nodes"], list)
        shown = {str(one["name"]): one for one in status["nodes"] if isinstance(one, dict)}

        assert set(signed) == {("node-b", "node-c")}
        assert shown["node-a"]["quarantine"] == "its disk is looked at" and shown["node-a"]["live"]
        assert "quarantine" not in shown["node-b"]


async def test_a_released_node_signs_again(tmp_path: Path) -> None:
    async with House(tmp_path).with_key() as running:
        await in_quarantine(running, tmp_path, node_a="x")
        await in_quarantine(running, tmp_path, node_b="y")

        assert await signers(running, "again") == ("node-a", "node-c")


async def test_with_too_few_left_a_payment_waits_until_one_is_released(tmp_path: Path) -> None:
    async with House(tmp_path).with_key() as running:
        await in_quarantine(running, tmp_path, node_a="x", node_b="y")
        _, body, signature = make_request("waits", amount=1, now_ms=running.parts.now_ms())
        request = (await running.service.submit(body, signature)).request
        waiting = await found(lambda: running.service.get(request), lambda record: record.error)
        await in_quarantine(running, tmp_path, node_b="y")
        paid = await running.until(request, "settled")

        assert waiting.state == "ready" and "in quarantine: node-a, node-b" in waiting.error
        assert paid.state == "settled"


async def test_a_restart_remembers_who_is_in_quarantine(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.with_key() as running:
        await in_quarantine(running, tmp_path, node_c="x")
    async with house.running() as again:
        assert await signers(again, "after") == ("node-a", "node-b")


def test_a_file_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.json"
    write_quarantine(path, {"node-a": "x"})
    made = Quarantine(path)
    made.look()
    path.write_text('{"node-a": 7}')

    with pytest.raises(OperationalError, match="remove it to release everybody"):
        made.look()
    assert made.reasons == {"node-a": "x"}


CONFIG = """
origin = "log.example.com/test"
listen = "127.0.0.1:0"
data_dir = "data"
genesis = "genesis.json"
identity_key = "identity.key"
log_key = "log.key"
[chains]
[nodes.node-a]
address = "127.0.0.1:7700"
certificate = "a.pem"
"""


def test_people_put_a_node_into_quarantine_and_release_it_by_commands(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    where = ("--config", str(config))

    put = invoke("coordinator", "quarantine", "node-a", "--reason", "its disk", *where).document
    kept = read_quarantine(tmp_path / "data" / "quarantine.json")
    released = invoke("coordinator", "release", "node-a", *where).document

    assert put["quarantine"] == kept == {"node-a": "its disk"}
    assert released["quarantine"] == json.loads((tmp_path / "data" / "quarantine.json").read_text()) == {}


@pytest.mark.parametrize(("node", "reason"), [("node-z", "x"), ("node-a", ""), ("node-a", "a\nb")])
def test_nobody_unknown_and_nobody_without_a_reason_is_put_there(
    node: str, reason: str, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)

    with pytest.raises(Misuse):
        invoke("coordinator", "quarantine", node, "--reason", reason, "--config", str(config))
    assert not (tmp_path / "data").exists()
