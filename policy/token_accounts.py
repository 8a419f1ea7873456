"""Where a wallet's tokens are on Solana: addresses that programs derive, which have no key.

A program derived address is SHA-256 of the seeds, a bump, the program and a tag, with the greatest bump whose
hash is no point of the curve, so that nobody has its key.
"""

from collections.abc import Sequence
from hashlib import sha256

from policy import base58
from policy.ed25519 import is_on_curve
from policy.errors import CallerError

TOKEN_PROGRAM = base58.decode("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_ACCOUNTS_PROGRAM = base58.decode("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
SEED_BYTES_MAX, SEEDS_MAX = 32, 15
_MARKER = b"ProgramDerivedAddress"


def program_address(seeds: Sequence[bytes], program: bytes) -> tuple[bytes, int]:
    """The address that ``program`` derives from up to 15 seeds of up to 32 bytes, and its bump."""
    if len(seeds) > SEEDS_MAX or any(len(seed) > SEED_BYTES_MAX for seed in seeds):
        raise CallerError(f"at most {SEEDS_MAX} seeds of {SEED_BYTES_MAX} bytes derive an address")
    start = sha256(b"".join(seeds))
    for bump in range(255, -1, -1):
        hashed = start.copy()
        hashed.update(bytes([bump]) + program + _MARKER)
        if not is_on_curve(hashed.digest()):
            return hashed.digest(), bump
    raise CallerError("no bump gives an address: 256 hashes in a row are points of the curve")


def token_account(owner: bytes, mint: bytes) -> bytes:
    """The associated token account: where ``owner`` keeps tokens of ``mint``, of the first Token program."""
    return program_address((owner, TOKEN_PROGRAM, mint), TOKEN_ACCOUNTS_PROGRAM)[0]
