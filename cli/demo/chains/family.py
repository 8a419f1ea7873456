"""What a demo has to know of a family of chains to run on it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cli.demo.policy import HOT, WARM


class Network(Protocol):
    """A test chain that runs on this machine. Amounts are in base units."""

    def answers(self) -> bool:
        """Whether it is up."""

    def version(self) -> str:
        """What it is."""

    def pay(self, to: str, amount: int) -> str:
        """Pay out of the chain's own purse, and wait for the block; the transaction as explorers name it."""

    def balance(self, account: str) -> int:
        """What blocks have left an account of the native asset."""


@dataclass(frozen=True, slots=True)
class Pocket:
    """A wallet of the policy: its tier, its key and the paths that it has of it."""

    wallet: str
    tier: str
    key: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Amounts:
    """In base units: what arrives, is paid by a rule alone, with an approval, goes to warm; and so on.

    ``kept`` is what a sweep leaves of a deposit, for its fee.
    """

    deposited: int
    kept: int
    small: int
    large: int
    moved: int
    daily_max: int
    funded: int


@dataclass(frozen=True, slots=True)
class Family:
    """One family: its test chain, the wallets on it, whom they pay and how much.

    ``process`` is what its program is called, ``command`` how it is started in a folder, on a port.
    ``settings`` are lines for the chain's section of the coordinator's configuration. Where these follow from
    keys, ``settings_later`` makes them, of a folder, the chain's port and the addresses that pay.
    ``observing`` are lines for an observer's section. ``needs`` are modules that the extra ``demo`` brings.
    ``foreign`` is an address of another network.
    """

    name: str
    chain: str
    asset: str
    decimals: int
    suite: str
    fee_ceiling: int
    hot: Pocket
    warm: Pocket
    deposits: Pocket
    amounts: Amounts
    customer: str
    foreign: str
    process: str
    command: Callable[[Path, int], list[str]]
    network: Callable[[int], Network]
    settings: str = ""
    settings_later: Callable[..., str] | None = None
    needs: tuple[str, ...] = ()
    observing: str = "confirmations = 1\n"

    @property
    def pockets(self) -> tuple[Pocket, ...]:
        """Its wallets that the road goes over."""
        return (self.hot, self.warm, self.deposits)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys behind them, each once."""
        return tuple(dict.fromkeys(pocket.key for pocket in self.pockets))


def pockets_of(
    family: str, *, hot: tuple[str, ...], warm: str, deposits: str
) -> tuple[Pocket, Pocket, Pocket]:
    """A wallet of each sort, each with a key of its own."""
    return (
        Pocket(f"{family}-hot", HOT, f"{family}-hot", hot),
        Pocket(f"{family}-warm", WARM, f"{family}-warm", (warm,)),
        Pocket(f"{family}-deposits", HOT, f"{family}-deposits", (deposits,)),
    )
