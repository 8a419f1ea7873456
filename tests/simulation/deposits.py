"""Deposits as observers write them into a book."""

from collections.abc import Iterable
from typing import Any

from policy.encoding import Json
from policy.state import Outcome
from tests.simulation.world import CHAIN, OBSERVERS, ORIGIN, Book, seed, signatures


def deposit(book: Book, turn: int = 0, *, by: Iterable[str] = OBSERVERS, **changed: Any) -> Outcome:
    """Log that somebody paid the first account, or (an odd ``turn``) that the chain has that no more."""
    body: dict[str, Json] = {
        "origin": ORIGIN,
        "fact": "gone" if turn % 2 else "confirmed",
        "chain": CHAIN,
        "tx": seed("from outside").hex(),
        "index": 0,
        "wallet": "hot",
        "address": book.world.account(),
        "asset": "eth",
        "amount": "500",
        "block": 7,
        "turn": turn,
        **changed,
    }
    return book.write("deposit", body, signatures=signatures("deposit", body, by))
