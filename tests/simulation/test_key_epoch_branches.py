"""A change of a key in the log counts once a quorum has it: on a branch that is left it never was.

And what nodes do late, or in between, leaves nothing behind that could be used in another epoch or run.
"""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from policy.encoding import INTEGER_MAX, Json, canonical
from policy.entries import make_entry
from policy.errors import OperationalError
from policy.log.merkle import frontier_at, leaf_hash, leaf_reader
from policy.state import KeyRecord
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.errors import Refused
from signer_nodes.key_sessions import KeySessions
from signer_nodes.witness import Branch
from tests.simulation.cluster import note_of
from tests.simulation.key_changes import REFRESH, Shelf, check_one_epoch_is_left
from tests.simulation.key_house import House
from tests.simulation.node_faults import Fault, Way
from tests.simulation.world import KEY, ORIGIN, Book, signatures
from tests.waiting import WAIT_S

PARTIES = REFRESH.parties
ALONE, *OTHERS = PARTIES


async def split(house: House, *alone: str) -> tuple[Book, Branch]:
    """These nodes alone have the entry of a change; the rest go on without it, further than that."""
    await house.replicate()
    q_size, q_root = house.book.frontier.size, house.book.frontier.root()
    theirs = house.book.fork()
    body, signed = await house.agree("refresh", *PARTIES)
    theirs.write("key", body, signatures=signed)
    assert theirs.last.accepted
    for name in alone:
        await house.append(name, theirs)
    house.book.idle()
    house.book.idle()
    for name in (name for name in PARTIES if name not in alone):
        await house.append(name)
    for witness in house.witnesses.values():
        witness.append(witness.size, house.book.entries[witness.size :], note_of(house.book))
    return theirs, Branch(q_size, q_root, leaf_hash(theirs.entries[q_size]))


async def leave(house: House, branch: Branch) -> None:
    """The one node that is on the branch leaves it, on the statements of all others."""
    statements = []
    for name in OTHERS:
        call = pb.Abandon(body=canonical(branch.body(ORIGIN, name)))
        reply = await house.ask(name, "abandon", call)
        statements.append({"body": branch.body(ORIGIN, name), "signature": reply.signature.hex()})
    for witness in house.witnesses.values():
        body, signature = witness.abandon(branch)
        statements.append({"body": body, "signature": signature.hex()})
    await house.ask(ALONE, "leave", pb.Leave(statements=[canonical(one) for one in statements]))


LEAVING = ("Store.put_statement", "Store.put_meta", "Hsm.write_record", "Store.truncate")


@pytest.mark.parametrize(
    "fault",
    [None, *(Fault(kind, 1, way) for kind in LEAVING for way in (Way.KILLED_BEFORE, Way.KILLED_AFTER))],
    ids=lambda fault: f"{fault.kind}-{fault.way.value}" if fault else "none",
)
async def test_a_node_that_leaves_the_branch_of_a_change_still_has_the_old_epoch(
    fault: Fault | None, shelf: Shelf
) -> None:
    house = await shelf.take(REFRESH)
    await house.up()
    theirs, branch = await split(house, ALONE)
    assert house.nodes[ALONE].keys.state().keys[KEY] == theirs.state.keys[KEY]
    house.faulty({ALONE: fault} if fault else {})

    with suppress(OperationalError):
        await leave(house, branch)
    await house.up()
    if (await house.ask(ALONE, "head", pb.HeadQuery())).size == theirs.frontier.size:
        await leave(house, branch)
    await house.replicate()
    await house.pay_by_all()
    paid_in = {job.epoch for job in house.book.state.jobs.values()}
    await house.change("refresh", *PARTIES)
    await house.pay_by_all()

    assert paid_in == {0}
    assert house.record.epoch == 1
    assert house.record.transcript != theirs.state.keys[KEY].transcript
    check_one_epoch_is_left(house)
    await house.down()


class Hasty(KeySessions):
    """What we do not build: a node that destroys an epoch as soon as it sees the entry of the next one."""

    def settle(self, quorum_size: int) -> None:
        super().settle(INTEGER_MAX)

    def unsettled(self, quorum_size: int) -> list[KeyRecord]:
        return super().unsettled(INTEGER_MAX)


async def test_a_node_that_destroys_without_a_quorum_has_nothing_left_on_the_other_branch(
    shelf: Shelf,
) -> None:
    house = await shelf.take(REFRESH)
    house.nodes[ALONE].sessions = Hasty
    await house.up()
    _, branch = await split(house, ALONE)
    await leave(house, branch)
    await house.replicate()

    with pytest.raises(Refused, match="lost its share"):
        await house.pay(*PARTIES[:2])

    await house.down()


