"""Which coins pay, and what comes back: largest first, few inputs, change unless it is dust. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from custody.chains.bitcoin.transaction import RELAY_RATE, Coin, dust, virtual_size
from policy.decode.psbt import Output
from policy.errors import OperationalError


@dataclass(frozen=True, slots=True)
class Need:
    """What a transaction has to do: the payment, where change goes, and what it may cost.

    ``rate`` is in satoshi a 1000 virtual bytes; ``fee_min`` is what a transaction that it replaces offers.
    With ``left_min`` small coins are spent along, into the change, while so many others are left free.
    """

    paid: Output
    change: bytes
    rate: int
    ceiling: int
    coins_max: int
    fee_min: int = 0
    left_min: int | None = None


@dataclass(frozen=True, slots=True)
class Spending:
    """The coins, the anchor first, and the outputs."""

    coins: tuple[Coin, ...]
    outputs: tuple[Output, ...]

    @property
    def fee(self) -> int:
        """What the miners get."""
        return sum(coin.amount for coin in self.coins) - sum(one.amount for one in self.outputs)


def spend(need: Need, coins: Sequence[Coin], *, kept: Sequence[Coin] = ()) -> Spending:
    """A transaction that spends ``kept``, the anchor first, and of ``coins`` what is needed on top.

    Raises ``OperationalError`` when there is too little, or the fee's ceiling is too low.
    """
    if need.paid.amount < (least := dust(need.paid.script)):
        raise OperationalError(f"{need.paid.amount} satoshi are dust: no node relays a payment below {least}")
    rest = sorted((coin for coin in coins if coin not in kept), key=lambda coin: coin.amount, reverse=True)
    if not kept:
        alone = [coin for coin in rest if (found := _with(need, (coin,))) and len(found.outputs) == 2]
        rest = alone[-1:] or rest
    for count in range(len(rest) + 1):
        chosen = (*kept, *rest[:count])
        if len(chosen) > need.coins_max:
            break
        found = _with(need, chosen) if chosen else None
        if found is not None:
            return _checked(need, _tidied(need, found, coins))
    most = sum(coin.amount for coin in (*kept, *rest)[: need.coins_max])
    raise OperationalError(
        f"{most} satoshi in at most {need.coins_max} coins are free and confirmed, {need.paid.amount} and "
        f"the fee are needed: wait for others to confirm, or fund the wallet"
    )


def fee_of(need: Need, size: int) -> int:
    """What a transaction of ``size`` virtual bytes offers: the rate's fee, within the ceiling."""
    wanted = max(-(-need.rate * size // 1000), need.fee_min + least_more(size))
    return min(wanted, max(need.ceiling, least_more(size)))


def least_more(size: int) -> int:
    """What nodes ask for a transaction, and on top for one that takes another's place."""
    return -(-RELAY_RATE * size // 1000)


def _with(need: Need, coins: tuple[Coin, ...]) -> Spending | None:
    """The transaction that spends just these coins; None when they are too little."""
    scripts = [coin.output.script for coin in coins]
    total = sum(coin.amount for coin in coins)
    with_change = fee_of(need, virtual_size(scripts, (need.paid.script, need.change)))
    change = total - need.paid.amount - with_change
    if change >= dust(need.change):
        return Spending(coins, (need.paid, Output(change, need.change)))
    if total - need.paid.amount < fee_of(need, virtual_size(scripts, (need.paid.script,))):
        return None
    return Spending(coins, (need.paid,))


def _tidied(need: Need, found: Spending, coins: Sequence[Coin]) -> Spending:
    """The transaction with small coins on top that bring more than they cost."""
    if need.left_min is None or len(found.outputs) < 2:
        return found
    spare = sorted((coin for coin in coins if coin not in found.coins), key=lambda coin: coin.amount)
    for coin in spare[: max(0, len(spare) - need.left_min)]:
        larger = _with(need, (*found.coins, coin)) if len(found.coins) < need.coins_max else None
        if larger is None or larger.fee > need.ceiling or len(larger.outputs) < 2:
            break
        if larger.outputs[1].amount > found.outputs[1].amount:
            found = larger
    return found


def _checked(need: Need, found: Spending) -> Spending:
    size = virtual_size((coin.output.script for coin in found.coins), (one.script for one in found.outputs))
    least = least_more(size) + (need.fee_min if need.fee_min else 0)
    if found.fee > need.ceiling or found.fee < least:
        raise OperationalError(
            f"the fee ceiling {need.ceiling} does not reach for {size} virtual bytes, which take at least "
            f"{max(least, min(found.fee, need.rate * size // 1000))}: wait, or ask anew with a higher ceiling"
        )
    return found
