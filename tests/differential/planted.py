"""Decoders with one flaw each, to see that the comparison finds flaws.

Each reads as ours does, but for one mistake: it changes the bytes before our decoder sees them, as somebody
does who does not look at a part of them, or reads one field out of another.
"""

from collections.abc import Callable
from typing import Any

import rlp

from policy.decode import bitcoin, evm
from policy.decode.decoded import Decoder, Transfer
from policy.decode.psbt import parse_psbt, signature_hash
from policy.intent import ERC20_TRANSFER
from policy.keccak import keccak256
from policy.values import replace
from tests.differential.flawed import Flawed
from tests.differential.planted_solana import SOLANA_FLAWS

Items = list[Any]


def _items(change: Callable[[Items], Items]) -> Callable[[bytes], bytes]:
    """A change of the fields of EIP-1559 transactions."""

    def changed(tx: bytes) -> bytes:
        try:
            items = rlp.decode(tx[1:])
        except (rlp.RLPException, RecursionError):
            return tx
        fits = tx[:1] == b"\2" and isinstance(items, list) and len(items) >= 9 and isinstance(items[7], bytes)
        return b"\2" + bytes(rlp.encode(change(items))) if fits else tx

    return changed


def _hashed(tx: bytes, found: Transfer) -> Transfer:
    """The hash of the bytes as they came: what a decoder signs that looks past a part of them."""
    return replace(found, messages=(keccak256(tx),))


def _changed_bitcoin(tx: bytes, found: Transfer) -> Transfer:
    """The change taken for the payment, where there is one."""
    outputs = parse_psbt(tx).outputs
    return replace(found, amount=outputs[-1].amount)


def _first_message(tx: bytes, found: Transfer) -> Transfer:
    """Every input signs what the first one signs."""
    parsed = parse_psbt(tx)
    return replace(found, messages=tuple(signature_hash(parsed, 0) for _ in parsed.inputs))


def _reversed_outpoint(tx: bytes, found: Transfer) -> Transfer:
    """The txid in the order of the wire."""
    txid, _, place = found.anchor.account.partition(":")
    name = f"{bytes.fromhex(txid)[::-1].hex()}:{place}"
    return replace(found, anchor=replace(found.anchor, account=name))


FLAWS: dict[str, tuple[str, Decoder]] = {
    **{name: ("solana", flawed) for name, flawed in SOLANA_FLAWS.items()},
    "the access list is not looked at": (
        "evm",
        Flawed(evm, _items(lambda items: [*items[:8], [], *items[9:]]), _hashed),
    ),
    "fields after the last are not looked at": ("evm", Flawed(evm, _items(lambda items: items[:9]), _hashed)),
    "the padding of the recipient is not looked at": (
        "evm",
        Flawed(
            evm,
            _items(lambda items: [*items[:7], items[7][:4] + bytes(12) + items[7][16:], *items[8:]]),
            _hashed,
        ),
    ),
    "a token's transfer may carry value": (
        "evm",
        Flawed(evm, _items(lambda items: [*items[:6], b"" if items[7] else items[6], *items[7:]]), _hashed),
    ),
    "any method is a transfer": (
        "evm",
        Flawed(
            evm,
            _items(lambda items: [*items[:7], items[7] and ERC20_TRANSFER + items[7][4:], *items[8:]]),
            _hashed,
        ),
    ),
    "the amount is cut to 64 bits": (
        "evm",
        Flawed(evm, after=lambda tx, found: replace(found, amount=found.amount % 2**64)),
    ),
    "the token is taken for the recipient": (
        "evm",
        Flawed(evm, after=lambda tx, found: replace(found, recipient=found.contract or found.recipient)),
    ),
    "the fee is for one gas": (
        "evm",
        Flawed(evm, after=lambda tx, found: replace(found, fee_max=found.fee_max // 21_000)),
    ),
    "the last output is the payment": ("bitcoin", Flawed(bitcoin, after=_changed_bitcoin)),
    "all inputs sign the first one's message": ("bitcoin", Flawed(bitcoin, after=_first_message)),
    "the outpoint stands the wrong way round": ("bitcoin", Flawed(bitcoin, after=_reversed_outpoint)),
}
UNFLAWED = Flawed(evm, _items(lambda items: items), _hashed)
