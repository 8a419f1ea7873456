"""What every chain's decoder takes and gives: unsigned bytes and who signs, to what they do or why not.

A decoder is a module with ``decode`` (a payment) and ``decode_cancel``. Both are total: any bytes give an
answer. Both check that the source signs, and nobody else does: one message for each account of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from msgspec import Struct

from policy.accounts import Account
from policy.approval import Slot


class Source(Struct, frozen=True):
    """Who pays, by the log: the account behind each signature, and which addresses the wallet owns."""

    chain: str
    accounts: tuple[Account, ...]
    owns: Callable[[str], bool]


class Transfer(Struct, frozen=True, gc=False):
    """What an unsigned transaction does.

    ``contract`` is the token's, None for the native asset; ``recipient`` is who gets ``amount``;
    ``fee_max`` is the most the network can charge; ``messages`` are what the accounts sign, in their
    order, computed from these bytes and never received. ``decimals`` are the token's, where the chain takes
    only the right ones.
    """

    anchor: Slot
    contract: str | None
    recipient: str
    amount: int
    fee_max: int
    messages: tuple[bytes, ...]
    decimals: int | None = None


class Call(Struct, frozen=True, gc=False):
    """A call of ``contract`` with ``data``, which is sent ``value`` of the native asset."""

    anchor: Slot
    contract: str
    value: int
    data: bytes
    fee_max: int
    messages: tuple[bytes, ...]


class Typed(Struct, frozen=True, gc=False):
    """A document of typed data: its signature is what was asked for, and no transaction follows."""

    anchor: Slot
    document: bytes
    fee_max: int
    messages: tuple[bytes, ...]


class Cancel(Struct, frozen=True, gc=False):
    """A transaction that uses up ``anchor`` and pays nobody else than the wallet itself."""

    anchor: Slot
    fee_max: int
    messages: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Why the bytes are not signed."""

    reason: str


Decoded: TypeAlias = Transfer | Call | Typed | Cancel | Undecodable


class Decoder(Protocol):
    """One family of chains."""

    def decode(self, tx: bytes, source: Source) -> Transfer | Undecodable:
        """Say what the unsigned transaction ``tx`` transfers, or why it is not a transfer we sign."""

    def decode_cancel(self, tx: bytes, source: Source) -> Cancel | Undecodable:
        """Say which anchor the unsigned transaction ``tx`` uses up without moving anything."""


class Refusal(Exception):
    """Leaves a decoder's own checks with a reason; never leaves the decoder."""


def require(condition: bool, reason: str) -> None:
    """Refuse the bytes unless the condition holds."""
    if not condition:
        raise Refusal(reason)
