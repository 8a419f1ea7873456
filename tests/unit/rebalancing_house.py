"""A coordinator in memory as a rebalancer sees it, and a rebalancer over it that can be ended at any call.

``FakeDesk`` keeps what a coordinator keeps: requests by idempotency key, balances, movements. Payments out of
the cold wallet wait for approvals, those out of the hot one settle at the next ``pass_time``. Faults are
counted in calls: the n-th raises before anything is done ("not done") or after it ("done, and not told").
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from custody.adapters.rebalance_store import RebalanceStore
from custody.client import Code
from custody.rebalance_report import RebalanceReport, parse_report
from custody.rebalancer.flows import DAY_MS, HOUR_MS
from custody.rebalancer.plan import Bounds
from custody.rebalancing.granting import Settings
from custody.rebalancing.metrics import RebalancerMetrics
from custody.rebalancing.ports import Asked, Book, TurnedAway
from custody.rebalancing.rebalancer import Rebalancer
from custody.rebalancing.records import Account, CostSettings, Holdings, Movement, Note, Open, Price, Route
from policy.encoding import Json, parse_canonical
from policy.intent import Request, parse_request, request_id

ORIGIN, ME = "log.example.com/test", "mover"
ETHER = 10**18
HOT, COLD, CHAIN = "hot", "cold", "evm:31337"
ADDRESSES = {HOT: "0x" + "aa" * 20, COLD: "0x" + "cc" * 20}
FEE = ETHER // 100
START_MS = 1_790_000_000_000 - 1_790_000_000_000 % DAY_MS + 9 * HOUR_MS
DONE = ("settled", "denied", "expired", "failed")
T = TypeVar("T")


class Killed(BaseException):
    """The process ended at this call."""


def make_route(*, minimum: int = 2, target: int = 5, maximum: int = 10, price: float | None = None) -> Route:
    """The ether of the hot wallet, in whole ether; without a price the bounds are the band."""
    return Route(
        name="eth",
        asset="eth",
        chain=CHAIN,
        wallet=HOT,
        source=COLD,
        decimals=18,
        native=True,
        fee_ceiling=FEE,
        bounds=Bounds(minimum * ETHER, target * ETHER, maximum * ETHER),
        costs=CostSettings(price=price),
    )


@dataclass
class Kept:
    """A request at the fake coordinator."""

    request: Request
    body: bytes
    state: str
    approved: bool = False
    error: str = ""


@dataclass
class FakeDesk:
    """Implements ``custody.rebalancing.ports.Desk``."""

    balances: dict[str, int] = field(default_factory=lambda: {HOT: 5 * ETHER, COLD: 1000 * ETHER})
    now_ms: int = START_MS
    kept: dict[bytes, Kept] = field(default_factory=dict)
    paid: list[Movement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reported: list[RebalanceReport] = field(default_factory=list)
    late: int = 0
    prices: dict[str, Price] = field(default_factory=dict)
    blind: bool = False
    denies: bool = False
    calls: int = 0
    fault: tuple[int, str] = (0, "")
    origin: str = ORIGIN
    name: str = ME

    # The port.

    def holdings(self) -> Holdings:
        return self._called(self._holdings)

    def movements(self, after: int) -> tuple[tuple[Movement, ...], int]:
        return self._called(lambda: (tuple(self.paid[after : after + 3]), min(len(self.paid), after + 3)))

    def address(self, wallet: str) -> str:
        return self._called(lambda: self._address(wallet))

    def submit(self, body: bytes) -> Asked:
        return self._called(lambda: self._submit(body))

    def get(self, request: bytes) -> Asked | None:
        return self._called(lambda: self._view(request) if request in self.kept else None)

    def own_requests(self, before: bytes = b"") -> tuple[Asked, ...]:
        if before:
            return ()
        return self._called(lambda: tuple(self._view(one) for one in reversed(self.kept)))

    def call_back(self, request: bytes, reason: str) -> None:
        return self._called(lambda: self._call_back(request, reason))

    def report(self, body: dict[str, Json]) -> None:
        return self._called(lambda: self.reported.append(parse_report(body)))

    def tell(self, note: Note) -> None:
        return self._called(lambda: self.notes.append(note.kind))

    # What happens outside.

    def ask(self, amount: int) -> None:
        """A customer asks to be paid out of the hot wallet: signed at once, mined when it has enough."""
        self.late += amount
        number = len(self.paid)
        self.paid.append(Movement(number, number.to_bytes(32, "big"), self.now_ms, HOT, "eth", amount, ""))
        self._pay_late()

    def _pay_late(self) -> None:
        paid = min(self.late, self.balances[HOT])
        self.late, self.balances[HOT] = self.late - paid, self.balances[HOT] - paid

    def pay(self, amount: int, *, wallet: str = HOT, to: str = "") -> None:
        """A customer is paid, or funds are moved by others."""
        self.balances[wallet] -= amount
        if to:
            self.balances[to] += amount
        number = len(self.paid)
        self.paid.append(Movement(number, number.to_bytes(32, "big"), self.now_ms, wallet, "eth", amount, to))

    def approve_all(self) -> None:
        for kept in self.kept.values():
            kept.approved = True

    def pass_time(self, ms: int) -> None:
        """The clock goes on: what may be signed is signed and settled, what is overdue expires."""
        self.now_ms += ms
        self._pay_late()
        for one in self.kept.values():
            if one.state == "waiting" and (one.approved or one.request.intent.wallet == HOT):
                one.state = "signed"
            elif one.state == "waiting" and one.request.expires_ms <= self.now_ms:
                one.state = "expired"
            elif one.state == "signed":
                one.state = "settled"
                intent = one.request.intent
                to = next(name for name, address in ADDRESSES.items() if address == intent.destination)
                self.pay(intent.amount, wallet=intent.wallet, to=to)
                self.paid[-1] = replace(self.paid[-1], request=request_id(one.request.body()))

    def open_requests(self) -> list[Request]:
        return [one.request for one in self.kept.values() if one.state not in DONE]

    def settled(self) -> list[Request]:
        return [one.request for one in self.kept.values() if one.state == "settled"]

    # How.

    def _called(self, act: Callable[[], T]) -> T:
        self.calls += 1
        number, kind = self.fault
        if self.calls == number and kind == "not done":
            raise Killed
        done = act()
        if self.calls == number:
            raise Killed
        return done

    def _address(self, wallet: str) -> str:
        if wallet not in ADDRESSES:
            raise TurnedAway(Code.UNKNOWN_WALLET, f"the policy has no wallet {wallet}")
        return ADDRESSES[wallet]

    def _holdings(self) -> Holdings:
        accounts = tuple(
            Account(
                name, name, "evm:31337", "eth", "m/0", ADDRESSES[name], None if self.blind else amount, ""
            )
            for name, amount in self.balances.items()
        )
        opened = tuple(
            Open(
                one.request.intent.wallet,
                "eth",
                _to(one.request),
                ME,
                one.state == "signed",
                one.request.intent.amount,
            )
            for one in self.kept.values()
            if one.state not in DONE
        )
        if self.late:
            opened = (*opened, Open(HOT, "eth", "", "shop", True, self.late))
        return Holdings(self.now_ms, bytes(32), accounts, opened, self.prices)

    def _submit(self, body: bytes) -> Asked:
        document = parse_canonical(body, bytes_max=20_000)
        request, identifier = parse_request(document), request_id(document)
        if identifier in self.kept:
            return self._view(identifier)
        if any(one.request.idempotency_key == request.idempotency_key for one in self.kept.values()):
            raise TurnedAway(Code.IDEMPOTENCY_CONFLICT, "that key names another request")
        if request.expires_ms <= self.now_ms:
            raise TurnedAway(Code.REQUEST_EXPIRED, "it expired")
        self.kept[identifier] = Kept(request, body, "denied" if self.denies else "waiting")
        return self._view(identifier)

    def _call_back(self, request: bytes, reason: str) -> None:
        one = self.kept[request]
        if one.state not in ("waiting", "denied"):
            raise TurnedAway(Code.CHANGE_REFUSED, "it is signed")
        one.state, one.error = "denied", reason

    def _view(self, request: bytes) -> Asked:
        one = self.kept[request]
        return Asked(request, one.body, one.state, "", one.error, 0, self.now_ms)


def _to(request: Request) -> str:
    return next(name for name, address in ADDRESSES.items() if address == request.intent.destination)


class Mover:
    """A rebalancer over a desk and records that outlive it."""

    def __init__(self, folder: Path, desk: FakeDesk, *, route: Route | None = None) -> None:
        self.folder = folder
        self.desk = desk
        self.route = route or make_route()
        self.around_book: Callable[[Book], Book] = lambda book: book
        self.start()

    def start(self) -> None:
        """A new process on the same records."""
        self.book = RebalanceStore(self.folder / "rebalancer.db")
        self.metrics = RebalancerMetrics()
        self.rebalancer = Rebalancer(
            self.desk,
            self.around_book(self.book),
            routes=[self.route],
            settings=Settings(),
            metrics=self.metrics,
            now_ms=lambda: self.desk.now_ms,
        )

    def look(self) -> list[str]:
        """One look; what changed, in words."""
        return [f"{move.direction} {move.stage}" for move in self.rebalancer.look()]

    def look_until_killed(self) -> bool:
        """One look, and a new process if that one is ended; whether it was."""
        try:
            self.rebalancer.look()
        except Killed:
            self.book.close()
            self.start()
            return True
        return False
