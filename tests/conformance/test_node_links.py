"""A node's own connections to its peers."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from policy.errors import (
    CallerError,
)
from signer_nodes.adapters.links import PeerLinks
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.boot_statement import parse_boot
from signer_nodes.ports import Peers
from tests.conformance.node_door import (
    A,
    B,
    Door,
)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door()
    await door.start(A.boot())
    yield door
    await asyncio.gather(*(client.close() for client in door.clients))
    await door.stop()


def as_port(links: PeerLinks) -> Peers:
    """mypy checks here that the links are what the node asks for."""
    return links


async def test_links_fetch_heads_entries_and_boots(door: Door) -> None:
    links = PeerLinks([door.target()], B.boot())

    entries = await links.entries("node-a", 3, stop=7)
    none = await links.entries("node-a", 3, stop=3)

    assert (entries, none) == ([b"3", b"4", b"5", b"6"], [])
    assert (await links.head("node-a")).size == len("node-b")
    assert await links.boot_id("node-a") == parse_boot(door.credentials.statement).boot_id
    await links.close()


async def test_links_dial_lazily_and_carry_protocol_messages(door: Door) -> None:
    boots: list[tuple[str, int]] = []
    links = PeerLinks(
        [door.target()], B.boot(), on_boot=lambda name, boot: boots.append((name, boot.boot_counter))
    )
    before = links.boot_of("node-a")
    await links.send_protocol("node-a", bytes(32), payload=b"payload")

    reply = await links.call("node-a", pb.HeadQuery(), kind=pb.HeadReply)

    assert before is None
    assert boots == [("node-a", 1)]
    assert reply.size == len("node-b")
    with pytest.raises(CallerError):
        await links.send_protocol("nobody", b"", payload=b"")
    await links.close()
