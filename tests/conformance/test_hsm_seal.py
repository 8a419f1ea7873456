"""Sealing against a real token: what opens, what does not, and what is blamed for it."""

import dataclasses
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pkcs11 import Mechanism

from policy.errors import CallerError, OperationalError
from signer_nodes.hsm.context import SealContext
from signer_nodes.hsm.device import Pkcs11Hsm
from signer_nodes.hsm.envelope import open_blob, seal_blob
from signer_nodes.hsm.errors import HsmError, KeyMissingError, SealedBlobError
from signer_nodes.hsm.keys import SEAL, make_key
from signer_nodes.hsm.seal import WRAPPED_BYTES, SealProfile

if TYPE_CHECKING:
    from tests.fixtures_softhsm import SoftHsm

pytest_plugins = ("tests.fixtures_softhsm",)

FILE_KEY = bytes(range(32))
CONTEXT = SealContext(
    suite="ecdsa-secp256k1",
    key_id="ab" * 32,
    group_key=b"\x02" + bytes(32),
    node="node-1",
    min_signers=2,
    participants=3,
    epoch=4,
)
OTHER_CONTEXTS = {
    "suite": dataclasses.replace(CONTEXT, suite="frost-ed25519"),
    "key id": dataclasses.replace(CONTEXT, key_id="cd" * 32),
    "group key": dataclasses.replace(CONTEXT, group_key=b"\x03" + bytes(32)),
    "node": dataclasses.replace(CONTEXT, node="node-2"),
    "t": dataclasses.replace(CONTEXT, min_signers=3),
    "n": dataclasses.replace(CONTEXT, participants=4),
    "epoch": dataclasses.replace(CONTEXT, epoch=5),
}
in_one_token = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(params=list(SealProfile), ids=lambda profile: profile.name)
def sealing(request: pytest.FixtureRequest, hsm: Pkcs11Hsm) -> Pkcs11Hsm:
    """An HSM of each profile with sealing keys for the epochs that the tests confuse."""
    device = Pkcs11Hsm(hsm._token, request.param)
    for context in (CONTEXT, *OTHER_CONTEXTS.values()):
        device.create_sealing_key(context.key_id, context.epoch)
    return device


def test_what_was_sealed_is_unsealed(sealing: Pkcs11Hsm) -> None:
    wrapped = sealing.seal_file_key(CONTEXT, FILE_KEY)

    assert len(wrapped) == WRAPPED_BYTES
    assert FILE_KEY not in wrapped
    assert sealing.unseal_file_key(CONTEXT, wrapped) == FILE_KEY


def test_two_seals_of_one_file_key_differ(sealing: Pkcs11Hsm) -> None:
    assert sealing.seal_file_key(CONTEXT, FILE_KEY) != sealing.seal_file_key(CONTEXT, FILE_KEY)


@pytest.mark.parametrize("field", OTHER_CONTEXTS)
def test_a_blob_of_another_context_is_named_as_such(sealing: Pkcs11Hsm, field: str) -> None:
    wrapped = sealing.seal_file_key(CONTEXT, FILE_KEY)

    with pytest.raises(SealedBlobError, match="another context"):
        sealing.unseal_file_key(OTHER_CONTEXTS[field], wrapped)


@pytest.mark.parametrize("field", OTHER_CONTEXTS)
def test_the_context_is_authenticated_and_not_only_compared(sealing: Pkcs11Hsm, field: str) -> None:
    wrapped = sealing.seal_file_key(CONTEXT, FILE_KEY)
    other = OTHER_CONTEXTS[field]
    relabelled = wrapped[:2] + other.digest() + wrapped[18:]

    with pytest.raises(SealedBlobError, match="its sealing key works"):
        sealing.unseal_file_key(other, relabelled)


@in_one_token
@given(position=st.integers(0, WRAPPED_BYTES - 1), mask=st.integers(1, 255))
def test_no_altered_byte_is_accepted(sealing: Pkcs11Hsm, position: int, mask: int) -> None:
    wrapped = bytearray(sealing.seal_file_key(CONTEXT, FILE_KEY))
    wrapped[position] ^= mask

    with pytest.raises((SealedBlobError, KeyMissingError)):
        sealing.unseal_file_key(CONTEXT, bytes(wrapped))


