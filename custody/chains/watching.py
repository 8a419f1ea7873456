"""What whoever watches a chain needs of it: blocks one after the other, and what they pay to some addresses.

Nothing of the coordinator's is asked. A family's package has a module ``watching`` that implements
``Watching`` over one endpoint; ``AgreeingWatching`` is several of which so many must say the same.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from custody.chains.agreement import GRACE_S, Agreement, check_far, least_deep, where_mined
from custody.ports import Receipt
from policy.approval import Slot

BLOCK_S = 300.0
"""For a block that pays us by many transactions, each of which is asked for."""
OTHER_BLOCK = "has another block there by now: it is asked again"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A payment in a block: ``index`` is its place in the transaction, ``contract`` None for a native asset.

    ``places`` are what the transaction uses up on its chain, as conflict slots name them: a transaction of
    our own has its anchor among them.
    """

    tx: bytes
    index: int
    address: str
    contract: str | None
    amount: int
    places: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A block, the one before it, and what it pays to the addresses that were asked for."""

    height: int
    hash: str
    previous: str
    payments: tuple[Incoming, ...]

    def __str__(self) -> str:
        return f"{self.hash} after {self.previous}, with {len(self.payments)} payments"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose payments are looked for: addresses, and contracts of tokens."""

    addresses: frozenset[str]
    contracts: frozenset[str]


class Watching(Protocol):
    """One chain, read only. Methods raise ``OperationalError`` when its endpoint cannot answer."""

    @property
    def name(self) -> str:
        """The chain as documents call it."""

    async def check(self) -> None:
        """Compare the chain that answers with the configured one."""

    async def head(self) -> int:
        """The height of the newest block that counts."""

    async def block_hash(self, height: int) -> str:
        """The hash of the chain's block at a height; empty while there is none."""

    async def block(self, height: int, wanted: Wanted) -> Block:
        """The block at a height and what it pays; without a hash where the chain has none."""

    async def receipt(self, tx: bytes) -> Receipt | None:
        """What became of a transaction; None while no block has it."""

    async def close(self) -> None:
        """End the connections."""


class AgreeingWatching:
    """Implements ``Watching`` over several endpoints, by what they are called: what ``agree`` say alike.

    Of a block only those say anything for whom it has its ``confirmations``: one that stopped on another
    branch would vouch for what others never had so deep.
    """

    def __init__(
        self,
        name: str,
        endpoints: Mapping[str, Watching],
        *,
        agree: int,
        confirmations: int,
        grace_s: float = GRACE_S,
    ) -> None:
        self._ends = Agreement(name, endpoints, agree=agree, grace_s=grace_s, answer_s=BLOCK_S)
        self._above = confirmations - 1
        self._heads: dict[Watching, int] = {}

    @property
    def name(self) -> str:
        """The chain as documents call it."""
        return self._ends.name

    async def check(self) -> None:
        """Enough endpoints are of this chain."""
        await self._ends.ask("chain", lambda one: one.check())

    async def head(self) -> int:
        """The highest block that enough endpoints have come to."""
        self._heads.clear()
        return self._ends.confirmed((await self._ends.ask("head", self._head_of)).values())

    async def block_hash(self, height: int) -> str:
        """By enough endpoints."""
        return await self._ends.agreed(f"block {height}", lambda one: one.block_hash(height))

    async def block(self, height: int, wanted: Wanted) -> Block:
        """By enough endpoints, with all that it pays."""
        return await self._ends.agreed(f"block {height}", lambda one: self._deep(one, height, wanted))

    async def receipt(self, tx: bytes) -> Receipt | None:
        """By enough endpoints, at the least depth that they confirm."""
        _, alike = await self._ends.agreed_by("transaction", lambda one: one.receipt(tx), key=where_mined)
        return least_deep(self._ends, alike)

    async def close(self) -> None:
        """End the connections."""
        await asyncio.gather(*(one.close() for one in self._ends.endpoints.values()))

    async def _head_of(self, one: Watching) -> int:
        self._heads[one] = head = await one.head()
        return head

    async def _deep(self, one: Watching, height: int, wanted: Wanted) -> Block:
        head = self._heads.get(one, -1)
        if head < height + self._above:
            head = await self._head_of(one)
        check_far(head, height + self._above)
        return await one.block(height, wanted)
