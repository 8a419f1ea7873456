"""Observers of chains over a book, on chains in memory: what they hand in is gathered and written into it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from custody.chains.watching import Block, Incoming, Wanted
from custody.gathering import Gathering
from custody.observing.blocks import Memory, Watched
from custody.observing.settling import Settling
from custody.observing.stating import Contradicted, Stater
from custody.ports import Receipt
from custody.risk.following import Follower
from custody.risk.stating import Observer
from policy.approval import Slot
from policy.encoding import Json
from policy.entries import make_entry, parse_entry, signature_list
from policy.errors import OperationalError
from policy.fact_entries import DepositEntry
from policy.statements import contradicts
from tests.simulation.world import CHAIN, CUSTOMER, Book, World, identity_key, seed
from tests.unit.risk_house import BookLog
from tests.unit.test_audit import pinned

CONFIRMATIONS = 3
HOT = World().account()


def paying(name: str = "from outside", amount: int = 500, **changed: object) -> Incoming:
    """A payment from outside to the first account."""
    fields = {"index": 0, "address": HOT, "contract": None, "places": (Slot(CHAIN, CUSTOMER, 7),), **changed}
    return Incoming(tx=seed(name), amount=amount, **fields)  # type: ignore[arg-type]


class FakeBlocks:
    """A chain whose blocks hold what the test puts there; implements ``Watching``."""

    def __init__(self, name: str = CHAIN) -> None:
        self.name = name
        self.blocks: list[tuple[str, tuple[Incoming, ...]]] = [("genesis", ())]
        self.receipts: dict[bytes, tuple[int, bool]] = {}
        self.down = False
        self.asked = 0
        self._made = 0

    def mine(self, *payments: Incoming, more: int = 0) -> int:
        """A block with these payments, and more without any; the height of the first."""
        height = len(self.blocks)
        for content in (payments, *[()] * more):
            self._made += 1
            self.blocks.append((f"block {self._made}", content))
        return height

    def reorganise(self, depth: int, *blocks: tuple[Incoming, ...]) -> None:
        """Put other blocks in the place of the last ones, and one more."""
        del self.blocks[-depth:]
        for place in range(depth + 1):
            self.mine(*(blocks[place] if place < len(blocks) else ()))

    async def check(self) -> None:
        """Nothing is wrong."""

    async def head(self) -> int:
        self._check_up()
        return len(self.blocks) - 1

    async def block_hash(self, height: int) -> str:
        return self.blocks[height][0] if height < len(self.blocks) else ""

    async def block(self, height: int, wanted: Wanted) -> Block:
        self._check_up()
        self.asked += 1
        name, payments = self.blocks[height]
        found = tuple(one for one in payments if one.address in wanted.addresses)
        return Block(height, name, self.blocks[height - 1][0] if height else "", found)

    async def receipt(self, tx: bytes) -> Receipt | None:
        for height, (_, payments) in enumerate(self.blocks):
            if any(one.tx == tx for one in payments):
                return Receipt(tx, height, True, len(self.blocks) - height)
        if tx in self.receipts:
            height, success = self.receipts[tx]
            return Receipt(tx, height, success, len(self.blocks) - height)
        return None

    async def close(self) -> None:
        """Nothing is open."""

    def _check_up(self) -> None:
        if self.down:
            raise OperationalError("the endpoint is down")


class GatheringLog(BookLog):
    """A coordinator that gathers; ``said`` is what it was told, whoever said it."""

    def __init__(self, book: Book) -> None:
        super().__init__(book)
        self.gathering = Gathering()
        self.said: list[tuple[str, Json]] = []

    def state(self, kind: str, body: Json, *, signatures: Mapping[str, bytes]) -> bool:
        """Gather, and write what the fold takes in."""
        if self.closed:
            raise OperationalError("the coordinator is down: try again")
        self.said.append((kind, body))
        roster = self.book.state.roster
        entry = parse_entry(make_entry(kind, 0, body=body, signatures=signature_list(signatures))).entry
        if isinstance(entry, DepositEntry) and contradicts(self.book.state, entry):
            raise Contradicted("the log has something else")
        found = self.gathering.add(kind, body, signatures=signatures, roster=roster)
        if len(found) <= roster.f:
            return False
        trial = self.book.fork()
        if not trial.write(kind, body, signatures=signature_list(found)).accepted:
            raise OperationalError(trial.last.reason)
        self.book.write(kind, body, signatures=signature_list(found))
        self.gathering.drop(kind, body)
        return True


@dataclass
class Watcher:
    """One observer with its own chains and memory."""

    log: GatheringLog
    name: str
    chains: Sequence[FakeBlocks]
    memories: dict[str, Memory] = field(default_factory=dict)
    start: int | None = 1

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin anew with what it remembers."""
        settling = Settling(observer=self.name, chains=[one.name for one in self.chains])
        watched = [
            Watched(
                one,
                self.memories.setdefault(one.name, Memory()),
                confirmations=CONFIRMATIONS,
                start=self.start,
            )
            for one in self.chains
        ]
        self.stater = Stater(
            Follower(self.log, pinned(), hear=settling.hear),
            settling,
            observer=Observer(self.name, identity_key(self.name).sign),
            door=self.log,
            chains=watched,
        )

    async def look(self) -> None:
        """One look."""
        await self.stater.look()
