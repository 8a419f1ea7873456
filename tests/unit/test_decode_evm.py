"""The EVM decoder signs nothing it does not wholly understand."""

from typing import Any

import pytest
import rlp
from eth_account import Account
from eth_account._utils.legacy_transactions import serializable_unsigned_transaction_from_dict
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hypothesis import given, settings
from hypothesis import strategies as st

from policy import accounts
from policy.approval import Slot
from policy.decode.decoded import Cancel, Source, Transfer, Undecodable
from policy.decode.evm import GAS_MAX, NONCE_MAX, TRANSACTION_BYTES_MAX, decode, decode_cancel
from policy.ids import AMOUNT_MAX
from policy.intent import transfer_calldata
from policy.values import replace

CHAIN = 31337
TO = bytes.fromhex("11" * 20)
ACCOUNT = "0x" + TO.hex()
SOURCE = Source(f"evm:{CHAIN}", (accounts.Account("m/0/0", ACCOUNT, b"", 0, None),), lambda _: False)
RECIPIENT = "0x" + "22" * 20
TOKEN_DATA = transfer_calldata(RECIPIENT, 5)
AMOUNTS = st.integers(1, AMOUNT_MAX)
ACCOUNTS = st.binary(min_size=20, max_size=20)


def number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def eip1559(**changed: object) -> bytes:
    fields: dict[str, object] = {
        "chain_id": number(CHAIN),
        "nonce": number(7),
        "priority": number(1),
        "fee": number(30),
        "gas": number(21_000),
        "to": TO,
        "value": number(10**18),
        "data": b"",
        "access_list": [],
    }
    return b"\x02" + bytes(rlp.encode(list({**fields, **changed}.values())))


def legacy(**changed: object) -> bytes:
    fields: dict[str, object] = {
        "nonce": number(7),
        "price": number(30),
        "gas": number(21_000),
        "to": TO,
        "value": number(10**18),
        "data": b"",
        "chain_id": number(CHAIN),
        "r": b"",
        "s": b"",
    }
    return bytes(rlp.encode(list({**fields, **changed}.values())))


def decoded(tx: bytes) -> Transfer:
    result = decode(tx, SOURCE)
    assert isinstance(result, Transfer), result
    return result


def refusal(tx: bytes) -> str:
    result = decode(tx, SOURCE)
    assert isinstance(result, Undecodable), result
    return result.reason


def fields_of(draw: st.DataObject) -> dict[str, Any]:
    fee = draw.draw(st.integers(0, 2**128))
    token = draw.draw(st.booleans())
    recipient, amount = draw.draw(ACCOUNTS), draw.draw(AMOUNTS)
    return {
        "chainId": CHAIN,
        "nonce": draw.draw(st.integers(0, NONCE_MAX)),
        "gas": draw.draw(st.integers(0, GAS_MAX)),
        "to": draw.draw(ACCOUNTS) if token else recipient,
        "value": 0 if token else amount,
        "data": transfer_calldata("0x" + recipient.hex(), amount) if token else b"",
        "fee": fee,
        "amount": amount,
        "recipient": "0x" + recipient.hex(),
        "token": token,
    }


