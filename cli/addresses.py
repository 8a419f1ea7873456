"""Addresses as people write and read them: an EVM one with its EIP-55 capitals, others as they are."""

from policy.addresses import EXPECTED, is_address
from policy.bip32 import parse_address
from policy.errors import MalformedError
from policy.ids import EVM, family


def read_address(chain: str, text: str) -> str:
    """The canonical form of an address of ``chain``. Raises ``MalformedError`` for any other text."""
    if family(chain) == EVM:
        return parse_address(text)
    if not is_address(chain, text):
        raise MalformedError(f"{text[:90]!r} is no address of {chain}: it is {EXPECTED[family(chain)]}")
    return text
