"""Addresses in their one canonical form, chain by chain.

EVM: ``0x`` and 40 lower-case hex digits. Solana: base58 of 32 bytes. Bitcoin: P2WPKH, P2WSH or P2TR in
lower case with the network's prefix. A conflict slot names an account (EVM), a nonce account (Solana) or
an outpoint ``txid:vout`` (Bitcoin).
"""

import re

from policy import base58, bech32
from policy.errors import MalformedError
from policy.ids import BITCOIN, EVM, SOLANA, family

SOLANA_KEY_BYTES = 32
PREFIXES = {
    "bitcoin:mainnet": "bc",
    "bitcoin:testnet": "tb",
    "bitcoin:signet": "tb",
    "bitcoin:regtest": "bcrt",
}
EXPECTED = {
    EVM: "'0x' and 40 lower-case hex digits",
    SOLANA: "base58 of 32 bytes",
    BITCOIN: "a lower-case segwit address of the network",
}
EVM_ADDRESS = re.compile(r"0x[0-9a-f]{40}")
_OUTPOINT = re.compile(r"[0-9a-f]{64}:(0|[1-9][0-9]{0,9})")


def is_address(chain: str, text: str) -> bool:
    """Whether ``text`` is the canonical form of an address of ``chain``."""
    if family(chain) == EVM:
        return EVM_ADDRESS.fullmatch(text) is not None
    if family(chain) == SOLANA:
        return _is_solana(text)
    return _is_bitcoin(PREFIXES[chain], text)


def is_address_somewhere(text: str) -> bool:
    """Whether ``text`` is an address of some chain; no text is one of two families."""
    if EVM_ADDRESS.fullmatch(text) or _is_solana(text):
        return True
    return any(_is_bitcoin(prefix, text) for prefix in PREFIXES.values())


def is_slot_account(chain: str, text: str) -> bool:
    """Whether ``text`` can be the account of a conflict slot."""
    if family(chain) != BITCOIN:
        return is_address(chain, text)
    match = _OUTPOINT.fullmatch(text)
    return match is not None and int(match[1]) < 2**32


def solana_address(public_key: bytes) -> str:
    """The account of a 32-byte Ed25519 key."""
    return base58.encode(public_key)


def segwit_address(chain: str, version: int, *, program: bytes) -> str:
    """The address of a witness program on a Bitcoin network."""
    return bech32.encode(PREFIXES[chain], version, program=program)


def _is_solana(text: str) -> bool:
    try:
        return len(base58.decode(text)) == SOLANA_KEY_BYTES
    except MalformedError:
        return False


def _is_bitcoin(prefix: str, text: str) -> bool:
    try:
        bech32.decode(prefix, text)
    except MalformedError:
        return False
    return True