def check(transfer: Transfer, tx: dict[str, Any], signing_hash: bytes) -> None:
    assert transfer == Transfer(
        anchor=Slot(f"evm:{CHAIN}", ACCOUNT, tx["nonce"]),
        contract="0x" + tx["to"].hex() if tx["token"] else None,
        recipient=tx["recipient"],
        amount=tx["amount"],
        fee_max=tx["gas"] * tx["fee"],
        messages=(signing_hash,),
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_an_eip1559_transfer_is_what_eth_account_builds_and_hashes(draw: st.DataObject) -> None:
    tx = fields_of(draw)
    priority = draw.draw(st.integers(0, tx["fee"]))
    common = {name: tx[name] for name in ("chainId", "nonce", "gas", "to", "value", "data")}
    typed = TypedTransaction.from_dict(
        {**common, "type": 2, "maxFeePerGas": tx["fee"], "maxPriorityFeePerGas": priority}
    )
    order = ("chainId", "nonce", "priority", "fee", "gas", "to", "value", "data")
    values = {**tx, "priority": priority}
    items = [value if isinstance(value := values[name], bytes) else number(value) for name in order]
    data = b"\x02" + bytes(rlp.encode([*items, []]))

    check(decoded(data), tx, bytes(typed.hash()))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_legacy_transfer_is_what_eth_account_builds_and_hashes(draw: st.DataObject) -> None:
    tx = fields_of(draw)
    common = {name: tx[name] for name in ("chainId", "nonce", "gas", "to", "value", "data")}
    unsigned = serializable_unsigned_transaction_from_dict({**common, "gasPrice": tx["fee"]})
    data = legacy(
        nonce=number(tx["nonce"]),
        price=number(tx["fee"]),
        gas=number(tx["gas"]),
        to=tx["to"],
        value=number(tx["value"]),
        data=tx["data"],
    )

    check(decoded(data), tx, bytes(unsigned.hash()))


def test_a_signature_over_the_hash_is_a_valid_transaction_of_the_signer() -> None:
    account = Account.from_key("0x" + "42" * 32)
    signature = account.unsafe_sign_hash(decoded(eip1559()).messages[0])
    signed = [*rlp.decode(eip1559()[1:]), *map(number, (signature.v - 27, signature.r, signature.s))]

    assert Account.recover_transaction(b"\x02" + rlp.encode(signed)) == account.address


@pytest.mark.parametrize("build", [eip1559, legacy])
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"chain_id": number(1)}, "chain id 1 "),
        ({"chain_id": b""}, "chain id 0 "),
        ({"chain_id": number(2**53)}, "chain id"),
        ({"nonce": number(2**64)}, "nonce"),
        ({"nonce": b"\0\x07"}, "nonce has a leading zero"),
        ({"nonce": b"\0"}, "nonce has a leading zero"),
        ({"nonce": []}, "nonce is a list"),
        ({"gas": number(2**64)}, "gas"),
        ({"to": b""}, "'to' has 0 bytes"),
        ({"to": TO[1:]}, "'to' has 19 bytes"),
        ({"to": bytes(12) + TO}, "'to' has 32 bytes"),
        ({"to": [TO]}, "to is a list"),
        ({"value": b"\x01" + bytes(32)}, "value has 33 bytes"),
        ({"value": b""}, "amount is zero"),
        ({"value": b"", "data": transfer_calldata(RECIPIENT, 0)}, "amount is zero"),
        ({"data": TOKEN_DATA}, "must not carry value"),
        ({"value": b"", "data": TOKEN_DATA + b"\0"}, "69 bytes"),
        ({"value": b"", "data": TOKEN_DATA[:-1]}, "67 bytes"),
        ({"value": b"", "data": TOKEN_DATA[:4]}, "4 bytes"),
        ({"value": b"", "data": TOKEN_DATA[:4] + b"\x01" + TOKEN_DATA[5:]}, "padding"),
        ({"value": b"", "data": TOKEN_DATA[:15] + b"\x01" + TOKEN_DATA[16:]}, "padding"),
        ({"value": b"", "data": bytes.fromhex("23b872dd") + TOKEN_DATA[4:]}, "0x23b872dd"),
        ({"value": b"", "data": bytes.fromhex("095ea7b3") + TOKEN_DATA[4:]}, "0x095ea7b3"),
        ({"data": b"\0"}, "0x00"),
        ({"data": [b""]}, "data is a list"),
        ({"data": bytes(TRANSACTION_BYTES_MAX)}, "at most 8192"),
    ],
)
def test_what_is_not_wholly_understood_is_refused(
    build: Any, changed: dict[str, object], reason: str
) -> None:
    assert reason in refusal(build(**changed))


