"""Random lives of hot, warm and cold: what is reserved, mined, burned and stated in any order, and who lies.

The chain of these walks keeps its own books: what each wallet really has, and what each request can still
move. It knows nothing of statements, windows or verdicts, so it is an independent count of what a tier can
come to. The coordinator says what it likes of what is settled, keeps statements back and hands them in late;
of the observers one is honest, and states what is there and what is still open.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from policy.entries import parse_entry
from policy.fact_entries import HoldingsEntry, PriceEntry
from policy.ledger import initial_unverified
from policy.model import TIER_MAXIMUM, TIER_SHARE
from policy.state import State
from policy.tiers_audit import TiersAudit
from tests.simulation.world import CUSTOMER, DAY_MS
from tests.unit.tier_house import AGE_MS, WALLETS, TierBook, level

HOT_MAX, STEPS = 150, 50
TIER_VERDICTS = (TIER_MAXIMUM, TIER_SHARE)
Sabotage = Callable[[State], State]


@dataclass
class Chain:
    """Balances, and for each request what its transaction moves; at most one of a request is ever mined."""

    balances: dict[str, int] = field(default_factory=lambda: {"hot": 60, "warm": 400, "cold": 900})
    open: dict[bytes, tuple[str, str, int]] = field(default_factory=dict)
    fees: dict[bytes, int] = field(default_factory=dict)
    deposits: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WALLETS, 0))
    """What came in unasked since the wallet was last stated."""

    def mine(self, request: bytes) -> None:
        """A transaction of the request is final; it can do nothing more."""
        source, destination, amount = self.open.pop(request)
        self.balances[source] -= amount + self.fees[request]
        if destination in self.balances:
            self.balances[destination] += amount

    def worst(self, wallet: str) -> int:
        """What the wallet has if all that can still come in does, and nothing goes out."""
        coming = (amount for _, destination, amount in self.open.values() if destination == wallet)
        return self.balances[wallet] + sum(coming)


class Walk:
    """One life, told by a seed."""

    def __init__(self, seed: int, *, sabotage: Sabotage = lambda state: state, **bounds: Any) -> None:
        self.random, self.chain, self.sabotage = Random(seed), Chain(), sabotage
        self.valued = bool(bounds)
        bounds = bounds or {"hot": {"maximum": level(eth=HOT_MAX)}}
        self.book = TierBook(state=initial_unverified(), **bounds)
        self.jobs: dict[bytes, list[bytes]] = {}
        self.asked: list[bytes] = []
        self.kept: list[dict[str, Any]] = []
        self.moved = self.refused = 0
        self.broken: list[str] = []
        self.audit, self.audited = TiersAudit(), list[str]()
        for wallet in WALLETS:
            self._log(self._observed(wallet))
        self._value()

    def run(self) -> None:
        """Every step is one thing that somebody does."""
        steps = (
            *(self.ask,) * 4,
            *(self.take,) * 6,
            *(self.mine,) * 4,
            *(self.observe,) * 3,
            *(self.hand_in,) * 3,
            *(self.lie,) * 3,
            *(self.retry, self.burn, self.deposit, self.wait),
        )
        for _ in range(STEPS):
            self.random.choice(steps)()
            self.book.state = self.sabotage(self.book.state)

    # What happens in the log.

    def ask(self) -> None:
        """A move or a payment is asked for, and approved."""
        source = self.random.choice(WALLETS)
        destination = self.random.choice((*WALLETS, "hot", "hot", "hot", "customer"))
        if source == destination:
            return
        book, amount = self.book, self.random.choice((5, 20, 45, 90))
        to = CUSTOMER if destination == "customer" else book.address(destination)
        request = book.request(amount, to=to, wallet=source, expires_ms=book.now_ms + 99 * DAY_MS)
        verdict = book.last.verdict
        self.refused += verdict is not None and verdict.rule in TIER_VERDICTS
        if book.last.accepted:
            book.agree(request, nonce=len(self.asked))
            self.asked.append(request)

    def take(self) -> None:
        """What was asked for is reserved, if the fold admits it."""
        fresh = [request for request in self.asked if request not in self.jobs]
        if fresh:
            self._reserve(self.random.choice(fresh))

    def retry(self) -> None:
        """Another transaction on the same anchor."""
        if self.chain.open:
            self._reserve(self.random.choice(sorted(self.chain.open)))

    def burn(self) -> None:
        """The signers of a job that is not signed state that they never will."""
        burnable = [request for request in sorted(self.chain.open) if self.jobs[request]]
        if not burnable:
            return
        request = self.random.choice(burnable)
        self.book.burn(self.jobs[request].pop())
        if not self.jobs[request]:
            self.chain.open.pop(request)
            del self.jobs[request]

    def lie(self) -> None:
        """The coordinator says of something unmined that it is settled."""
        unsigned = [request for request in sorted(self.chain.open) if self.jobs[request]]
        if unsigned:
            request = self.random.choice(unsigned)
            job = self.jobs[request][-1]
            self.book.sign(job)
            self.book.settle(job)
            self.jobs[request].clear()

    def _reserve(self, request: bytes) -> None:
        book, fee = self.book, self.random.choice((0, 1, 5))
        job = book.take(request, nonce=self.asked.index(request), fee=fee)
        if not book.last.accepted:
            verdict = book.last.verdict
            self.refused += verdict is not None and verdict.rule in TIER_VERDICTS
            return
        intent = book.state.requests[request].request.intent
        owner = book.state.owned.get((intent.chain, intent.destination), "customer")
        self.jobs.setdefault(request, []).append(job)
        self.chain.open[request] = (intent.wallet, owner, intent.amount)
        self.chain.fees[request] = max(fee, self.chain.fees.get(request, 0))
        if owner == "hot":
            self.moved += 1
            if not self.valued:
                self._check()
        if found := self.audit.reserved(book.state, job):
            self.audited.append(found)

    def _check(self) -> None:
        """Whatever is mined from here on: no move that was admitted takes hot above its maximum."""
        worst = self.chain.worst("hot") - self.chain.deposits["hot"]
        if worst > HOT_MAX:
            self.broken.append(f"entry {self.book.state.size - 1}: hot can come to {worst}, above {HOT_MAX}")

    # What happens outside.

    def mine(self) -> None:
        """Something that was reserved is signed, sent and final; the log may hear of it or not."""
        mineable = [r for r in sorted(self.chain.open) if self._affordable(r)]
        if mineable:
            self.chain.mine(self.random.choice(mineable))

    def _affordable(self, request: bytes) -> bool:
        source, _, amount = self.chain.open[request]
        return self.chain.balances[source] >= amount + self.chain.fees[request]

    def deposit(self) -> None:
        """Somebody pays in."""
        wallet = self.random.choice(WALLETS)
        self.chain.balances[wallet] += 30
        self.chain.deposits[wallet] += 30

    def wait(self) -> None:
        """Time passes, maybe until what was stated is too old."""
        self.book.advance(self.random.choice((1, AGE_MS // 9, AGE_MS // 3)))
        self._value()

    def _value(self) -> None:
        """What all of it is worth can be told again, where values are bounded."""
        if not self.valued:
            return
        self.book.state_price(self.random.choice((10, 10, 11)))
        price = parse_entry(self.book.entries[-1]).entry
        if self.book.last.accepted and isinstance(price, PriceEntry):
            self.audit.priced(price)
        for wallet in WALLETS:
            if self.book.state_holdings(wallet, 0, asset="usdc").accepted:
                entry = parse_entry(self.book.entries[-1]).entry
                if isinstance(entry, HoldingsEntry):
                    self.audit.stated(self.book.state, entry)

    # What observers state.

    def observe(self) -> None:
        """They look, and sign what they see; the coordinator has it now."""
        self.kept.append(self._observed(self.random.choice(WALLETS)))

    def hand_in(self) -> None:
        """The coordinator logs a statement when it pleases, or a new one."""
        late = self.kept and self.kept.pop(self.random.randrange(len(self.kept)))
        self._log(late or self._observed("hot"))

    def _observed(self, wallet: str) -> dict[str, Any]:
        size = self.book.state.size
        self.book.advance(1)
        return {
            "wallet": wallet,
            "amount": self.chain.balances[wallet],
            "size": size,
            "observed_ms": self.book.now_ms,
            "pending": [
                r for r, (source, to, _) in sorted(self.chain.open.items()) if wallet in (source, to)
            ],
            "deposits": self.chain.deposits[wallet],
        }

    def _log(self, statement: dict[str, Any]) -> None:
        seen, wallet = statement.pop("deposits"), statement["wallet"]
        if self.book.state_holdings(**statement).accepted:
            entry = parse_entry(self.book.entries[-1]).entry
            if isinstance(entry, HoldingsEntry):
                self.audit.stated(self.book.state, entry)
            self.chain.deposits[wallet] -= seen
            for other in self.kept:
                if other["wallet"] == wallet:
                    other["deposits"] = max(0, other["deposits"] - seen)
