"""What whoever watches a chain needs of it: blocks one after the other, and what they pay to some addresses.

Nothing of the coordinator's is asked. A family's package has a module ``watching`` that implements
``Watching`` over one endpoint; ``AgreeingWatching`` is several of which so many must say the same.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from custody.ports import Receipt
from policy.approval import Slot
from policy.errors import OperationalError

T = TypeVar("T")
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
    """Implements ``Watching`` over several endpoints: what ``agree`` of them say alike."""

    def __init__(self, endpoints: Sequence[Watching], *, agree: int) -> None:
        if not len(endpoints) < 2 * agree <= 2 * len(endpoints):
            raise ValueError(f"{agree} of {len(endpoints)} endpoints: more than half, and no more than all")
        self._endpoints, self._agree = tuple(endpoints), agree

    @property
    def name(self) -> str:
        """The chain as documents call it."""
        return self._endpoints[0].name

    async def check(self) -> None:
        """Enough endpoints are of this chain."""
        await self._all(lambda one: one.check())

    async def head(self) -> int:
        """The highest block that enough endpoints have come to."""
        return sorted(await self._all(lambda one: one.head()), reverse=True)[self._agree - 1]

    async def block_hash(self, height: int) -> str:
        """By enough endpoints."""
        return self._same(f"block {height}", await self._all(lambda one: one.block_hash(height)))

    async def block(self, height: int, wanted: Wanted) -> Block:
        """By enough endpoints, with all that it pays."""
        return self._same(f"block {height}", await self._all(lambda one: one.block(height, wanted)))

    async def receipt(self, tx: bytes) -> Receipt | None:
        """By enough endpoints, at the least depth that they confirm."""
        found = await self._all(lambda one: one.receipt(tx))
        agreed = self._same("transaction", [one and (one.block, one.success) for one in found])
        if agreed is None:
            return None
        alike = [one for one in found if one is not None and (one.block, one.success) == agreed]
        return min(sorted(alike, key=lambda one: -one.confirmations)[: self._agree], key=_depth)

    async def close(self) -> None:
        """End the connections."""
        await asyncio.gather(*(one.close() for one in self._endpoints))

    async def _all(self, ask: Callable[[Watching], Awaitable[T]]) -> list[T]:
        tried = await asyncio.gather(*(_tried(ask(one)) for one in self._endpoints))
        answers = [one[0] for one in tried if not isinstance(one, OperationalError)]
        if len(answers) < self._agree:
            failed = next(one for one in tried if isinstance(one, OperationalError))
            raise OperationalError(
                f"{len(answers)} of {len(tried)} endpoints of {self.name} answer, {self._agree} must: "
                f"{failed}"
            )
        return answers

    def _same(self, what: str, answers: Collection[T]) -> T:
        value, count = Counter(answers).most_common(1)[0]
        if count < self._agree:
            raise OperationalError(
                f"the endpoints of {self.name} do not agree on the {what}: asked again; look at the one that "
                "stands alone"
            )
        return value


async def _tried(asked: Awaitable[T]) -> "tuple[T] | OperationalError":
    try:
        return (await asked,)
    except OperationalError as error:
        return error


def _depth(receipt: Receipt) -> int:
    return receipt.confirmations
