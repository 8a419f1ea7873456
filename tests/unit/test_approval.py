"""An approval is one operator's passkey over exactly what the transaction does."""

import base64
import hashlib
import json
from pathlib import Path
from typing import cast

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from webauthn import verify_authentication_response
from webauthn.helpers.exceptions import InvalidAuthenticationResponse

from cli.authenticator import SoftwareAuthenticator
from policy.approval import (
    Approval,
    Assertion,
    Credential,
    Slot,
    approval_digest,
    parse_approval,
    parse_assertion,
    verify_assertion,
)
from policy.encoding import Json
from policy.errors import CallerError, InvalidSignatureError, MalformedError, OperationalError, ProtocolError
from policy.intent import Intent
from policy.values import replace

RP_ID, ORIGIN = "custody.example.com", "https://custody.example.com"
ALICE = SoftwareAuthenticator.create(RP_ID, ORIGIN, randomness=bytes(range(48)))
INTENT = Intent("evm:31337", "hot", "eth", 10**18, "0x" + "11" * 20)
APPROVAL = Approval(
    origin="example.com/log",
    request=b"\x01" * 32,
    intent=INTENT,
    calldata_hash=INTENT.calldata_hash(native=True),
    fee_ceiling=10**15,
    slot=Slot("evm:31337", "0x" + "33" * 20, 7),
    policy=b"\x02" * 32,
    expires_ms=2_000,
    approval_id=b"\x03" * 32,
    operator="alice",
)
CHALLENGE = approval_digest(APPROVAL.body())
PARTS = ("authenticator_data", "client_data", "signature")
SECRET = ec.derive_private_key(12345, ec.SECP256R1())
POINT = ALICE.credential().public_key


def paths_of(value: Json, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return [path]
    return [found for name, item in value.items() for found in paths_of(item, (*path, name))]


def changed_at(path: tuple[str, ...], value: Json) -> Json:
    body = json.loads(json.dumps(APPROVAL.body()))
    inner = body
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return cast("Json", body)


def forged(authenticator_data: bytes, client_data: bytes) -> tuple[Assertion, Credential]:
    """An assertion correctly signed by a passkey whose formats are whatever the test wants."""
    message = authenticator_data + hashlib.sha256(client_data).digest()
    numbers = SECRET.public_key().public_numbers()
    point = b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    signature = SECRET.sign(message, ec.ECDSA(hashes.SHA256()))
    return Assertion(authenticator_data, client_data, signature), Credential(b"id", point, RP_ID, (ORIGIN,))


def client_data(**changed: object) -> bytes:
    fields: dict[str, object] = {"type": "webauthn.get", "challenge": b64(CHALLENGE), "origin": ORIGIN}
    return json.dumps({**fields, **changed}).encode()


def authenticator_data(flags: int = 0x05, tail: bytes = b"", rp_id: str = RP_ID) -> bytes:
    return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + (9).to_bytes(4, "big") + tail


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def accepted_by_the_webauthn_package(assertion: Assertion, credential: Credential) -> bool:
    point = credential.public_key
    cose = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: point[1:33], -3: point[33:]})
    response = {
        "authenticatorData": b64(assertion.authenticator_data),
        "clientDataJSON": b64(assertion.client_data),
        "signature": b64(assertion.signature),
    }
    identity = b64(credential.id)
    try:
        verify_authentication_response(
            credential={"id": identity, "rawId": identity, "type": "public-key", "response": response},
            expected_challenge=CHALLENGE,
            expected_rp_id=credential.rp_id,
            expected_origin=list(credential.origins),
            credential_public_key=cose,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except InvalidAuthenticationResponse:
        return False
    return True


def test_an_approval_is_read_back_as_it_was_written() -> None:
    assert parse_approval(APPROVAL.body()) == APPROVAL


@pytest.mark.parametrize("path", paths_of(APPROVAL.body()))
def test_every_field_of_an_approval_is_required_and_under_the_digest(path: tuple[str, ...]) -> None:
    body = changed_at(path, [])

    assert approval_digest(body) != CHALLENGE
    with pytest.raises(MalformedError, match=path[-1]):
        parse_approval(body)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("memo",), "x", "memo"),
        (("intent", "memo"), "x", "intent: unknown field 'memo'"),
        (("slot", "memo"), "x", "slot: unknown field 'memo'"),
        (("slot", "chain"), "evm:1", "slot is on evm:1"),
        (("request",), "ab", "exactly 32 bytes"),
        (("intent", "amount"), "0", "amount"),
    ],
)
def test_an_approval_out_of_bounds_is_refused(path: tuple[str, ...], value: Json, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        parse_approval(changed_at(path, value))


SOLANA, BITCOIN = "solana:localnet", "bitcoin:regtest"
OUTPOINT = "ab" * 32 + ":1"
KEY_TEXT = "1" * 32


@pytest.mark.parametrize(
    ("slot", "destination"),
    [
        (Slot("evm:1", "0x" + "33" * 20, 2**64 - 1), "0x" + "11" * 20),
        (Slot(SOLANA, KEY_TEXT, 2**256 - 1), KEY_TEXT),
        (Slot(BITCOIN, OUTPOINT, 0), "bcrt1q5aqjmfmvfqqhz048gn2ypdhgwxammx4wnvedvq"),
    ],
)
def test_a_slot_is_an_anchor_of_any_chain(slot: Slot, destination: str) -> None:
    intent = replace(INTENT, chain=slot.chain, destination=destination)
    approval = replace(APPROVAL, intent=intent, slot=slot)

    assert parse_approval(approval.body()) == approval


@pytest.mark.parametrize(
    ("slot", "reason"),
    [
        (Slot("evm:1", "0x" + "33" * 20, 2**64), "nonce"),
        (Slot("evm:1", OUTPOINT, 0), "no account of a slot"),
        (Slot(SOLANA, "0x" + "33" * 20, 0), "no account of a slot"),
        (Slot(BITCOIN, OUTPOINT, 1), "nonce 1 is above 0"),
        (Slot(BITCOIN, "ab" * 32, 0), "no account of a slot"),
    ],
)
def test_a_slot_that_is_no_anchor_is_refused(slot: Slot, reason: str) -> None:
    destination = {"evm:1": "0x" + "11" * 20, SOLANA: KEY_TEXT}.get(
        slot.chain, "bcrt1q5aqjmfmvfqqhz048gn2ypdhgwxammx4wnvedvq"
    )
    intent = replace(INTENT, chain=slot.chain, destination=destination)

    with pytest.raises(MalformedError, match=reason):
        parse_approval(replace(APPROVAL, intent=intent, slot=slot).body())


def test_the_passkeys_assertion_over_the_digest_verifies() -> None:
    assertion = ALICE.assert_(CHALLENGE)

    assert verify_assertion(assertion, credential=ALICE.credential(), challenge=CHALLENGE) == 0
    assert parse_assertion(assertion.body()) == assertion
    assert accepted_by_the_webauthn_package(assertion, ALICE.credential())


@pytest.mark.parametrize("path", paths_of(APPROVAL.body()))
def test_an_assertion_approves_no_other_document(path: tuple[str, ...]) -> None:
    other = approval_digest(changed_at(path, "something else"))

    with pytest.raises(InvalidSignatureError, match="approves something else"):
        verify_assertion(ALICE.assert_(CHALLENGE), credential=ALICE.credential(), challenge=other)


def test_another_operators_passkey_does_not_verify() -> None:
    mallory = SoftwareAuthenticator.create(RP_ID, ORIGIN, randomness=bytes(48))

    with pytest.raises(InvalidSignatureError, match="passkey"):
        verify_assertion(mallory.assert_(CHALLENGE), credential=ALICE.credential(), challenge=CHALLENGE)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PARTS), st.integers(0), st.integers(1, 255))