async def test_what_was_made_in_the_epoch_of_a_branch_that_was_left_is_gone(shelf: Shelf) -> None:
    house = await shelf.take(REFRESH)
    await house.up()
    theirs, _ = await split(house, *PARTIES[:2])
    mine, house.book = house.book, theirs
    presignature, _ = await house.presign(*PARTIES[:2])
    house.book = mine
    leaves = [leaf_hash(entry) for entry in house.book.entries]
    body: Json = {
        "origin": ORIGIN,
        "size": theirs.frontier.size,
        "root": frontier_at(leaf_reader(leaves), theirs.frontier.size).root().hex(),
        "abandoned": [],
    }
    fork = make_entry(
        "fork", house.book.now_ms, body=body, signatures=signatures("fork", body, ("ada", "adam")), burns=[]
    )

    for name in PARTIES[:2]:
        await house.ask(name, "leave", pb.Leave(fork=fork))
    await house.replicate()
    await house.change("refresh", *PARTIES)
    job = house.reserve(presignature, *PARTIES[:2])
    declined = [(await house.append(name)).declined[0] for name in PARTIES[:2]]

    assert house.record.transcript != theirs.state.keys[KEY].transcript
    assert [one.job for one in declined] == [job.job_id] * 2
    assert all("does not hold" in one.reason for one in declined)
    await house.down()


async def test_a_node_that_has_not_heard_of_the_epoch_refuses_presignatures_of_it_at_once(
    shelf: Shelf,
) -> None:
    """Else each would wait for the other in a session of its own."""
    house = await shelf.take(REFRESH)
    await house.up()
    body, signed = await house.agree("refresh", *PARTIES)
    await house.replicate()
    before = house.book.fork()
    house.book.write("key", body, signatures=signed)
    await house.append(ALONE)

    async with asyncio.timeout(WAIT_S):
        with pytest.raises(Refused, match=r"in epoch 0 by this node's log, not in 1"):
            await house.presign(*PARTIES[:2])
        after, house.book = house.book, before
        with pytest.raises(Refused, match=r"in epoch 1 by this node's log, not in 0"):
            await house.presign(*PARTIES[:2])
    house.book = after
    await house.replicate()
    await house.pay_by_all()

    await house.down()


@pytest.mark.parametrize("logged", range(3))
async def test_any_of_the_runs_that_were_finished_may_be_the_one_that_is_logged(
    logged: int, shelf: Shelf
) -> None:
    """A coordinator that lost the answers orders another run, and may find the first ones again."""
    house = await shelf.take(REFRESH)
    await house.up()
    runs = [await house.agree("refresh", *PARTIES) for _ in range(3)]

    house.book.write("key", runs[logged][0], signatures=runs[logged][1])
    await house.replicate()

    assert house.book.outcomes[-1].accepted
    check_one_epoch_is_left(house)
    await house.pay_by_all()
    for body, signed in runs:
        assert not house.book.write("key", body, signatures=signed).accepted
    await house.down()


async def test_a_run_that_ends_after_its_epoch_has_begun_leaves_nothing(shelf: Shelf) -> None:
    house = await shelf.take(REFRESH)
    await house.up()
    first, release = await stuck(house)

    await house.change("refresh", *PARTIES)
    release.set()
    ends = await asyncio.gather(*first, return_exceptions=True)

    assert [type(end) for end in ends] == [Refused, pb.ChangeKeyReply, Refused]
    check_one_epoch_is_left(house)
    await house.pay_by_all()
    await house.down()


async def test_a_run_that_ends_after_its_epoch_is_over_makes_no_sealing_key_for_it(shelf: Shelf) -> None:
    house = await shelf.take(REFRESH)
    await house.up()
    first, release = await stuck(house)

    for _ in range(2):
        await house.change("refresh", *PARTIES)
    release.set()
    await asyncio.gather(*first, return_exceptions=True)

    assert house.record.epoch == 2
    check_one_epoch_is_left(house)
    await house.down()


async def stuck(house: House) -> tuple[list["asyncio.Task[Any]"], asyncio.Event]:
    """A run whose last message from node-1 to node-3 is on its way until the event; the parties' calls."""
    release, sent = asyncio.Event(), asyncio.Event()

    async def post(peer: str, payload: bytes) -> bytes:
        if (peer, payload[0]) == ("node-3", 3):
            house.nodes["node-1"].post = None
            sent.set()
            await release.wait()
        return payload

    house.nodes["node-1"].post = post
    call = pb.ChangeKey(key_id=KEY, attempt=next(house.attempts), change="refresh")
    calls = [asyncio.create_task(house.ask(name, "change_key", call)) for name in PARTIES]
    await sent.wait()
    await calls[1]
    return calls, release
