"""What a wallet pays from: an address and the public key behind it, at each path of a key."""

import contextlib
import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from immutables import Map

from policy import bip32, schnorr
from policy.addresses import segwit_address, solana_address
from policy.errors import CallerError, MalformedError
from policy.ids import EVM, SOLANA, family
from policy.model import Policy
from policy.state import KeyRecord
from policy.suites import CHAIN_SUITES, DKLS23_SECP256K1

ACCOUNTS_CACHED = 4096
WITNESS_KEY_HASH_VERSION, TAPROOT_VERSION = 0, 1
NO_SCRIPTS = b""


@dataclass(frozen=True, slots=True)
class Account:
    """The key at a path: ``public_key`` is what signatures are verified under, by the key's suite.

    ``tweak`` and ``merkle_root`` lead to it from the group key, as in ``schnorr.SchnorrTask``.
    """

    path: str
    address: str
    public_key: bytes
    tweak: int
    merkle_root: bytes | None


def owned_accounts(policy: Policy, keys: Mapping[str, KeyRecord]) -> Map[tuple[str, str], str]:
    """Every account of the policy's wallets whose key there is, by chain and address, with its wallet.

    A path without an account is left out, as nothing is ever paid from it. Cost: all paths.
    """
    found: dict[tuple[str, str], str] = {}
    for wallet in policy.wallets.values():
        key = keys.get(wallet.key)
        for path in wallet.paths if key is not None else ():
            with contextlib.suppress(MalformedError, CallerError):
                found[wallet.chain, account_at(key, path, chain=wallet.chain).address] = wallet.name
    return Map(found)


@functools.lru_cache(maxsize=ACCOUNTS_CACHED)
def account_at(key: KeyRecord, path: str, *, chain: str) -> Account:
    """The account of a key on ``chain`` at ``path``; on Bitcoin a BIP 86 output without scripts, of a
    key of taproot's suite, and P2WPKH of an ECDSA key.

    Raises ``MalformedError`` for a path that has no key, ``CallerError`` for a suite that is not the chain's.
    """
    kind = family(chain)
    if key.suite not in CHAIN_SUITES[kind]:
        wanted = " or ".join(CHAIN_SUITES[kind])
        raise CallerError(f"key {key.key} is for {key.suite}, {chain} needs one of {wanted}")
    if kind == SOLANA:
        if path != "m":
            raise CallerError(f"key {key.key} is one account, at path 'm', not {path!r}")
        return Account(path, solana_address(key.group_key), key.group_key, 0, None)
    derived = bip32.derive(key.group_key, key.chain_code, path=bip32.parse_path(path))
    if kind == EVM:
        address = bip32.ethereum_address(derived.public_key)
        return Account(path, address, derived.public_key, derived.tweak, None)
    if key.suite == DKLS23_SECP256K1:
        program = hashlib.new("ripemd160", hashlib.sha256(derived.public_key).digest()).digest()
        address = segwit_address(chain, WITNESS_KEY_HASH_VERSION, program=program)
        return Account(path, address, derived.public_key, derived.tweak, None)
    output = schnorr.derived_public_key(key.suite, key.group_key, tweak=derived.tweak, merkle_root=NO_SCRIPTS)
    return Account(
        path, segwit_address(chain, TAPROOT_VERSION, program=output), output, derived.tweak, NO_SCRIPTS
    )