def test_an_assertion_with_a_changed_byte_is_refused(part: str, place: int, mask: int) -> None:
    parts = {name: bytearray(getattr(ALICE.assert_(CHALLENGE), name)) for name in PARTS}
    parts[part][place % len(parts[part])] ^= mask
    assertion = Assertion(**{name: bytes(data) for name, data in parts.items()})

    with pytest.raises(ProtocolError):
        verify_assertion(assertion, credential=ALICE.credential(), challenge=CHALLENGE)


ACCEPTED = [
    (authenticator_data(), client_data()),
    (authenticator_data(), client_data(crossOrigin=False)),
    (authenticator_data(), client_data(other_keys_can_be_added_here="see https://example.com")),
    (authenticator_data(0x05 | 0x18), client_data()),
    (authenticator_data(0x05 | 0x80, cbor2.dumps({"uvm": [[2, 4, 2]]})), client_data()),
]


@pytest.mark.parametrize(("authenticator", "client"), ACCEPTED)
def test_what_real_authenticators_and_browsers_add_is_accepted(authenticator: bytes, client: bytes) -> None:
    assertion, credential = forged(authenticator, client)

    assert verify_assertion(assertion, credential=credential, challenge=CHALLENGE) == 9
    assert accepted_by_the_webauthn_package(assertion, credential)


