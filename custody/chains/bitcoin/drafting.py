"""Transactions whose coins somebody has chosen: by a PSBT of another wallet, or all that there are. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from custody.chains.bitcoin.foreign import Foreign
from custody.chains.bitcoin.spending import Spending, least_more
from custody.chains.bitcoin.transaction import Coin, dust, virtual_size
from policy.decode.psbt import Output
from policy.errors import MalformedError


@dataclass(frozen=True, slots=True)
class Terms:
    """What a request that comes with a PSBT states, and what it may be made of.

    ``own`` are the wallet's scripts. ``rate_max`` is in satoshi a virtual byte.
    """

    paid: Output
    own: Collection[bytes]
    ceiling: int
    rate_max: int
    coins_max: int


def adopted(found: Foreign, terms: Terms, *, coins: Mapping[bytes, Coin], height: int) -> Spending:
    """What a PSBT asks for, from coins as our own node has them. Raises ``MalformedError``.

    ``coins`` are those of the wallet that are free for the request, as of the block at ``height``.
    """
    if found.lock_time > height:
        raise MalformedError(f"the PSBT is locked until {found.lock_time}: make it without a lock time")
    if len({one.outpoint for one in found.inputs}) < len(found.inputs):
        raise MalformedError("the PSBT spends a coin twice")
    if len(found.inputs) > terms.coins_max:
        raise MalformedError(
            f"the PSBT spends {len(found.inputs)} coins, at most {terms.coins_max} are signed at once: "
            "choose fewer"
        )
    chosen = []
    for at, one in enumerate(found.inputs):
        coin = coins.get(one.outpoint)
        if coin is None or not coin.amount:  # an output of nothing is one that nodes do not read
            raise MalformedError(
                f"input {at} of the PSBT, {outpoint_text(one.outpoint)}, is no coin of the wallet that "
                "is confirmed and free on this network: spend the wallet's own that no other request has"
            )
        if one.claimed not in (None, coin.output):
            raise MalformedError(
                f"input {at} of the PSBT claims another amount or script than {coin.text} has: make it anew"
            )
        chosen.append(coin)
    if terms.paid.script in terms.own and len(chosen) < 2:
        raise MalformedError("the PSBT pays the wallet itself with one coin: there is nothing to make one of")
    _check_outputs(found.outputs, terms)
    spending = Spending(tuple(chosen), found.outputs)
    _check_fee(spending, terms)
    return spending


def gathered(coins: Iterable[Coin], script: bytes, *, terms: Terms, rate: int) -> tuple[Spending, int]:
    """The smallest coins that are worth their fee into one output, and how many others are.

    ``rate`` is in satoshi a 1000 virtual bytes; of ``terms`` the payment is not looked at. Raises
    ``MalformedError`` when there is none to be had.
    """
    worth = [
        coin for coin in coins if coin.amount > _fee((coin, coin), script, rate) - _fee((coin,), script, rate)
    ]
    smallest = sorted(worth, key=lambda one: (one.amount, one.outpoint))[: terms.coins_max]
    chosen = tuple(reversed(smallest))  # the anchor is what can best pay for its own release
    fee = _fee(chosen, script, rate)
    amount = sum(coin.amount for coin in chosen) - fee
    if script in terms.own and len(chosen) < 2:
        raise MalformedError(
            f"{len(chosen)} of the wallet's coins are confirmed, free and worth their fee: it takes two, "
            "so wait for others"
        )
    if amount < dust(script):
        raise MalformedError(
            "no coins are confirmed, free and worth their fee: wait for more, or a lower fee"
        )
    if fee > terms.ceiling:
        raise MalformedError(
            f"it would cost {fee} satoshi, and {terms.ceiling} are allowed: ask for fewer coins"
        )
    return Spending(chosen, (Output(amount, script),)), len(worth) - len(chosen)


def outpoint_text(outpoint: bytes) -> str:
    """``txid:vout``, the txid in the order people read it."""
    return f"{outpoint[31::-1].hex()}:{int.from_bytes(outpoint[32:], 'little')}"


def _check_outputs(outputs: Sequence[Output], terms: Terms) -> None:
    """One output is the payment, another one is change at most. Change is the wallet's."""
    if len(outputs) > 2:
        raise MalformedError(
            f"the PSBT has {len(outputs)} outputs: make it with one to the destination, and at most one more "
            "with change to the wallet"
        )
    if terms.paid not in outputs:
        raise MalformedError(
            f"no output of the PSBT pays {terms.paid.amount} satoshi to the request's destination: correct "
            "one of the two"
        )
    rest = list(outputs)
    rest.remove(terms.paid)
    if rest and terms.paid.script in terms.own:
        raise MalformedError("a PSBT that pays the wallet itself has one output: make it without change")
    if any(one.script not in terms.own for one in rest):
        raise MalformedError("the PSBT's change goes to somebody else: let it go to an address of the wallet")
    for one in outputs:
        if one.amount < (least := dust(one.script)):
            raise MalformedError(f"{one.amount} satoshi are dust: no node relays an output below {least}")


def _check_fee(spending: Spending, terms: Terms) -> None:
    size = virtual_size(
        (one.output.script for one in spending.coins), (one.script for one in spending.outputs)
    )
    least, most = least_more(size), min(terms.ceiling, terms.rate_max * size)
    if not least <= spending.fee <= most:
        raise MalformedError(
            f"the PSBT's fee is {spending.fee} satoshi for {size} virtual bytes, not from {least} to {most}: "
            "change its fee, or the request's ceiling"
        )


def _fee(coins: Sequence[Coin], script: bytes, rate: int) -> int:
    size = virtual_size((one.output.script for one in coins), (script,))
    return max(-(-rate * size // 1000), least_more(size))
