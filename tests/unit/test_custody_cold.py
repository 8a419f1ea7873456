"""What the coordinator brings cold machines of the log, and what it tells people who come too early."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from coincurve import PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from custody import cold
from custody.api.errors import CallRefused
from custody.candidates import Candidate
from custody.cold import ColdStep
from custody.enacting import moment
from custody.requests import State
from policy.encoding import Json, statement
from policy.entries import signature_list
from policy.ids import GENERATE
from signer_nodes.api.boot_statement import BootStatement
from signer_nodes.api.desk import Desk
from signer_nodes.api.envelope import parse_call
from signer_nodes.api.hello import NO_TLS, Hello
from signer_nodes.api.letters import CALL
from tests.unit.custody_cluster import (
    ETHER,
    KEY,
    ORIGIN,
    identity,
    make_request,
    policy_document,
    public,
    roster_document,
)
from tests.unit.custody_house import House, Running

COLD = ("cold-a", "cold-b", "cold-c")


def cold_policy() -> dict[str, Json]:
    key: Json = {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": list[Json](COLD)}
    return {**policy_document(), "keys": {KEY: key}}


def hello(name: str, *, counter: int = 1, size: int = 0) -> bytes:
    key = X25519PrivateKey.generate().public_key().public_bytes_raw()
    boot = BootStatement(ORIGIN, name, counter, bytes([counter]) * 32, NO_TLS, size, bytes(32))
    made = Hello(boot, key, 0)
    return made.to_bytes(identity(name).sign(made.message()))


async def with_key(running: Running) -> None:
    """The key, on the word of its three nodes."""
    points = [PrivateKey(bytes([n]) * 32).public_key.format().hex() for n in (1, 2, 3, 4)]
    body: dict[str, Json] = {
        "origin": ORIGIN,
        "key": KEY,
        "epoch": 0,
        "suite": "dkls23-secp256k1",
        "change": GENERATE,
        "dealers": list(COLD),
        "min_signers": 2,
        "participants": list(COLD),
        "group_key": points[3],
        "chain_code": "07" * 32,
        "public_shares": list[Json](points[:3]),
        "transcript": "08" * 32,
    }
    signatures = {name: identity(name).sign(statement("keygen", body)) for name in COLD}
    outcome = await running.parts.sequencer.log(
        Candidate("key", body, {"signatures": signature_list(signatures)})
    )
    assert outcome.accepted, outcome.reason


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """A coordinator whose only key is cold."""
    named: list[Json] = [{"name": name, "key": public(name).hex()} for name in COLD]
    house = House(tmp_path, policy=cold_policy(), roster=roster_document(cold=named))
    async with house.running() as made:
        await with_key(made)
        yield made


async def asked(running: Running, name: str = "order") -> bytes:
    _, body, signature = make_request(name, amount=ETHER // 2, now_ms=running.parts.now_ms())
    record = await running.service.submit(body, signature)
    await running.until(record.request, State.AWAITING_CEREMONY)
    return record.request


async def step(running: Running, caller: str = "otto", **wanted: Any) -> None:
    await running.service.cold(caller, ColdStep(**wanted))


def appends(desk: Desk, name: str) -> list[Any]:
    calls = [parse_call(data) for kind, data in desk.seats[name].frames if kind == CALL]
    return [call.append for call in calls if call.WhichOneof("what") == "append"]


async def test_the_log_comes_in_pieces_that_prove_since_when_a_request_was_public(running: Running) -> None:
    await asked(running)
    parts = running.parts
    index = parts.sequencer.state.size - 1
    for number in range(5):
        await parts.sequencer.log(moment(ORIGIN, f"later {number}"))
    await parts.replication.wait_quorum(parts.sequencer.state.size, 5)
    parts.ceremonies.greet(hello("cold-a"), origin=ORIGIN, roster=parts.sequencer.state.roster)
    parts.ceremonies.greet(hello("cold-b", size=2), origin=ORIGIN, roster=parts.sequencer.state.roster)
    desk = Desk(ORIGIN, bytes(32), sign=parts.ceremonies.sign, hellos=parts.ceremonies.spend(COLD[:2]))

    whole = await cold.ship(parts, desk)

    proof = await parts.database.first_quorum(index)
    entries = await parts.database.entries(0, parts.sequencer.state.size)
    assert whole and proof is not None
    for name, start in (("cold-a", 0), ("cold-b", 2)):
        sent = appends(desk, name)
        assert [entry for one in sent for entry in one.entries] == list(entries[start:])
        ends = [one.start + len(one.entries) for one in sent]
        assert proof[0] in ends and proof[0] < len(entries), "its proof is not that of a later head"
        assert sent[ends.index(proof[0])].checkpoint == proof[1]
        assert sent[-1].checkpoint == parts.replication.quorum.note


async def test_who_comes_too_early_is_told_what_is_missing(running: Running) -> None:
    request = await asked(running)

    with pytest.raises(CallRefused, match="takes 2 of cold-a, cold-b, cold-c, and there are hellos of none"):
        await step(running, request=request)
    await step(running, files=(hello("cold-b"),))
    with pytest.raises(CallRefused, match="there are hellos of cold-b"):
        await step(running, request=request)
    with pytest.raises(CallRefused, match="no ceremony is under way"):
        await step(running, files=(b"QKCOLD1\nwhatever",))
    with pytest.raises(CallRefused, match="forbidden"):
        await step(running, "shop", files=(hello("cold-a"),))


async def test_a_hello_is_of_a_cold_node_of_the_roster_and_the_newest(running: Running) -> None:
    await step(running, files=(hello("cold-a", counter=2),))

    with pytest.raises(CallRefused, match="was started again"):
        await step(running, files=(hello("cold-a", counter=1),))
    with pytest.raises(CallRefused, match="is no cold node"):
        await step(running, files=(hello("node-a"),))
    with pytest.raises(CallRefused, match="hello"):
        await step(running, files=(b"{}",))


async def test_a_machine_that_is_started_anew_ends_the_ceremony_it_was_in(running: Running) -> None:
    request = await asked(running)
    await step(running, files=(hello("cold-a"), hello("cold-b")), request=request)
    await running.until(request, State.RESERVED)

    await step(running, files=(hello("cold-a", counter=2),))

    current = running.parts.ceremonies.current
    assert current is not None and "cold-a was started anew" in current.outcome
    await running.until(request, State.AWAITING_CEREMONY)
    await step(running, files=(hello("cold-b", counter=2),), request=request)
    await running.until(request, State.RESERVED)


async def test_no_pool_is_kept_of_a_cold_key(running: Running) -> None:
    await asked(running)

    assert running.parts.pools.report() == [] or all(not stock for _, stock in running.parts.pools.report())


async def test_a_cold_key_is_not_changed_over_the_wire(running: Running) -> None:
    with pytest.raises(CallRefused, match="has no network: hold a ceremony"):
        await running.service.change_key("admin", KEY, change="refresh")