@pytest.mark.parametrize("length", [0, 1, 17, WRAPPED_BYTES - 1, WRAPPED_BYTES + 1])
def test_a_blob_of_the_wrong_length_is_refused(sealing: Pkcs11Hsm, length: int) -> None:
    wrapped = (sealing.seal_file_key(CONTEXT, FILE_KEY) + b"\0")[:length]

    with pytest.raises(SealedBlobError, match=f"has {length} bytes"):
        sealing.unseal_file_key(CONTEXT, wrapped)


def test_a_blob_of_a_later_program_is_named_as_such(sealing: Pkcs11Hsm) -> None:
    wrapped = sealing.seal_file_key(CONTEXT, FILE_KEY)

    with pytest.raises(SealedBlobError, match="version 2, this program knows 1: start the newer program"):
        sealing.unseal_file_key(CONTEXT, b"\x02" + wrapped[1:])


def test_a_bad_blob_does_not_disturb_the_next_good_one(sealing: Pkcs11Hsm) -> None:
    wrapped = sealing.seal_file_key(CONTEXT, FILE_KEY)
    with pytest.raises(SealedBlobError):
        sealing.unseal_file_key(CONTEXT, wrapped[:-1] + bytes([wrapped[-1] ^ 1]))

    assert sealing.unseal_file_key(CONTEXT, wrapped) == FILE_KEY


def test_a_key_that_does_not_work_is_blamed_and_not_the_blob(hsm: Pkcs11Hsm) -> None:
    hsm.create_sealing_key(CONTEXT.key_id, CONTEXT.epoch)
    wrapped = hsm.seal_file_key(CONTEXT, FILE_KEY)
    hsm.destroy_sealing_key(CONTEXT.key_id, CONTEXT.epoch)
    broken = dataclasses.replace(SEAL, mechanisms=(Mechanism.AES_CBC,))
    label = f"seal/{CONTEXT.key_id}/{CONTEXT.epoch}"
    hsm._token.run("plant a key", lambda connection: make_key(connection, broken, label=label))

    with pytest.raises(HsmError, match=r"refused to unseal .*MechanismInvalid"):
        hsm.unseal_file_key(CONTEXT, wrapped)


def test_a_destroyed_epoch_opens_nothing_any_more(sealing: Pkcs11Hsm) -> None:
    wrapped = sealing.seal_file_key(CONTEXT, FILE_KEY)

    assert sealing.destroy_sealing_key(CONTEXT.key_id, CONTEXT.epoch)
    with pytest.raises(KeyMissingError, match=r"no sealing key for key abab.* epoch 4"):
        sealing.unseal_file_key(CONTEXT, wrapped)
    assert not sealing.destroy_sealing_key(CONTEXT.key_id, CONTEXT.epoch)


def test_an_epoch_made_again_does_not_open_what_the_destroyed_one_sealed(sealing: Pkcs11Hsm) -> None:
    wrapped = sealing.seal_file_key(CONTEXT, FILE_KEY)
    sealing.destroy_sealing_key(CONTEXT.key_id, CONTEXT.epoch)
    sealing.create_sealing_key(CONTEXT.key_id, CONTEXT.epoch)

    with pytest.raises(SealedBlobError):
        sealing.unseal_file_key(CONTEXT, wrapped)


def test_making_a_sealing_key_again_keeps_the_one_that_is_there(sealing: Pkcs11Hsm) -> None:
    wrapped = sealing.seal_file_key(CONTEXT, FILE_KEY)

    assert not sealing.create_sealing_key(CONTEXT.key_id, CONTEXT.epoch)
    assert sealing.unseal_file_key(CONTEXT, wrapped) == FILE_KEY


def test_sealing_epochs_lists_exactly_the_live_ones(sealing: Pkcs11Hsm) -> None:
    sealing.create_sealing_key(CONTEXT.key_id, 10)
    sealing.destroy_sealing_key(CONTEXT.key_id, 5)

    assert sealing.sealing_epochs(CONTEXT.key_id) == (4, 10)


