"""What an observer remembers of one chain: the blocks it looked through last, and what they paid.

A block counts when it has its confirmations. Each is compared with the next one's word about it, so a
reorganisation shows, however deep: the blocks that the chain has no more are taken back, and what they paid
is kept as lost until the chain has it again, or until it is stated that it has not. What a block paid
outlives it while it waits to be logged.
"""

import logging
from collections.abc import Callable, Mapping, Set
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from custody.chains.watching import Block, Incoming, Wanted, Watching
from policy.approval import Slot
from policy.errors import OperationalError
from policy.fact_entries import deposit_id

WINDOW: Final = 256
BLOCKS_AT_ONCE: Final = 128
WAITING_MAX: Final = 4096
LATE_MAX: Final = 4096
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Paid:
    """A payment, and the block that has it or had it."""

    height: int
    incoming: Incoming


@dataclass(slots=True)
class Memory:
    """Blocks in order, from some height to the one before ``next``; what they lost, and in which block.

    By the deposit's id: what waits of older blocks is ``late``; what was less than the least deposit when its
    block was read is ``dust``; ``names`` are wallet and asset of what the log has, which a policy may drop.
    """

    next: int | None = None
    blocks: list[Block] = field(default_factory=list)
    late: dict[bytes, Paid] = field(default_factory=dict)
    lost: dict[Incoming, int] = field(default_factory=dict)
    dust: set[bytes] = field(default_factory=set)
    names: dict[bytes, tuple[str, str]] = field(default_factory=dict)


class Watched:
    """One chain as it is looked through."""

    def __init__(
        self, chain: Watching, memory: Memory, *, confirmations: int, start: int | None = None
    ) -> None:
        self.chain, self.memory, self.confirmations = chain, memory, confirmations
        self._start = start

    async def look(self, wanted: Wanted, *, is_dust: Callable[[Incoming], bool]) -> None:
        """Take in blocks that have become deep enough, some at once. Raises ``OperationalError``."""
        deep, memory = await self.chain.head() - self.confirmations + 1, self.memory
        if memory.next is None:
            memory.next = max(0, deep) if self._start is None else self._start
        await self._leave_orphans()
        for _ in range(BLOCKS_AT_ONCE):
            if memory.next > deep or len(memory.late) >= LATE_MAX:
                return
            self._take(await self.chain.block(memory.next, wanted), is_dust)

    def check_room(self) -> None:
        """Raises ``OperationalError`` while no more blocks are looked at."""
        if len(self.memory.late) >= LATE_MAX:
            raise OperationalError(
                f"{len(self.memory.late)} payments on {self.chain.name} wait to be logged, no more blocks "
                "are read: look at the other observers and at the coordinator"
            )

    def payments(self) -> dict[bytes, Paid]:
        """What the remembered blocks pay, and what is late, by the deposit's id."""
        found = dict(self.memory.late)
        for block in self.memory.blocks:
            for one in block.payments:
                found[self.id_of(one)] = Paid(block.height, one)
        return found

    def forget(self, waiting: Set[bytes]) -> None:
        """Drop the oldest blocks beyond the window, as far as none of their payments waits.

        Where very many are kept for it, what waits in the oldest is late: nobody else may ever have seen it.
        Dust is not waited for: whoever lowers the least deposit would fill what is late with it.
        """
        memory, count = self.memory, 0
        kept = waiting - memory.dust
        while (left := len(memory.blocks) - count) > WINDOW and (
            left > WAITING_MAX or not any(self.id_of(one) in kept for one in memory.blocks[count].payments)
        ):
            count += 1
        dropped = {
            self.id_of(one): Paid(block.height, one)
            for block in memory.blocks[:count]
            for one in block.payments
        }
        memory.late = {name: one for name, one in (memory.late | dropped).items() if name in kept}
        del memory.blocks[:count]
        memory.dust -= dropped.keys()

    def id_of(self, one: Incoming) -> bytes:
        """What the log calls a payment."""
        return deposit_id(self.chain.name, one.tx, index=one.index)

    async def _leave_orphans(self) -> None:
        blocks = self.memory.blocks
        while blocks:
            found = await self.chain.block_hash(blocks[-1].height)
            if found in ("", blocks[-1].hash):  # an endpoint that is behind says nothing
                return
            self._orphan()

    def _take(self, block: Block, is_dust: Callable[[Incoming], bool]) -> None:
        memory = self.memory
        if block.hash and memory.blocks and block.previous != memory.blocks[-1].hash:
            self._orphan()
            return
        if block.hash:
            memory.blocks.append(block)
            memory.dust |= {self.id_of(one) for one in block.payments if is_dust(one)}
        memory.next = block.height + 1

    def _orphan(self) -> None:
        """The chain has the newest block no more."""
        block = self.memory.blocks.pop()
        self.memory.next = block.height
        self.memory.lost |= dict.fromkeys(block.payments, block.height)
        self.memory.dust -= {self.id_of(one) for one in block.payments}
        _LOG.warning("%s has left block %d, %s", self.chain.name, block.height, block.hash)
        if not self.memory.blocks:
            _LOG.error("the reorganisation of %s is deeper than what is remembered", self.chain.name)


def memory_document(memory: Memory) -> dict[str, Any]:
    """A memory as JSON."""
    return {
        "next": memory.next,
        "blocks": [{**asdict(one), "payments": list(map(_payment, one.payments))} for one in memory.blocks],
        "late": [{"height": one.height, **_payment(one.incoming)} for one in memory.late.values()],
        "lost": [{"height": height, **_payment(one)} for one, height in memory.lost.items()],
        "dust": [one.hex() for one in memory.dust],
        "names": [[one.hex(), *names] for one, names in memory.names.items()],
    }


def read_memory(found: Mapping[str, Any], chain: str) -> Memory:
    """Read ``memory_document``. Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
    memory = Memory(found["next"])
    for block in found["blocks"]:
        payments = tuple(_read_payment(one, chain) for one in block["payments"])
        memory.blocks.append(Block(block["height"], block["hash"], block["previous"], payments))
    for one in found["late"]:
        incoming = _read_payment(one, chain)
        memory.late[deposit_id(chain, incoming.tx, index=incoming.index)] = Paid(one["height"], incoming)
    memory.lost = {_read_payment(one, chain): one["height"] for one in found["lost"]}
    memory.dust = {bytes.fromhex(one) for one in found["dust"]}
    memory.names = {bytes.fromhex(one): (str(wallet), str(asset)) for one, wallet, asset in found["names"]}
    return memory


def _payment(one: Incoming) -> dict[str, Any]:
    places = [[slot.account, str(slot.nonce)] for slot in one.places]
    return {
        "tx": one.tx.hex(),
        "index": one.index,
        "address": one.address,
        "contract": one.contract,
        "amount": str(one.amount),
        "places": places,
    }


def _read_payment(one: Mapping[str, Any], chain: str) -> Incoming:
    return Incoming(
        tx=bytes.fromhex(one["tx"]),
        index=one["index"],
        address=one["address"],
        contract=one["contract"],
        amount=int(one["amount"]),
        places=tuple(Slot(chain, account, int(nonce)) for account, nonce in one["places"]),
    )