@pytest.mark.parametrize(
    ("tx", "reason"),
    [
        (eip1559(access_list=[[TO, []]]), "access list"),
        (eip1559(access_list=b""), "access list"),
        (eip1559(priority=number(31)), "priority fee is above"),
        (eip1559(extra=b""), "got 10"),
        (eip1559(fee=number(AMOUNT_MAX)), "gas times fee"),
        (eip1559(v=b"", r=b"\x01", s=b"\x01"), "got 12"),
        (legacy(r=b"\x01"), "must be unsigned"),
        (legacy(s=b"\0"), "must be unsigned"),
        (legacy(price=number(AMOUNT_MAX)), "gas times fee"),
        (bytes(rlp.encode([b"\x07", b"\x1e", b"\x05", TO, b"\x01", b""])), "got 6"),
        (b"", "empty"),
        (b"\x02", "RLP"),
        (b"\x02\x80", "not exactly one list"),
        (b"\x01" + eip1559()[1:], "type 1 "),
        (b"\x03" + eip1559()[1:], "type 3 "),
        (b"\x04" + eip1559()[1:], "type 4 "),
        (eip1559() + b"\0", "RLP"),
        (eip1559()[:-1], "RLP"),
        (b"\x02\xf8\x00" + eip1559()[2:], "RLP"),
        (b"\x02" + b"\xc1" * 8000, "RLP"),
        (b"\xff" * 9, "RLP"),
    ],
)
def test_bytes_that_are_no_canonical_unsigned_transaction_are_refused(tx: bytes, reason: str) -> None:
    assert reason in refusal(tx)


def test_a_small_integer_in_a_long_encoding_is_refused() -> None:
    canonical = eip1559()
    body = canonical[2:]
    place = body.index(b"\x07")
    widened = b"\x02" + bytes([canonical[1] + 1]) + body[:place] + b"\x81\x07" + body[place + 1 :]

    assert "RLP" in refusal(widened)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x02", b"\x02\xc9", b"\xc9", b"\xf8", b"\x02\xf9"]))
def test_any_bytes_get_an_answer(tail: bytes, head: bytes) -> None:
    assert isinstance(decode(head + tail, SOURCE), Transfer | Undecodable)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([legacy(), legacy(value=b"", data=TOKEN_DATA)]), st.data())
def test_no_byte_is_without_meaning(tx: bytes, draw: st.DataObject) -> None:
    changed = bytearray(tx)
    changed[draw.draw(st.integers(0, len(tx) - 1))] ^= draw.draw(st.integers(1, 255))
    result = decode(bytes(changed), SOURCE)

    if isinstance(result, Transfer):
        assert replace(result, messages=()) != replace(decoded(tx), messages=())


@pytest.mark.parametrize("build", [eip1559, legacy])
def test_an_empty_transaction_is_a_cancellation_and_no_transfer(build: Any) -> None:
    tx = build(value=b"")
    result = decode_cancel(tx, SOURCE)

    assert isinstance(result, Cancel)
    assert result.anchor == Slot("evm:31337", ACCOUNT, 7)
    assert result.fee_max == 21_000 * 30
    assert "amount is zero" in refusal(tx)


@pytest.mark.parametrize("changed", [{}, {"value": b"", "data": TOKEN_DATA}, {"value": b"", "data": b"\0"}])
def test_a_transaction_that_does_something_is_no_cancellation(changed: dict[str, object]) -> None:
    assert isinstance(decode_cancel(eip1559(**changed), SOURCE), Undecodable)


def test_an_empty_transaction_to_another_account_is_no_cancellation() -> None:
    result = decode_cancel(eip1559(value=b"", to=bytes.fromhex("12" * 20)), SOURCE)

    assert isinstance(result, Undecodable)
    assert "goes to the account itself" in result.reason


def test_another_chain_than_the_requests_is_refused() -> None:
    assert isinstance(decode(eip1559(), replace(SOURCE, chain="evm:1")), Undecodable)


@pytest.mark.parametrize("count", [0, 2])
def test_one_account_signs(count: int) -> None:
    source = replace(SOURCE, accounts=SOURCE.accounts * count)

    assert isinstance(decode(eip1559(), source), Undecodable)
    assert isinstance(decode_cancel(eip1559(value=b""), source), Undecodable)
