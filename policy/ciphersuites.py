"""FROST's three ciphersuites as data: one group, five hashes, and what a signature looks like.

``frost-secp256k1-sha256`` is RFC 9591 section 6.5 and ``frost-ed25519-sha512`` its section 6.1, byte for
byte. ``frost-secp256k1-taproot`` makes BIP 340 signatures: H2 is BIP 340's challenge, points in the
signature and in the challenge are x coordinates, and the other hashes are those of section 6.5 under the
context string that ZcashFoundation's frost-secp256k1-tr uses too. Everything here is public; H3 alone
hashes secrets.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from coincurve import PublicKeyXOnly
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from policy.errors import CallerError, MalformedError
from policy.groups import SCALAR_BYTES, PublicGroup, public_group
from policy.secp256k1 import PointAtInfinity, Q
from policy.suites import FROST_ED25519, FROST_SECP256K1, FROST_TAPROOT, suite_named

X_BYTES: Final = 32
_BLOCK_BYTES: Final = 64  # of SHA-256
_FIELD_BYTES: Final = 48  # L of RFC 9380: 256 bits of the order and 128 against bias


@dataclass(frozen=True, slots=True)
class Ciphersuite:
    """One instance of FROST. ``h1`` to ``h5`` are RFC 9591's.

    They make binding factor, challenge and nonce, and shorten message and commitment list. ``x_only``: the
    key and the group's nonce are taken with even y, and encoded by their x coordinate alone.
    """

    name: str
    group: PublicGroup
    x_only: bool
    h1: Callable[[bytes], int]
    h2: Callable[[bytes], int]
    h3: Callable[[bytes], int]
    h4: Callable[[bytes], bytes]
    h5: Callable[[bytes], bytes]

    def normalise(self, point: bytes) -> tuple[bytes, int]:
        """``sign·point`` and ``sign``, 1 or -1, so that y is even where the suite wants it so."""
        if self.x_only and point[0] == 3:
            return b"\x02" + point[1:], -1
        return point, 1

    def encode(self, point: bytes) -> bytes:
        """A normalised point as it stands in challenge, public key and signature."""
        return point[1:] if self.x_only else point

    def challenge(self, nonce: bytes, message: bytes, *, public_key: bytes) -> int:
        """c, from the encoded R and public key (RFC 9591 section 4.6, BIP 340)."""
        return self.h2(nonce + public_key + message)

    def signature(self, nonce: bytes, z: int) -> bytes:
        """A normalised R and z: 65 bytes by RFC 9591 on secp256k1, 64 elsewhere."""
        return self.encode(nonce) + self.group.scalar_bytes(z)


def ciphersuite(name: str) -> Ciphersuite:
    """The ciphersuite of that name. Raises ``CallerError`` for any that is not one of FROST's."""
    suite = _CIPHERSUITES.get(suite_named(name).name)
    if suite is None:
        raise CallerError(f"suite {name} is not one of FROST's: use one of {', '.join(_CIPHERSUITES)}")
    return suite


def verify(suite: str, signature: bytes, *, message: bytes, public_key: bytes) -> bool:
    """Whether ``signature`` is the suite's signature of ``message`` under ``public_key``.

    The key is the compressed point, for taproot its x coordinate. Ed25519 is verified without the cofactor,
    and strictly: no scalar of L or above, no point outside the prime-order group. Wrong lengths are false
    too.
    """
    return _VERIFIERS[ciphersuite(suite).name](signature, message, public_key)


def tagged(tag: str, data: bytes) -> bytes:
    """BIP 340's tagged hash."""
    prefix = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(prefix + prefix + data).digest()


def _verify_secp256k1(signature: bytes, message: bytes, public_key: bytes) -> bool:
    """z·G = R + c·P, as RFC 9591 section 4.7 has it; libsecp256k1 has no such signature of its own."""
    suite = _CIPHERSUITES[FROST_SECP256K1]
    group, length = suite.group, suite.group.point_bytes
    try:
        nonce, key = group.point_of(signature[:length]), group.point_of(public_key)
        z = group.scalar_of(signature[length:], nonzero=True)
        challenge = suite.challenge(nonce, message, public_key=key)
        return group.base_mul(z) == group.add([nonce, group.mul_public(key, challenge)])
    except (MalformedError, PointAtInfinity):
        return False


