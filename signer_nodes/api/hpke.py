"""Sealing bytes to the holder of an X25519 key. HPKE (RFC 9180), base mode, single shot.

DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305, as ``cryptography`` has them. It draws the
ephemeral key itself, so this is no part of the pure protocols. Base mode authenticates no sender: whoever
opens checks what is in it, or a signature around it. ``info`` binds it to its purpose.
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from policy.encoding import Json, statement
from policy.errors import MalformedError, ProtocolError

KEY_BYTES: Final = 32
ENVELOPE_OVERHEAD_BYTES: Final = 48  # the ephemeral key and the tag
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


class EnvelopeError(ProtocolError):
    """An envelope does not open. Proves only that it, its purpose or the key differ from those at sealing."""


def seal_envelope(public_key: bytes, plaintext: bytes, *, info: bytes) -> bytes:
    """Seal to a 32-byte X25519 public key; 48 bytes longer than the plaintext, another each time.

    Raises ``MalformedError`` for a key that is none.
    """
    if len(public_key) != KEY_BYTES:
        raise MalformedError(f"an X25519 public key has {KEY_BYTES} bytes, got {len(public_key)}")
    try:
        return _SUITE.encrypt(plaintext, X25519PublicKey.from_public_bytes(public_key), info=info)
    except ValueError as error:
        raise MalformedError("a point of low order is no X25519 public key: ask for another card") from error


def open_envelope(private_key: X25519PrivateKey, sealed: bytes, *, info: bytes) -> bytes:
    """What was sealed to this key for exactly this purpose. Raises ``EnvelopeError``."""
    try:
        return _SUITE.decrypt(sealed, private_key, info=info)
    except (InvalidTag, ValueError) as error:
        raise EnvelopeError(
            f"an envelope of {len(sealed)} bytes does not open: it was sealed to another key, for another "
            "purpose, or altered since"
        ) from error


def envelope_info(kind: str, body: Json) -> bytes:
    """The ``info`` of an envelope of this kind; ``body`` says everything it is bound to."""
    return statement(f"{kind}-envelope", body)