REFUSED_BY_BOTH = [
    (authenticator_data(), client_data(type="webauthn.create"), "not 'webauthn.get'"),
    (authenticator_data(), client_data(challenge=b64(bytes(32))), "approves something else"),
    (authenticator_data(), client_data(origin="https://evil.example.com"), "evil"),
    (authenticator_data(rp_id="evil.example.com"), client_data(), "relying party"),
    (authenticator_data(0x04), client_data(), "UP"),
    (authenticator_data(0x01), client_data(), "UV"),
    (authenticator_data(0x05, b"\xa0"), client_data(), "extensions flag"),
    (authenticator_data(0x85), client_data(), "extensions flag"),
    (authenticator_data()[:36], client_data(), "36 bytes"),
    (authenticator_data(), b"[]", "not an object"),
    (authenticator_data(), b"{", "not JSON"),
]
REFUSED_HERE_ONLY = [
    (authenticator_data(), client_data(challenge=b64(CHALLENGE) + "="), "approves something else"),
    (authenticator_data(), client_data(crossOrigin=True), "another origin"),
    (authenticator_data(), client_data(crossOrigin="false"), "another origin"),
    (authenticator_data(), client_data(topOrigin=ORIGIN), "another origin"),
    (authenticator_data(), b'{"type":"x",' + client_data()[1:], "occurs twice"),
    (authenticator_data(), client_data(x="y" * 2048), "at most 2048"),
    (authenticator_data(), client_data(x=float("nan")), "not JSON"),
    (authenticator_data(), b"[" * 2048, "not JSON"),
    (authenticator_data(), client_data().decode().encode("utf-16"), "not JSON"),
    (authenticator_data(0x45), client_data(), "attested"),
    (authenticator_data(0x05 | 0x10), client_data(), "eligible"),
    (authenticator_data(0x85, cbor2.dumps({"x": b"y" * 1000})), client_data(), "1024"),
]


@pytest.mark.parametrize(("authenticator", "client", "reason"), REFUSED_BY_BOTH + REFUSED_HERE_ONLY)
def test_a_signed_assertion_that_says_something_else_is_refused(
    authenticator: bytes, client: bytes, reason: str
) -> None:
    assertion, credential = forged(authenticator, client)

    with pytest.raises(ProtocolError, match=reason):
        verify_assertion(assertion, credential=credential, challenge=CHALLENGE)


@pytest.mark.parametrize(("authenticator", "client", "_"), REFUSED_BY_BOTH)
def test_the_webauthn_package_refuses_them_too(authenticator: bytes, client: bytes, _: str) -> None:
    assert not accepted_by_the_webauthn_package(*forged(authenticator, client))


@pytest.mark.parametrize("signature", [b"", bytes(73), bytes(64), b"\x30\x06\x02\x01\x00\x02\x01\x00"])
def test_a_signature_that_is_no_der_signature_is_refused(signature: bytes) -> None:
    good = ALICE.assert_(CHALLENGE)
    assertion = Assertion(good.authenticator_data, good.client_data, signature)

    with pytest.raises(ProtocolError, match="signature"):
        verify_assertion(assertion, credential=ALICE.credential(), challenge=CHALLENGE)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ((b"", POINT, RP_ID, (ORIGIN,)), "0 bytes"),
        ((b"i" * 1024, POINT, RP_ID, (ORIGIN,)), "1024 bytes"),
        ((b"i", POINT, "", (ORIGIN,)), "relying party"),
        ((b"i", POINT, RP_ID, ()), "origin"),
        ((b"i", POINT[:64], RP_ID, (ORIGIN,)), "64 bytes"),
        ((b"i", b"\x04" + bytes(64), RP_ID, (ORIGIN,)), "no uncompressed P-256 point"),
        ((b"i", b"\x06" + POINT[1:], RP_ID, (ORIGIN,)), "no uncompressed P-256 point"),
    ],
)
def test_a_credential_that_cannot_verify_is_refused(
    fields: tuple[bytes, bytes, str, tuple[str, ...]], reason: str
) -> None:
    with pytest.raises(MalformedError, match=reason):
        Credential(*fields)


def test_a_saved_authenticator_is_loaded_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "alice.passkey"
    ALICE.save(path)

    assert SoftwareAuthenticator.load(path).assert_(CHALLENGE) == ALICE.assert_(CHALLENGE)
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"stand-in for a passkey" in path.read_bytes()
    with pytest.raises(OperationalError, match="exists"):
        ALICE.save(path)


def test_an_authenticator_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "alice.passkey"
    ALICE.save(path)
    path.chmod(0o640)

    with pytest.raises(OperationalError, match="chmod 600"):
        SoftwareAuthenticator.load(path)


@pytest.mark.parametrize("content", [b"", b"{}\n", b"[]\nx", b'{"rp_id":"x"}\n-----BEGIN PRIVATE KEY-----\n'])
def test_a_file_that_is_no_authenticator_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)

    with pytest.raises(OperationalError, match="cannot read an authenticator"):
        SoftwareAuthenticator.load(path)


def test_an_authenticator_shows_no_key_and_needs_48_random_bytes() -> None:
    assert "Private" not in repr(ALICE)
    with pytest.raises(CallerError, match="need 48 random bytes, got 32"):
        SoftwareAuthenticator.create(RP_ID, ORIGIN, randomness=bytes(32))
