"""Two libraries verify Ed25519, and what they accept together is what OpenSSL accepts alone."""

import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings
from nacl.exceptions import BadSignatureError

from policy.eddsa import COFACTORED, is_signature

VECTORS = Path(__file__).parents[1] / "vectors"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x01")
PUBLIC = KEY.public_key().public_bytes_raw()
ONE, BASE = b"\x01" + bytes(31), b"\x58" + b"\x66" * 31

Case = tuple[bytes, bytes, bytes]


def published() -> list[Case]:
    """Keys, signatures and messages at the borders of what is valid."""
    strict = json.loads((VECTORS / "ed25519_strict.json").read_text())["cases"]
    others = json.loads((VECTORS / "ed25519_wycheproof.json").read_text())["vectors"]
    rows = [(case["pub_key"], case["signature"], case["message"]) for case in strict]
    rows += [(case["public_key"], case["signature"], case["message"]) for case in others]
    return [tuple(map(bytes.fromhex, row)) for row in rows]  # type: ignore[misc]


def openssl(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def test_what_is_accepted_at_the_borders_is_what_openssl_accepts() -> None:
    cases = [*published(), (ONE, BASE + ONE, b"under the neutral key")]
    wanted = [openssl(*case) for case in cases]

    assert [is_signature(signature, message, key=key) for key, signature, message in cases] == wanted
    assert any(wanted) and not all(wanted)


def test_what_holds_with_the_cofactor_alone_is_no_signature() -> None:
    """A library that takes it is not asked: by this case a process finds out which one it has."""
    key, signature, message = COFACTORED

    assert COFACTORED in published()
    assert not is_signature(signature, message, key=key)
    with pytest.raises(BadSignatureError):
        bindings.crypto_sign_open(signature + message, key)


def test_what_libsodium_alone_refuses_is_accepted() -> None:
    """A key of small order is the signer's own folly; the rule of the log does not change with a library."""
    with pytest.raises(BadSignatureError):
        bindings.crypto_sign_open(BASE + ONE + b"message", ONE)

    assert is_signature(BASE + ONE, b"message", key=ONE)


@given(st.integers(0, 64 * 8 - 1), st.binary(max_size=99))
def test_one_altered_bit_is_no_signature(place: int, message: bytes) -> None:
    signature = bytearray(KEY.sign(message))
    assert is_signature(bytes(signature), message, key=PUBLIC)
    signature[place // 8] ^= 1 << place % 8

    assert not is_signature(bytes(signature), message, key=PUBLIC)
    assert not is_signature(KEY.sign(message), message + b"\x00", key=PUBLIC)


@pytest.mark.parametrize(("key", "signature"), [(PUBLIC[:31], bytes(64)), (PUBLIC, bytes(63)), (b"", b"")])
def test_other_lengths_are_no_signature(key: bytes, signature: bytes) -> None:
    assert not is_signature(signature, b"", key=key)