def test_a_blob_is_replaced_whole_and_listed_once(hsm: Pkcs11Hsm) -> None:
    hsm.put_blob("k1/4", b"old")
    hsm.put_blob("k1/4", b"new")
    hsm.put_blob("k2/1", b"other")

    assert hsm.get_blob("k1/4") == b"new"
    assert hsm.list_blobs("k1/") == ("k1/4",)
    assert hsm.list_blobs("") == ("k1/4", "k2/1")


def test_a_destroyed_blob_is_gone(hsm: Pkcs11Hsm) -> None:
    hsm.put_blob("k1/4", b"old")

    assert hsm.destroy_blob("k1/4")
    assert hsm.get_blob("k1/4") is None
    assert not hsm.destroy_blob("k1/4")


def test_blobs_and_keys_outlive_the_session(softhsm: "SoftHsm") -> None:
    place = softhsm.token()
    first = place.open_hsm()
    first.make_identity_keys()
    first.create_sealing_key(CONTEXT.key_id, CONTEXT.epoch)
    first.put_blob("wrapped", first.seal_file_key(CONTEXT, FILE_KEY))
    identity = first.identity_public_key()
    first.close()
    second = place.open_hsm()

    assert second.unseal_file_key(CONTEXT, second.get_blob("wrapped") or b"") == FILE_KEY
    assert second.identity_public_key() == identity
    second.close()


@given(plaintext=st.binary(max_size=200), nonce=st.binary(min_size=12, max_size=12))
def test_an_envelope_opens_to_what_it_sealed(plaintext: bytes, nonce: bytes) -> None:
    blob = seal_blob(FILE_KEY, plaintext, context=CONTEXT, nonce=nonce)

    assert open_blob(FILE_KEY, blob, context=CONTEXT) == plaintext


@given(position=st.integers(0, 36), mask=st.integers(1, 255))
def test_no_altered_envelope_opens(position: int, mask: int) -> None:
    blob = bytearray(seal_blob(FILE_KEY, b"share", context=CONTEXT, nonce=bytes(12)))
    blob[position] ^= mask

    with pytest.raises(SealedBlobError):
        open_blob(FILE_KEY, bytes(blob), context=CONTEXT)


@pytest.mark.parametrize("field", OTHER_CONTEXTS)
def test_an_envelope_of_another_context_does_not_open(field: str) -> None:
    blob = seal_blob(FILE_KEY, b"share", context=CONTEXT, nonce=bytes(12))

    with pytest.raises(SealedBlobError):
        open_blob(FILE_KEY, blob, context=OTHER_CONTEXTS[field])


def test_an_envelope_under_another_file_key_does_not_open() -> None:
    blob = seal_blob(FILE_KEY, b"share", context=CONTEXT, nonce=bytes(12))

    with pytest.raises(SealedBlobError):
        open_blob(bytes(32), blob, context=CONTEXT)


def test_wrong_lengths_are_the_callers_fault() -> None:
    with pytest.raises(CallerError, match="12 bytes, got 11"):
        seal_blob(FILE_KEY, b"share", context=CONTEXT, nonce=bytes(11))
    with pytest.raises(CallerError, match="32 bytes, got 31"):
        seal_blob(FILE_KEY[1:], b"share", context=CONTEXT, nonce=bytes(12))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key_id", "a/b"),
        ("key_id", ""),
        ("epoch", -1),
        ("min_signers", 4),
        ("min_signers", 0),
        ("group_key", b"short"),
        ("node", "Node One"),
    ],
)
def test_a_context_out_of_range_is_refused(field: str, value: object) -> None:
    with pytest.raises(CallerError):
        dataclasses.replace(CONTEXT, **{field: value})  # type: ignore[arg-type]


def test_the_worker_opens_envelopes_without_pkcs11() -> None:
    code = (
        "import sys; import signer_nodes.hsm.envelope; "
        "print([name for name in sys.modules if 'pkcs11' in name or 'grpc' in name])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "[]"


def test_a_sealed_blob_error_is_operational() -> None:
    assert issubclass(SealedBlobError, OperationalError)
    assert not issubclass(SealedBlobError, KeyMissingError)
