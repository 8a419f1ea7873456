"""A key's epochs among real nodes with real tokens: refreshed, signed with, and the old epoch destroyed."""

import asyncio
import json
import secrets

import pytest
from coincurve import PrivateKey

from policy.audit import Trust
from policy.encoding import canonical
from policy.entries import make_entry, signature_list
from policy.errors import InvalidSignatureError, OperationalError
from policy.state import Outcome
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.client import Refused
from signer_nodes.imports import Offer, dealt_envelopes, verified_offers
from tests.e2e.cluster import ScriptedCoordinator, now_ms
from tests.e2e.deployment import NODES, ORIGIN
from tests.e2e.test_nodes import sign_payment


async def test_a_refreshed_key_signs_and_the_old_epoch_is_destroyed(coordinator: ScriptedCoordinator) -> None:
    before = coordinator.state.keys["hot"]

    assert (await coordinator.change_key("refresh", attempt=7)).accepted
    await coordinator.commit()
    await coordinator.tell_quorum()
    await sign_payment(coordinator, "node-a", "node-c", nonce=0)

    after = coordinator.state.keys["hot"]
    assert (after.group_key, after.epoch) == (before.group_key, 1)
    assert not set(after.public_shares) & set(before.public_shares)
    for name in NODES:
        status = json.loads(await coordinator.clients[name].status())
        assert [shred["body"]["epoch"] for shred in status["shreds"]] == [0]


async def offered(coordinator: ScriptedCoordinator, attempt: int) -> bytes:
    """The nodes' signed offers, as the coordinator hands them on."""
    offers = [await coordinator.clients[name].import_offer("old", attempt) for name in NODES]
    return canonical([json.loads(offer) for offer in offers])


def trust_of(coordinator: ScriptedCoordinator) -> Trust:
    roster = coordinator.state.roster
    keys = {name: cosigner.key for name, cosigner in roster.cosigners.items()}
    return Trust(ORIGIN, roster.log_key, bytes(32), keys, roster.w)


def split(offers: tuple[Offer, ...], private_key: bytes) -> dict[str, bytes]:
    return dealt_envelopes(
        offers, private_key, chain_code=None, randomness=secrets.token_bytes(32), is_seed=False
    )


async def take_in(coordinator: ScriptedCoordinator, attempt: int, envelopes: dict[str, bytes]) -> Outcome:
    """Bring each node its envelope; the outcome of the key's entry."""

    def order(name: str) -> pb.ChangeKey:
        return pb.ChangeKey(key_id="old", attempt=attempt, change="import", envelope=envelopes[name])

    calls = (coordinator.clients[name].change_key(order(name), timeout_s=60) for name in NODES)
    replies = await asyncio.gather(*calls)
    signatures = {name: reply.signature for name, reply in zip(NODES, replies, strict=True)}
    body = json.loads(replies[0].body)
    time_ms = max(now_ms(), coordinator.state.time_ms)
    return coordinator.add(make_entry("key", time_ms, body=body, signatures=signature_list(signatures)))


async def test_an_envelope_opens_for_its_node_and_once(coordinator: ScriptedCoordinator) -> None:
    offers = verified_offers(await offered(coordinator, 2), trust_of(coordinator))
    envelopes = split(offers, PrivateKey().secret)
    swapped = {**envelopes, "node-a": envelopes["node-b"]}

    with pytest.raises((Refused, OperationalError), match=r"does not open|silent|ended"):
        await take_in(coordinator, 2, swapped)
    with pytest.raises(Refused, match=r"made no offer|only rise"):
        await take_in(coordinator, 2, envelopes)


async def test_an_offer_of_somebody_else_stops_the_dealer(coordinator: ScriptedCoordinator) -> None:
    """Whoever carries the offers must not be able to put in keys of its own."""
    listed = json.loads(await offered(coordinator, 3))
    forged = [{**listed[0], "body": {**listed[0]["body"], "public_key": "11" * 32}}, *listed[1:]]

    with pytest.raises(InvalidSignatureError, match="node-a is not to be trusted"):
        verified_offers(canonical(forged), trust_of(coordinator))


async def test_a_private_key_is_imported_past_the_coordinator(coordinator: ScriptedCoordinator) -> None:
    private_key = PrivateKey()
    offers = verified_offers(await offered(coordinator, 4), trust_of(coordinator))

    outcome = await take_in(coordinator, 4, split(offers, private_key.secret))
    await coordinator.commit()
    call = pb.Presign(key_id="old", signers=("node-a", "node-b"), batch_id=1, batch=4)
    made = await asyncio.gather(
        *(coordinator.clients[name].presign(call, timeout_s=30) for name in ("node-a", "node-b"))
    )

    assert outcome.accepted, outcome.reason
    record = coordinator.state.keys["old"]
    assert (record.imported, record.group_key) == (True, private_key.public_key.format())
    assert made[0].presignatures == made[1].presignatures