def _verify_bip340(signature: bytes, message: bytes, public_key: bytes) -> bool:
    if len(signature) != X_BYTES + SCALAR_BYTES or len(public_key) != X_BYTES:
        return False
    try:
        return PublicKeyXOnly(public_key).verify(signature, message)
    except ValueError:
        return False


def _verify_ed25519(signature: bytes, message: bytes, public_key: bytes) -> bool:
    """libsodium refuses small orders and scalars of L or above; ``point_of`` also mixed orders of the key.

    R then is in the prime-order group too, because it equals z·B − c·A byte for byte.
    """
    group = _CIPHERSUITES[FROST_ED25519].group
    if len(signature) != group.point_bytes + SCALAR_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, group.point_of(public_key))
    except (MalformedError, BadSignatureError):
        return False
    return True


def _hash_to_field(tag: bytes, data: bytes) -> int:
    """hash_to_field with expand_message_xmd and SHA-256 (RFC 9380 sections 5.2, 5.3.1), one element."""
    tag += bytes([len(tag)])
    first = hashlib.sha256(
        bytes(_BLOCK_BYTES) + data + _FIELD_BYTES.to_bytes(2, "big") + b"\0" + tag
    ).digest()
    one = hashlib.sha256(first + b"\x01" + tag).digest()
    mixed = bytes(a ^ b for a, b in zip(first, one, strict=True))
    two = hashlib.sha256(mixed + b"\x02" + tag).digest()
    return int.from_bytes((one + two)[:_FIELD_BYTES], "big") % Q


def _on_secp256k1(
    name: str, context: bytes, *, challenge: Callable[[bytes], int], x_only: bool
) -> Ciphersuite:
    return Ciphersuite(
        name=name,
        group=public_group(name),
        x_only=x_only,
        h1=lambda data: _hash_to_field(context + b"rho", data),
        h2=challenge,
        h3=lambda data: _hash_to_field(context + b"nonce", data),
        h4=lambda data: hashlib.sha256(context + b"msg" + data).digest(),
        h5=lambda data: hashlib.sha256(context + b"com" + data).digest(),
    )


def _on_ed25519(name: str, context: bytes) -> Ciphersuite:
    group = public_group(name)

    def scalar(data: bytes) -> int:
        return int.from_bytes(hashlib.sha512(data).digest(), "little") % group.order

    return Ciphersuite(
        name=name,
        group=group,
        x_only=False,
        h1=lambda data: scalar(context + b"rho" + data),
        h2=scalar,  # no context: it is the challenge of RFC 8032
        h3=lambda data: scalar(context + b"nonce" + data),
        h4=lambda data: hashlib.sha512(context + b"msg" + data).digest(),
        h5=lambda data: hashlib.sha512(context + b"com" + data).digest(),
    )


_SECP256K1_CONTEXT: Final = b"FROST-secp256k1-SHA256-v1"
_CIPHERSUITES: Final[Mapping[str, Ciphersuite]] = {
    FROST_SECP256K1: _on_secp256k1(
        FROST_SECP256K1,
        _SECP256K1_CONTEXT,
        challenge=lambda data: _hash_to_field(_SECP256K1_CONTEXT + b"chal", data),
        x_only=False,
    ),
    FROST_TAPROOT: _on_secp256k1(
        FROST_TAPROOT,
        b"FROST-secp256k1-SHA256-TR-v1",
        challenge=lambda data: int.from_bytes(tagged("BIP0340/challenge", data), "big") % Q,
        x_only=True,
    ),
    FROST_ED25519: _on_ed25519(FROST_ED25519, b"FROST-ED25519-SHA512-v1"),
}
_VERIFIERS: Final[Mapping[str, Callable[[bytes, bytes, bytes], bool]]] = {
    FROST_SECP256K1: _verify_secp256k1,
    FROST_TAPROOT: _verify_bip340,
    FROST_ED25519: _verify_ed25519,
}
