"""A ban between two nodes lasts as long as the epoch: a refresh lifts it, or a resharing without one."""

from typing import Any, cast

import pytest

from policy.encoding import parse_canonical
from policy.entries import signature_list
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.errors import Refused
from tests.simulation.key_changes import MOVE, REFRESH, REPLACE, Change, Shelf, check_one_epoch_is_left
from tests.simulation.key_house import House
from tests.simulation.world import KEY

VICTIM, CHEAT = "node-2", "node-3"


async def cheat(house: House) -> None:
    """One node sends another a wrong first message of a presigning."""

    async def post(peer: str, payload: bytes) -> bytes:
        middle = len(payload) // 2  # of round 1, where it is the OT extension's matrix
        flipped = payload[:middle] + bytes([payload[middle] ^ 1]) + payload[middle + 1 :]
        return flipped if payload[0] == 1 else payload

    house.nodes[CHEAT].post = post
    with pytest.raises(Refused, match="consistency check"):
        await house.presign(VICTIM, CHEAT)
    house.nodes[CHEAT].post = None


async def log_bans(house: House) -> None:
    """What the nodes say of one another goes into the log, as the coordinator has it."""
    for node in house.running:
        reply = await house.ask(node.name, "status", pb.Status())
        document = cast("dict[str, Any]", parse_canonical(reply.document, bytes_max=1 << 20))
        for ban in document["bans"]:
            signatures = signature_list({node.name: bytes.fromhex(ban["signature"])})
            house.book.write("ban", ban["body"], signatures=signatures)
            assert house.book.last.accepted, house.book.last
    await house.replicate()


@pytest.mark.parametrize("change", [REFRESH, REPLACE, MOVE], ids=str)
async def test_a_new_epoch_lifts_a_ban_of_the_one_before(change: Change, shelf: Shelf) -> None:
    house = await shelf.take(change)
    house.lost = frozenset()
    await house.up()
    await cheat(house)
    await log_bans(house)
    banned = house.book.state.mutual_ban(KEY, 0, signers=(VICTIM, CHEAT))
    with pytest.raises(Refused, match="banned"):
        await house.presign(VICTIM, CHEAT)
    await house.pay("node-1", CHEAT)

    await house.change(change.kind, *change.parties, dealers=change.dealers)
    await house.pay_by_all(together=2)

    assert banned == (VICTIM, CHEAT)
    assert (CHEAT in house.record.participants) == (CHEAT in change.after)
    check_one_epoch_is_left(house)
    await house.down()


async def test_a_ban_outlives_a_restart_and_a_change_that_was_never_logged(shelf: Shelf) -> None:
    house = await shelf.take(REFRESH)
    await house.up()
    await cheat(house)
    await house.agree("refresh", *REFRESH.parties)
    await house.nodes[VICTIM].down()
    await house.up()

    with pytest.raises(Refused, match="banned"):
        await house.presign(VICTIM, CHEAT)

    await house.down()
