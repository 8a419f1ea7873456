"""What a sweeper looks after, in memory: accounts, a desk, and what becomes of requests."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from custody.rebalancing.moves import Stage
from custody.rebalancing.ports import Asked, TurnedAway
from custody.rebalancing.records import Account, Direction, Holdings, Move, Movement, Note, Price
from custody.sweeping.history import route_of
from custody.sweeping.tasks import Asset, Pace, Sweep, Tank, Tasks
from policy.encoding import Json, parse_canonical
from policy.errors import OperationalError
from policy.intent import Request, parse_request, request_id

CHAIN, ETH, USD = "evm:1", "eth", "usd"
DEPOSITS, HOT, GAS = "deposits", "hot", "gas"
FEE, START_MS = 1000, 1_800_000_000_000
ETHER, TOKEN = Asset(ETH, CHAIN, 18, ETH, 18), Asset(USD, CHAIN, 6, ETH, 18)
SWEEPS = (
    Sweep(TOKEN, DEPOSITS, HOT, minimum_base=50, fee_base=FEE),
    Sweep(ETHER, DEPOSITS, HOT, minimum_base=20_000, fee_base=FEE),
)
TANK = Tank(ETHER, GAS, (DEPOSITS, HOT), fee_base=FEE, transactions=2, a_day=4, low_base=5000)
TASKS = Tasks(SWEEPS, (TANK,), Pace(at_once=50))
T = TypeVar("T")


def address(wallet: str, path: str) -> str:
    """The address of an account."""
    return f"0x{hashlib.sha256(f'{wallet} {path}'.encode()).hexdigest()[:40]}"


def account(wallet: str, path: str, *, asset: str, balance: int | None) -> Account:
    """One asset at one account."""
    return Account(wallet, wallet, CHAIN, asset, path, address(wallet, path), balance, "")


def move(
    path: str,
    stage: Stage,
    *,
    asset: str = USD,
    amount: int = 100,
    age_ms: int = 3_600_000,
    direction: Direction = Direction.SWEEP,
) -> Move:
    """An earlier move of an account of the deposit wallet."""
    at_ms = START_MS - age_ms
    return Move(
        name=f"{direction}-{asset}-{path}-{age_ms}",
        route=route_of(asset, address(DEPOSITS, path)),
        direction=direction,
        stage=stage,
        amount_base=amount,
        due_ms=at_ms,
        created_ms=at_ms,
        updated_ms=at_ms,
    )


class Ended(BaseException):
    """The process is killed."""


@dataclass
class FakeDesk:
    """Implements ``custody.rebalancing.ports.Desk``: pays at once what is asked for, or as it is told."""

    balances: dict[tuple[str, str], int | None] = field(default_factory=dict)
    places: dict[str, tuple[str, str]] = field(default_factory=dict)
    now_ms: int = START_MS
    kept: dict[bytes, tuple[Request, bytes, str]] = field(default_factory=dict)
    prices: dict[str, Price] = field(default_factory=dict)
    pays: bool = True
    denies: bool = False
    keeps: bool = False
    down: bool = False
    faults: Callable[[], str | None] = lambda: None
    spent: int = FEE // 2
    origin: str = "example.com/log"
    name: str = "sweeper"

    def put(self, wallet: str, path: str, **held: int | None) -> None:
        """What an account holds, by asset."""
        self.places[address(wallet, path)] = wallet, path
        for asset, balance in held.items():
            self.balances[address(wallet, path), asset] = balance

    def held(self, wallet: str, path: str, asset: str) -> int:
        """What an account holds now."""
        return self.balances.get((address(wallet, path), asset)) or 0

    def holdings(self) -> Holdings:
        self._answer(lambda: None)
        accounts = tuple(
            account(*self.places[place], asset=asset, balance=balance)
            for (place, asset), balance in self.balances.items()
        )
        return Holdings(self.now_ms, bytes(32), accounts, (), self.prices)

    def submit(self, body: bytes) -> Asked:
        return self._answer(lambda: self._submit(body))

    def get(self, request: bytes) -> Asked | None:
        return self._answer(lambda: self._view(request) if request in self.kept else None)

    def own_requests(self, before: bytes = b"") -> tuple[Asked, ...]:
        newest = list(reversed(self.kept))
        start = newest.index(before) + 1 if before else 0
        return tuple(self._view(one) for one in newest[start : start + 2])

    def movements(self, after: int) -> tuple[tuple[Movement, ...], int]:
        raise AssertionError("a sweeper asks for no movements")

    def address(self, wallet: str) -> str:
        raise AssertionError("a sweeper takes addresses from the holdings")

    def call_back(self, request: bytes, reason: str) -> None:
        raise AssertionError("a sweeper calls nothing back")

    def report(self, body: dict[str, Json]) -> None:
        raise AssertionError("a sweeper reports nothing")

    def tell(self, note: Note) -> None:
        raise AssertionError("a sweeper writes no notes")

    def mine(self) -> None:
        """Everything that was asked for is paid."""
        for identifier, (_, _, state) in list(self.kept.items()):
            if state == "logged":
                self._pay(identifier)

    def turn(self, state: str) -> None:
        """What is open comes to this."""
        for identifier, (request, body, known) in list(self.kept.items()):
            if known in ("logged", "broadcast"):
                self.kept[identifier] = request, body, state

    def _answer(self, answer: Callable[[], T]) -> T:
        if self.down:
            raise OperationalError("nobody answers")
        fault = self.faults()
        if fault == "before":
            raise Ended
        found = answer()
        if fault == "after":
            raise OperationalError("the answer was lost")
        return found

    def _submit(self, body: bytes) -> Asked:
        request = parse_request(parse_canonical(body, bytes_max=16_384))
        identifier = request_id(request.body())
        if any(
            known.idempotency_key == request.idempotency_key and one != identifier
            for one, (known, _, _) in self.kept.items()
        ):
            raise TurnedAway("idempotency-conflict", "another request has this key")
        if identifier not in self.kept:
            self.kept[identifier] = request, body, "denied" if self.denies else "logged"
            if self.pays and not self.denies:
                self._pay(identifier)
        return self._view(identifier)

    def _pay(self, identifier: bytes) -> None:
        """The chain's part: nobody pays what they do not have."""
        request, body, _ = self.kept[identifier]
        intent = request.intent
        payer = address(intent.wallet, intent.source or "")
        gas = (self.balances[payer, ETH] or 0) - self.spent - (intent.amount if intent.asset == ETH else 0)
        assert gas >= 0, f"{payer} has no gas for {intent}"
        assert request.fee_ceiling >= self.spent
        if not self.keeps:
            self._move(payer, intent.asset, -intent.amount)
            self._move(intent.destination, intent.asset, intent.amount)
        self._move(payer, ETH, -self.spent)
        self.kept[identifier] = request, body, "settled"

    def _move(self, place: str, asset: str, amount: int) -> None:
        left = (self.balances.get((place, asset)) or 0) + amount
        assert left >= 0, f"{place} pays more {asset} than it has"
        self.balances[place, asset] = left

    def _view(self, identifier: bytes) -> Asked:
        _request, body, state = self.kept[identifier]
        error = "limit reached" if state == "denied" else ""
        return Asked(identifier, body, state, "", error, 0, self.now_ms)
