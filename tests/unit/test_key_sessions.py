"""When a node deals: never on a policy that only its own branch of the log has."""

from typing import Any, cast

import pytest

from signer_nodes.api.errors import Refused
from signer_nodes.key_changes import Order
from signer_nodes.key_sessions import KeySessions
from tests.simulation.world import DAY_MS, KEY, Book, World, seed

WORLD = World(nodes=4, w=4)
NODES = WORLD.nodes
RESHARE = Order(KEY, "reshare", 1, (NODES[0], NODES[3]))


class Reached(Exception):
    """The run was about to begin: nothing kept this node from dealing."""


class Store:
    """The first thing that a run asks for ends the test."""

    def sealed_names(self, _prefix: str) -> list[str]:
        raise Reached


def moved() -> Book:
    """A log whose policy in force wants the key with the first three nodes."""
    book = Book(WORLD)
    wanted = {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": list(NODES[:3])}
    book.change("policy", WORLD.policy(keys={KEY: wanted}))
    book.advance(DAY_MS)
    book.idle()
    return book


def dealer(book: Book, cosigned: list[int]) -> KeySessions:
    """``cosigned`` is how many entries w cosigners have at each look; the last one stays."""
    nobody = cast("Any", None)

    def quorum_size() -> int:
        return cosigned.pop(0) if len(cosigned) > 1 else cosigned[0]

    return KeySessions(
        name=NODES[0],
        boot_id=seed("boot"),
        state=lambda: book.state,
        hsm=nobody,
        store=cast("Any", Store()),
        peers=nobody,
        workers=nobody,
        pool=nobody,
        quorum_size=quorum_size,
        cosigned_timeout_s=0.2,
    )


async def test_a_dealer_waits_until_w_cosigners_have_the_policy_it_follows() -> None:
    book = moved()
    size = book.state.size

    with pytest.raises(Reached):
        await dealer(book, [size - 1, size - 1, size]).change_key(RESHARE)
    with pytest.raises(Refused, match="no quorum"):
        await dealer(book, [size - 1]).change_key(RESHARE)


async def test_a_dealer_whose_branch_was_left_meanwhile_deals_nothing() -> None:
    book = moved()
    sessions = dealer(book, [0])
    sessions.pool = cast("Any", Pool())

    def quorum_size() -> int:
        sessions.went_back()
        return book.state.size

    sessions.quorum_size = quorum_size
    with pytest.raises(Refused, match="no quorum"):
        await sessions.change_key(RESHARE)


async def test_a_refresh_moves_the_key_nowhere_and_waits_for_nobody() -> None:
    with pytest.raises(Reached):
        await dealer(moved(), [0]).change_key(Order(KEY, "refresh", 1))


class Pool:
    def keep_epochs(self, _epochs: object) -> None: ...
