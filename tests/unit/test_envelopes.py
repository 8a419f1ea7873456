"""Envelopes open for one key and one purpose, and for nothing else."""

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from policy.errors import CallerError, MalformedError
from signer_nodes.envelopes import (
    ENVELOPE_OVERHEAD_BYTES,
    EnvelopeError,
    import_info,
    open_envelope,
    seal_envelope,
)
from tests.protocols.lockstep import flip

KEY = X25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
INFO = import_info(b"s" * 32, "frost-ed25519-sha512", key_id="cold-1", node="node-a")


@given(st.binary(max_size=500))
def test_what_was_sealed_comes_out(plaintext: bytes) -> None:
    sealed = seal_envelope(PUBLIC, plaintext, info=INFO)

    assert open_envelope(KEY, sealed, info=INFO) == plaintext
    assert len(sealed) == len(plaintext) + ENVELOPE_OVERHEAD_BYTES


def test_the_same_content_is_never_sealed_alike() -> None:
    assert seal_envelope(PUBLIC, b"same", info=INFO) != seal_envelope(PUBLIC, b"same", info=INFO)


@pytest.mark.parametrize(
    "info",
    [
        import_info(b"t" * 32, "frost-ed25519-sha512", key_id="cold-1", node="node-a"),
        import_info(b"s" * 32, "dkls23-secp256k1", key_id="cold-1", node="node-a"),
        import_info(b"s" * 32, "frost-ed25519-sha512", key_id="cold-2", node="node-a"),
        import_info(b"s" * 32, "frost-ed25519-sha512", key_id="cold-1", node="node-b"),
    ],
    ids=["session", "suite", "key", "node"],
)
def test_an_envelope_opens_for_its_purpose_only(info: bytes) -> None:
    with pytest.raises(EnvelopeError, match="another purpose"):
        open_envelope(KEY, seal_envelope(PUBLIC, b"dealt", info=INFO), info=info)


def test_another_key_does_not_open_it() -> None:
    sealed = seal_envelope(PUBLIC, b"dealt", info=INFO)

    with pytest.raises(EnvelopeError, match="another key"):
        open_envelope(X25519PrivateKey.from_private_bytes(b"x" * 32), sealed, info=INFO)


def test_no_altered_or_shortened_envelope_opens() -> None:
    sealed = seal_envelope(PUBLIC, b"dealt", info=INFO)

    for position in range(len(sealed)):
        with pytest.raises(EnvelopeError):
            open_envelope(KEY, flip(sealed, position), info=INFO)
        with pytest.raises(EnvelopeError):
            open_envelope(KEY, sealed[:position], info=INFO)


@pytest.mark.parametrize("key", [bytes(31), bytes(32), b"\x01" + bytes(31), b""])
def test_what_is_no_public_key_is_refused(key: bytes) -> None:
    with pytest.raises(MalformedError, match="X25519 public key"):
        seal_envelope(key, b"dealt", info=INFO)


def test_a_session_has_32_bytes() -> None:
    with pytest.raises(CallerError, match="32 bytes"):
        import_info(b"s", "dkls23-secp256k1", key_id="cold-1", node="node-a")
