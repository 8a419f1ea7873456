"""The signature schemes a key can be made for. A key serves one suite for ever: its name is in every hash.

Names follow RFC 9591 where it has one. A group key is encoded as the suite's curve encodes points:
33 bytes compressed on secp256k1, 32 bytes on Ed25519.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from policy.errors import CallerError
from policy.ids import BITCOIN, EVM, SOLANA

DKLS23_SECP256K1: Final = "dkls23-secp256k1"
FROST_SECP256K1: Final = "frost-secp256k1-sha256"
FROST_TAPROOT: Final = "frost-secp256k1-taproot"
FROST_ED25519: Final = "frost-ed25519-sha512"
SECP256K1: Final = "secp256k1"
ED25519: Final = "ed25519"


@dataclass(frozen=True, slots=True)
class Suite:
    """One scheme: what its keys look like, and what its signers need.

    ``derivable``: addresses come by BIP 32 public derivation; without it one key is one address.
    ``pairwise``: signers keep oblivious-transfer state toward each other, which a key's making includes.
    """

    name: str
    curve: str
    point_bytes: int
    derivable: bool
    pairwise: bool


SUITES: Final[Mapping[str, Suite]] = MappingProxyType(
    {
        suite.name: suite
        for suite in (
            Suite(DKLS23_SECP256K1, SECP256K1, 33, derivable=True, pairwise=True),
            Suite(FROST_SECP256K1, SECP256K1, 33, derivable=True, pairwise=False),
            Suite(FROST_TAPROOT, SECP256K1, 33, derivable=True, pairwise=False),
            Suite(FROST_ED25519, ED25519, 32, derivable=False, pairwise=False),
        )
    }
)

CHAIN_SUITES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {EVM: (DKLS23_SECP256K1,), SOLANA: (FROST_ED25519,), BITCOIN: (FROST_TAPROOT, DKLS23_SECP256K1)}
)
"""The suites whose keys a family of chains takes. On Bitcoin they say which outputs an account has."""


def suite_named(name: str) -> Suite:
    """The suite of that name. Raises ``CallerError`` naming those there are."""
    suite = SUITES.get(name)
    if suite is None:
        raise CallerError(f"unknown ciphersuite {name[:64]!r}: use one of {', '.join(SUITES)}")
    return suite
