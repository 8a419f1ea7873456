"""What a sweeper is to do, as plain data. Amounts are integers of base units."""

from dataclasses import dataclass

from custody.rebalancing.records import DAY_MS

__all__ = ["DAY_MS", "Asset", "Pace", "Sweep", "Tank", "Tasks"]


@dataclass(frozen=True, slots=True)
class Asset:
    """An asset of the policy, and the one in which fees are paid on its chain; both are one if it is native.

    ``by_coins``: one transaction can spend what many addresses have, as on Bitcoin. ``reserve_base`` of the
    native asset has to stay in an account that is not emptied whole, as on Solana.
    """

    name: str
    chain: str
    decimals: int
    native: str
    native_decimals: int
    by_coins: bool = False
    reserve_base: int = 0

    @property
    def unit_base(self) -> int:
        """Base units in one unit."""
        return int(10**self.decimals)

    @property
    def native_unit_base(self) -> int:
        """The same of the asset that fees are paid in."""
        return int(10**self.native_decimals)

    @property
    def is_native(self) -> bool:
        """Whether fees are paid in it."""
        return self.name == self.native


@dataclass(frozen=True, slots=True)
class Sweep:
    """The accounts of ``wallet`` that hold ``minimum_base`` or more are emptied into the wallet ``to``.

    ``fee_base`` is the most that one transaction may cost, ``keep_base`` what is left where it is. Where
    prices are known, what is swept has to be worth ``worth`` times the fee. ``coins_max`` addresses go into
    one request.
    """

    asset: Asset
    wallet: str
    to: str
    minimum_base: int
    fee_base: int
    keep_base: int = 0
    worth: int = 5
    coins_max: int = 16

    @property
    def gas_base(self) -> int:
        """What an account has to have of the native asset to be swept."""
        return self.fee_base + (0 if self.asset.is_native else self.asset.reserve_base)


@dataclass(frozen=True, slots=True)
class Tank:
    """The wallet whose first account gives gas to others: to those of ``accounts`` with something to send.

    ``fee_base`` is what one of their transactions may cost. Who has less than for one gets as much as
    ``transactions`` of them need, at most ``a_day`` times in 24 hours. Below ``low_base`` the tank is low.
    """

    asset: Asset
    wallet: str
    accounts: tuple[str, ...]
    fee_base: int
    transactions: int = 2
    a_day: int = 4
    low_base: int = 0

    @property
    def least_base(self) -> int:
        """Below it an account is thirsty."""
        return self.fee_base + self.asset.reserve_base

    @property
    def full_base(self) -> int:
        """What an account has after a top-up."""
        return self.fee_base * self.transactions + self.asset.reserve_base


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a request is good, and how long nothing is asked after a refusal; twice as long after another.

    After a move has arrived its account rests for ``settle_ms``: what is shown of its balance may be older.
    At most ``at_once`` moves of one sweep or tank are under way.
    """

    valid_ms: int = 3_600_000
    pause_ms: int = 600_000
    settle_ms: int = 30_000
    at_once: int = 20


@dataclass(frozen=True, slots=True)
class Tasks:
    """Everything that one sweeper looks after."""

    sweeps: tuple[Sweep, ...]
    tanks: tuple[Tank, ...]
    pace: Pace
