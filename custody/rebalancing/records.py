"""What a rebalancer knows and keeps, as plain data. Amounts are integers of base units."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from custody.rebalancer.flows import DAY_MS, HOUR_MS
from custody.rebalancer.plan import Band, Bounds
from custody.rebalancing.moves import Stage

__all__ = [
    "DAY_MS",
    "HOUR_MS",
    "Account",
    "Alarm",
    "Corridor",
    "CostSettings",
    "Direction",
    "Edge",
    "Exposure",
    "Foreseen",
    "Holdings",
    "HourFlow",
    "Move",
    "Movement",
    "Note",
    "Observed",
    "Open",
    "Price",
    "Route",
    "replace",
]


class Direction(StrEnum):
    """Which way a move goes: a top-up raises what is exposed, a sweep lowers it."""

    TOP_UP = "top-up"
    SWEEP = "sweep"


@dataclass(frozen=True, slots=True)
class Account:
    """One asset at one account of a wallet; ``balance_base`` is None where the chain did not say."""

    wallet: str
    tier: str
    chain: str
    asset: str
    path: str
    account: str
    balance_base: int | None
    error: str


@dataclass(frozen=True, slots=True)
class Open:
    """Requests that are not settled, added up; ``to`` is the own wallet that is paid, or empty."""

    wallet: str
    asset: str
    to: str
    initiator: str
    signed: bool
    amount_base: int


@dataclass(frozen=True, slots=True)
class Price:
    """What one whole unit was stated to be worth: ``price`` in ``unit`` such as ``usd/8``."""

    unit: str
    price: int
    observed_ms: int


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the coordinator says there is now."""

    time_ms: int
    policy: bytes
    accounts: tuple[Account, ...]
    open: tuple[Open, ...]
    prices: dict[str, Price]


@dataclass(frozen=True, slots=True)
class Movement:
    """A signed payment, in the order of the log."""

    number: int
    request: bytes
    signed_ms: int
    wallet: str
    asset: str
    amount_base: int
    to: str


@dataclass(frozen=True, slots=True)
class Edge:
    """A bound of what a wallet holds: so much of the asset, so much in value, or the stricter of both."""

    amount_base: int | None = None
    value: int | None = None


@dataclass(frozen=True, slots=True)
class Corridor:
    """What the policy lets a tier hold, where it says so in value: base units follow from the price."""

    minimum: Edge
    target: Edge
    maximum: Edge


@dataclass(frozen=True, slots=True)
class Route:
    """One asset between the wallet that is watched and the colder one that it is filled from.

    ``costs`` are in money, by the unit of the prices; see ``CostSettings``. With a ``corridor`` the bounds
    are what it comes to at the price there is. ``tier`` is the watched wallet's, and ``units`` are the base
    units of one whole unit of every asset of the policy.
    """

    name: str
    asset: str
    chain: str
    wallet: str
    source: str
    decimals: int
    native: bool
    fee_ceiling: int
    bounds: Bounds
    costs: "CostSettings"
    corridor: Corridor | None = None
    tier: str = ""
    units: tuple[tuple[str, int], ...] = ()

    @property
    def unit_base(self) -> int:
        """Base units in one unit."""
        return int(10**self.decimals)


@dataclass(frozen=True, slots=True)
class CostSettings:
    """What things cost in money; ``price`` is for deployments whose policy has no prices, or None.

    ``delay``, what a payment that waits costs as a share of it, follows from the ``service`` if it is None:
    the share of withdrawals that is to be paid at once.
    """

    price: float | None = None
    topup: float = 20.0
    sweep: float = 2.0
    exposure_year: float = 0.1
    delay: float | None = None
    service: float = 0.999
    lead_days: int = 1
    days_of_target: float = 5.0


@dataclass(frozen=True, slots=True)
class Observed:
    """The latest look at a route's wallet: ``held_base`` counts what is signed as gone or there.

    ``carry_base`` (at most 0) is what left without a movement: fees, or what the next look explains.
    ``number`` is the movement up to which it is explained.
    """

    time_ms: int
    held_base: int
    carry_base: int
    number: int


@dataclass(frozen=True, slots=True)
class HourFlow:
    """One hour of a route: None is not known."""

    hour_ms: int
    withdrawn_base: int
    deposited_base: int | None


@dataclass(frozen=True, slots=True)
class Exposure:
    """What was held and wanted in one hour, with the band that was planned by, and why."""

    hour_ms: int
    hot_base: int
    owed_base: int
    bounds: Bounds
    band: Band
    mode: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Quantiles of one day ahead as they were forecast, in base units; ``made_ms`` is the day it was made."""

    made_ms: int
    day_ms: int
    flow: str
    levels: tuple[float, ...]
    amounts_base: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Alarm:
    """The breaker tripped; ``ended_ms`` is 0 until a person says that it is over.

    ``new_normal`` says that what tripped it is how it is going to be: then forecasts learn from those days.
    """

    route: str
    since_ms: int
    rule: str
    observed_base: int
    threshold_base: int
    quota_base: int
    band: Band
    ended_ms: int = 0
    ended_why: str = ""
    new_normal: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """Something that people should know: a fallback, a dead price, a run, or their end."""

    time_ms: int
    route: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Move:
    """One move, or proposal of one. ``name`` is its idempotency key and is never used for another.

    ``body`` are the bytes of the signed request, empty before it is decided; ``released`` says that a person
    let it go above the breaker's quota.
    """

    name: str
    route: str
    direction: Direction
    stage: Stage
    amount_base: int
    due_ms: int
    created_ms: int
    updated_ms: int
    expires_ms: int = 0
    period_ms: int = 0
    body: bytes = b""
    request: bytes = b""
    request_state: str = ""
    tx_hash: str = ""
    error: str = ""
    released: bool = False
    reasons: tuple[str, ...] = field(default=())
