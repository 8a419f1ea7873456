"""Whether an Ed25519 signature is its key's, said twice as fast as OpenSSL says it and never otherwise.

libsodium is asked first: it takes half the time, and refuses a little more than OpenSSL does (an R or a key
of small order). What it refuses OpenSSL decides, so what is accepted is what OpenSSL accepts. One that
verifies with the cofactor would accept more: it is not asked. See
docs/adr/0063-ed25519-is-verified-by-libsodium-first.md.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl import bindings
from nacl.exceptions import BadSignatureError

KEY_BYTES = 32
SIGNATURE_BYTES = 64
COFACTORED = tuple(
    map(
        bytes.fromhex,
        (
            "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
            "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed512"
            "5ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
            "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        ),
    )
)
"""Key, signature and message that hold with the cofactor alone: case 4 of ed25519-speccheck."""


def is_signature(signature: bytes, message: bytes, *, key: bytes) -> bool:
    """Whether ``signature`` is that of ``key`` over ``message``; a key that is none has no signatures."""
    if len(signature) != SIGNATURE_BYTES or len(key) != KEY_BYTES:
        return False
    asked = _SODIUM_IS_STRICT and _sodium_says(signature, message, key=key)
    return asked or _openssl_says(signature, message, key=key)


def _sodium_says(signature: bytes, message: bytes, *, key: bytes) -> bool:
    try:
        bindings.crypto_sign_open(signature + message, key)
    except BadSignatureError:
        return False
    return True


def _openssl_says(signature: bytes, message: bytes, *, key: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


_SODIUM_IS_STRICT = not _sodium_says(COFACTORED[1], COFACTORED[2], key=COFACTORED[0])
