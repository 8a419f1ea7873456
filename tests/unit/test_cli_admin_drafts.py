"""Drawing a change up against what a running coordinator has in force, and handing it in."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cli.admin.change_file import read_change
from cli.identities import CARD, KEY, PersonCard
from cli.main import invoke
from cli.results import Misuse, Result
from custody.adapters.api_server import CustodyServicer, ServerTls, start_server
from custody.adapters.identity import boot_credentials
from custody.api.errors import CallRefused
from policy.encoding import Json, canonical
from policy.errors import OperationalError
from tests.unit.custody_certificates import identity_certificate
from tests.unit.custody_cluster import ORIGIN, identity, policy_document, public
from tests.unit.custody_house import Clock, Running
from tests.unit.test_custody_enacting import ADMINISTRATORS, house_with, stricter
from tests.waiting import until

DELAY_MS = 3_600_000


class Desk:
    """Administrators at a running coordinator, each with a folder."""

    def __init__(self, folder: Path, running: Running, clock: Clock) -> None:
        self.folder, self.running, self.clock = folder, running, clock
        for name, kind in (("admin", "administrator"), ("second", "administrator"), ("shop", "backend")):
            (folder / name).mkdir()
            key = identity(name)
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            (folder / name / KEY).touch(0o600)
            (folder / name / KEY).write_bytes(pem)
            (folder / name / CARD).write_bytes(canonical(PersonCard(kind, name, public(name), None).body()))

    def opened(self, port: int) -> "Desk":
        client: Json = {
            "origin": ORIGIN,
            "address": f"127.0.0.1:{port}",
            "certificate": identity_certificate(identity("coordinator")).decode(),
            "policy": policy_document(),
        }
        (self.folder / "client.json").write_bytes(canonical(client))
        return self

    async def run(self, *argv: str, who: str = "admin") -> Result:
        more = ("--as", str(self.folder / who), "--client", str(self.folder / "client.json"))
        return await asyncio.to_thread(invoke, "admin", *argv, *more)

    async def draft(self, kind: str, *argv: str, name: str = "") -> Path:
        path = self.folder / (name or f"{kind}-change.json")
        await self.run("draft", kind, *argv, "--out", str(path))
        return path

    async def draft_policy(self, document: Any, *, name: str = "") -> Path:
        file = self.folder / "policy.json"
        file.write_text(json.dumps(document))
        return await self.draft("policy", "--document", str(file), name=name)

    def sign(self, path: Path, *names: str) -> None:
        for name in names:
            told = ("--fingerprint", read_change(path).fingerprint)
            invoke("admin", "sign", str(path), "--as", str(self.folder / name), *told)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    house = house_with(tmp_path, administrators=ADMINISTRATORS, policy_delay_ms=DELAY_MS)
    house.now_ms = clock = Clock()
    mine = boot_credentials("coordinator", identity("coordinator"))
    async with house.running() as running:
        servicer = CustodyServicer(running.service, running.parts)
        tls = ServerTls(mine.certificate_pem, mine.key_pem)
        server, port = await start_server(servicer, "127.0.0.1:0", tls=tls)
        yield Desk(tmp_path, running, clock).opened(port)
        await server.stop(0)


async def test_a_policy_is_drawn_up_signed_and_handed_in_and_one_command_vetoes_it(desk: Desk) -> None:
    path = await desk.draft_policy(stricter())
    desk.sign(path, "admin", "second")
    outcome = (await desk.run("submit", str(path), who="second")).document
    again = (await desk.run("submit", str(path))).document
    pending = str(outcome["subject"])
    await desk.run("fetch", pending[:8], "--out", str(desk.folder / "pending.json"))
    shown = json.loads((desk.folder / "pending.json").read_text())
    effective = [change.effective_ms for change in desk.running.parts.sequencer.state.pending]
    vetoed = await desk.run("veto", pending[:8], "--reason", "not agreed")

    assert [outcome["effective_ms"], again["effective_ms"]] == 2 * effective
    assert (outcome["was_done"], again["was_done"]) == (False, True)
    assert shown == stricter()
    assert vetoed.document["subject"] == pending and vetoed.code == 0
    assert desk.running.parts.sequencer.state.pending == ()


async def test_below_the_quorum_a_change_is_refused_with_the_numbers(desk: Desk) -> None:
    path = await desk.draft_policy(stricter())
    desk.sign(path, "admin")

    with pytest.raises(CallRefused, match="need 2 administrators, got 1: nothing was logged"):
        await desk.run("submit", str(path))


async def test_a_freeze_is_one_command_and_its_end_names_it(desk: Desk) -> None:
    with pytest.raises(OperationalError, match="signing is not frozen"):
        await desk.draft("unfreeze", "--reason", "none")
    frozen = (await desk.run("freeze", "--reason", "a stolen laptop")).document
    path = await desk.draft("unfreeze", "--reason", "found")
    desk.sign(path, "admin", "second")
    ended = (await desk.run("submit", str(path))).document

    assert ended["subject"] == frozen["subject"]
    assert frozen["cosigned"] is True
    assert not desk.running.parts.sequencer.state.frozen


async def test_what_no_node_would_take_is_not_drawn_up(desk: Desk) -> None:
    strangers: Any = policy_document()
    strangers["keys"]["hot"]["participants"] = ["node-a", "node-x"]
    for document, why in (
        (policy_document(), "nothing would change"),
        (strangers, "node-x is no node of the roster"),
        ({**policy_document(), "rules": 1}, "correct it"),
    ):
        with pytest.raises(OperationalError, match=why):
            await desk.draft_policy(document)
    with pytest.raises(OperationalError, match="node-c is no node of the roster"):
        await desk.draft("roster", "--remove", "node-c")
    assert not list(desk.folder.glob("*-change.json"))


async def test_a_draft_overwrites_nothing(desk: Desk) -> None:
    path = await desk.draft("freeze", "--reason", "one")
    before = path.read_bytes()

    with pytest.raises(OperationalError, match="exists already"):
        await desk.draft("freeze", "--reason", "two")
    assert path.read_bytes() == before
    for reason in ("", "a\nb", "c" * 301):
        with pytest.raises(Misuse, match="--reason"):
            await desk.draft("freeze", "--reason", reason, name="other.json")


async def test_only_administrators_administer(desk: Desk) -> None:
    with pytest.raises(Misuse, match="shop is no administrator"):
        await desk.run("freeze", "--reason", "mine", who="shop")
    with pytest.raises(Misuse, match="shop is no administrator"):
        await desk.run("fetch", "policy", "--out", str(desk.folder / "policy.json"), who="shop")


async def test_files_are_handed_out_once_the_change_is_in_effect(desk: Desk) -> None:
    path = await desk.draft_policy(stricter())
    desk.sign(path, "admin", "second")
    await desk.run("submit", str(path))
    with pytest.raises(OperationalError, match="not in force"):
        await desk.run("hand-out", str(path), "--dir", str(desk.folder))
    desk.clock.ahead_ms = DELAY_MS
    await until(lambda: not desk.running.parts.sequencer.state.pending)
    desk.clock.ahead_ms = 0
    await desk.run("hand-out", str(path), "--dir", str(desk.folder))

    client = json.loads((desk.folder / "client.json").read_text())
    assert client["policy"] == stricter()
    assert client["address"] and client["certificate"]


async def test_a_policy_that_breaks_an_invariant_is_not_drawn_up(desk: Desk) -> None:
    beside = desk.folder / "policy.invariants.json"
    wanted: list[dict[str, object]] = [{"name": "calm", "when": {}, "must": {"never": True}}]
    beside.write_text(json.dumps({"version": 1, "invariants": wanted}))

    with pytest.raises(OperationalError, match=r"invariant calm of .* is broken"):
        await desk.draft_policy(stricter())
    beside.write_text(json.dumps({"version": 1, "invariants": []}))
    file, out = str(desk.folder / "policy.json"), str(desk.folder / "fine.json")
    drafted = await desk.run("draft", "policy", "--document", file, "--out", out)

    assert not list(desk.folder.glob("*-change.json"))
    assert "All 1 invariants are proved" in str(drafted.text)


async def test_administrators_are_told_which_cold_nodes_come(desk: Desk) -> None:
    fetched = desk.folder / "roster.json"
    await desk.run("fetch", "roster", "--out", str(fetched))
    roster = json.loads(fetched.read_bytes())
    roster["cold"] = [{"name": "cold-a", "key": public("cold-a").hex()}]
    fetched.write_bytes(canonical(roster))
    path = await desk.draft("roster", "--document", str(fetched))

    said = [str(line) for line in invoke("admin", "show", str(path)).text]

    assert any(f"cold-a becomes a cold node with the key {public('cold-a').hex()}" in line for line in said)
    assert not any("quorumkeep-node accept roster" in line for line in said), "the cosigners stay as they are"
