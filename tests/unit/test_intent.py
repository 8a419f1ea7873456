"""Requests: strict, signed as a whole, and bound to one calldata."""

from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.encoding import Json
from policy.errors import CallerError, InvalidSignatureError, MalformedError
from policy.ids import AMOUNT_MAX
from policy.intent import (
    Intent,
    Request,
    parse_request,
    request_id,
    request_message,
    transfer_calldata,
    verify_request,
)

ADDRESSES = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True)
INTENTS = st.builds(
    Intent,
    chain=st.integers(1, 2**53 - 1).map(lambda chain_id: f"evm:{chain_id}"),
    wallet=NAMES,
    asset=NAMES,
    amount=st.integers(1, AMOUNT_MAX),
    destination=ADDRESSES,
    source=st.none()
    | st.lists(st.integers(0, 2**31 - 1), max_size=10).map(lambda it: "/".join(["m", *map(str, it)])),
)
REQUESTS = st.builds(
    Request,
    origin=st.just("example.com/log"),
    initiator=NAMES,
    intent=INTENTS,
    fee_ceiling=st.integers(0, AMOUNT_MAX),
    idempotency_key=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64),
    created_ms=st.integers(0, 2**50),
    expires_ms=st.integers(2**50 + 1, 2**53 - 1),
)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
INTENT = Intent("evm:31337", "hot", "eth", 10**18, "0x" + "11" * 20)


def body_of(**changed: Json) -> dict[str, Json]:
    request = Request("example.com/log", "backend", INTENT, 10**15, "order-1", 1_000, 2_000)
    return {**cast("dict[str, Json]", request.body()), **changed}


@given(REQUESTS)
def test_a_request_is_read_back_as_it_was_written(request_: Request) -> None:
    assert parse_request(request_.body()) == request_


@pytest.mark.parametrize("name", sorted(body_of()))
def test_a_request_without_one_of_its_fields_is_refused(name: str) -> None:
    body = body_of()
    del body[name]

    with pytest.raises(MalformedError, match=name):
        parse_request(body)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memo", "hello"),
        ("source", ""),
        ("source", "m/0/01"),
        ("source", "0/1"),
        ("source", None),
        ("amount", "0"),
        ("amount", 5),
        ("amount", "-5"),
        ("amount", str(AMOUNT_MAX + 1)),
        ("destination", "0x" + "AB" * 20),
        ("chain", "evm:031337"),
        ("idempotency_key", ""),
        ("idempotency_key", "x" * 65),
        ("idempotency_key", "a\nb"),
        ("expires_ms", 1_000),
        ("origin", "two words"),
        ("initiator", "Backend"),
    ],
)
def test_a_request_with_a_field_out_of_bounds_is_refused_by_name(name: str, value: Json) -> None:
    with pytest.raises(MalformedError, match=name):
        parse_request(body_of(**{name: value}))


@pytest.mark.parametrize("name", sorted(body_of()))
def test_every_field_is_under_the_signature_and_in_the_id(name: str) -> None:
    body = body_of()
    signature = KEY.sign(request_message(body))
    changed = body_of(**{name: 7})
    verify_request(body, signature, key=PUBLIC)

    assert request_id(changed) != request_id(body)
    with pytest.raises(InvalidSignatureError, match="does not verify"):
        verify_request(changed, signature, key=PUBLIC)


def test_another_key_did_not_sign_the_request() -> None:
    body = body_of()
    other = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()

    with pytest.raises(InvalidSignatureError):
        verify_request(body, KEY.sign(request_message(body)), key=other)


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(InvalidSignatureError, match=f"{length} bytes"):
        verify_request(body_of(), bytes(length), key=PUBLIC)


def test_a_key_of_another_length_is_the_callers_mistake() -> None:
    with pytest.raises(CallerError, match="31 bytes"):
        verify_request(body_of(), bytes(64), key=PUBLIC[:31])


@settings(max_examples=50)
@given(INTENTS)
def test_token_calldata_is_what_the_abi_says(intent: Intent) -> None:
    selector = keccak(text="transfer(address,uint256)")[:4]
    expected = selector + encode(["address", "uint256"], [intent.destination, intent.amount])

    assert transfer_calldata(intent.destination, intent.amount) == expected
    assert intent.calldata_hash(native=False) == keccak(expected)


def test_a_native_transfer_has_the_hash_of_no_calldata() -> None:
    expected = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"

    assert INTENT.calldata_hash(native=True).hex() == expected


@pytest.mark.parametrize(
    ("destination", "amount"), [("0x" + "AB" * 20, 1), ("0x", 1), ("0x" + "11" * 20, -1)]
)
def test_calldata_that_cannot_be_encoded_is_the_callers_mistake(destination: str, amount: int) -> None:
    with pytest.raises(CallerError):
        transfer_calldata(destination, amount)
