"""The Bitcoin decoder signs nothing it does not wholly understand, by BIP 341's hash."""

import json
from pathlib import Path
from typing import Any

import pytest
from embit import bech32
from embit.psbt import PSBT
from embit.script import Script
from embit.transaction import SIGHASH, TransactionInput, TransactionOutput
from embit.transaction import Transaction as Theirs
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.accounts import Account
from policy.approval import Slot
from policy.decode.bitcoin import decode, decode_cancel
from policy.decode.decoded import Cancel, Refusal, Source, Transfer, Undecodable
from policy.decode.psbt import (
    MONEY_MAX,
    PSBT_BYTES_MAX,
    SEQUENCE_REPLACEABLE,
    Input,
    Output,
    Transaction,
    parse_psbt,
    signature_hash,
)
from policy.values import replace

VECTOR = json.loads((Path(__file__).parents[1] / "vectors" / "taproot.json").read_text())["signature_hash"]
CHAIN, PREFIX = "bitcoin:regtest", "bcrt"
MINE, CHANGE, ELSE = (bytes([mark]) * 32 for mark in (0x11, 0x22, 0x33))
SATOSHI = 50_000


def address(program: bytes, version: int = 1) -> str:
    return str(bech32.encode(PREFIX, version, program))


def script(program: bytes, version: int = 1) -> bytes:
    return bytes([0x51 if version else 0, len(program)]) + program


def account(program: bytes, path: str) -> Account:
    return Account(path, address(program), program, 1, b"")


def owns(text: str) -> bool:
    return text in (address(MINE), address(CHANGE))


SOURCE = Source(CHAIN, (account(MINE, "m/0/0"),), owns)
TWO = replace(SOURCE, accounts=(account(MINE, "m/0/0"), account(CHANGE, "m/0/1")))


def psbt(
    *, spent: list[bytes] | None = None, paid: list[tuple[int, bytes]] | None = None, **changed: Any
) -> bytes:
    """A PSBT as another library writes it; ``changed`` are fields of the first input or the transaction."""
    inputs = [
        TransactionInput(
            bytes([0xA0 + index]) * 31 + b"\1",
            index,
            sequence=changed.get("sequence", SEQUENCE_REPLACEABLE),
            script_sig=changed.get("script_sig"),
        )
        for index in range(len(spent or [MINE]))
    ]
    outputs = [
        TransactionOutput(value, Script(data))
        for value, data in (paid or [(30_000, script(ELSE)), (19_000, script(CHANGE))])
    ]
    tx = Theirs(changed.get("version", 2), inputs, outputs, changed.get("locktime", 0))
    made = PSBT(tx)
    for scope, program in zip(made.inputs, spent or [MINE], strict=True):
        scope.witness_utxo = TransactionOutput(SATOSHI, Script(script(program)))
    for name in ("sighash_type", "taproot_internal_key", "unknown"):
        if name in changed:
            setattr(made.inputs[0], name, changed[name])
    return bytes(made.serialize())


PAYMENT, CANCELLATION = psbt(), psbt(paid=[(49_000, script(CHANGE))])


def decoded(tx: bytes, source: Source = SOURCE) -> Transfer:
    result = decode(tx, source)
    assert isinstance(result, Transfer), result
    return result


def their_hashes(tx: bytes) -> tuple[bytes, ...]:
    made = PSBT.parse(tx)
    return tuple(made.sighash(index, sighash=SIGHASH.DEFAULT) for index in range(len(made.inputs)))


def test_a_payment_of_another_library_is_read_as_it_means() -> None:
    txid = "a0" * 31 + "01"

    assert decoded(PAYMENT) == Transfer(
        anchor=Slot(CHAIN, f"{txid}:0", 0),
        contract=None,
        recipient=address(ELSE),
        amount=30_000,
        fee_max=1_000,
        messages=their_hashes(PAYMENT),
    )
    assert PSBT.parse(PAYMENT).tx.vin[0].txid.hex() == txid


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([MINE, CHANGE]), min_size=1, max_size=32), st.data())
def test_every_input_signs_what_another_library_has_it_sign(spent: list[bytes], draw: st.DataObject) -> None:
    total = len(spent) * SATOSHI
    amount = draw.draw(st.integers(1, total))
    change = draw.draw(st.integers(0, total - amount))
    recipient = draw.draw(st.sampled_from([(0, ELSE), (0, ELSE[:20]), (1, ELSE)]))
    paid = [(amount, script(recipient[1], recipient[0]))]
    paid += [(change, script(CHANGE))] if change else []
    tx = psbt(spent=spent, paid=paid[:: draw.draw(st.sampled_from([1, -1]))])
    source = replace(SOURCE, accounts=tuple(account(program, "") for program in spent))
    result = decoded(tx, source)

    assert (result.recipient, result.amount) == (address(recipient[1], recipient[0]), amount)
    assert result.fee_max == total - amount - change
    assert result.messages == their_hashes(tx)


def test_the_hash_is_bip_341s() -> None:
    theirs = Theirs.parse(bytes.fromhex(VECTOR["transaction"]))
    spent = [Output(one["amount"], bytes.fromhex(one["script"])) for one in VECTOR["spent"]]
    tx = Transaction(
        theirs.version,
        tuple(
            Input(one.txid[::-1] + one.vout.to_bytes(4, "little"), one.sequence, output)
            for one, output in zip(theirs.vin, spent, strict=True)
        ),
        tuple(Output(one.value, one.script_pubkey.data) for one in theirs.vout),
        theirs.locktime,
    )

    assert signature_hash(tx, VECTOR["index"]).hex() == VECTOR["hash"]


def test_what_stays_in_the_wallet_is_a_cancellation_and_no_payment() -> None:
    result = decode_cancel(CANCELLATION, SOURCE)

    assert result == Cancel(decoded(PAYMENT).anchor, 1_000, their_hashes(CANCELLATION))
    assert isinstance(decode(CANCELLATION, SOURCE), Undecodable)
    assert isinstance(decode_cancel(PAYMENT, SOURCE), Undecodable)


def test_several_coins_that_become_one_are_a_payment_to_the_wallet_and_no_cancellation() -> None:
    tx = psbt(spent=[MINE, CHANGE], paid=[(99_000, script(CHANGE))])
    found = decoded(tx, TWO)

    assert (found.recipient, found.amount, found.fee_max) == (address(CHANGE), 99_000, 1_000)
    assert found.messages == their_hashes(tx)
    assert isinstance(decode_cancel(tx, TWO), Undecodable)


def test_the_first_input_is_the_anchor() -> None:
    payment = psbt(spent=[MINE, CHANGE], paid=[(90_000, script(ELSE))])
    cancellation = decode_cancel(CANCELLATION, SOURCE)

    assert isinstance(cancellation, Cancel)
    assert decoded(payment, TWO).anchor == cancellation.anchor


@pytest.mark.parametrize(
    "tx",
    [
        b"",
        b"psbt\xff",
        psbt(paid=[(10_000, script(ELSE)), (10_000, script(ELSE))]),
        psbt(paid=[(10_000, script(MINE)), (10_000, script(CHANGE))]),
        psbt(paid=[(1, script(ELSE)), (1, script(CHANGE)), (1, script(CHANGE))]),
        psbt(paid=[(50_001, script(ELSE))]),
        psbt(paid=[(0, script(ELSE)), (1, script(CHANGE))]),
        psbt(paid=[(MONEY_MAX + 1, script(ELSE))]),
        psbt(paid=[(1, bytes.fromhex("76a914" + "33" * 20 + "88ac"))]),
        psbt(paid=[(1, bytes.fromhex("a914" + "33" * 20 + "87"))]),
        psbt(paid=[(1, b"\x6a\x02hi")]),
        psbt(paid=[(1, b"")]),
        psbt(paid=[(1, b"\x52\x20" + ELSE)]),
        psbt(paid=[(1, b"\x51\x14" + ELSE[:20])]),
        psbt(paid=[(1, b"\x51\x21" + ELSE)]),
        psbt(spent=[CHANGE]),
        psbt(spent=[ELSE]),
        psbt(spent=[MINE, MINE]),
        psbt(version=1),
        psbt(version=3),
        psbt(locktime=1),
        psbt(sequence=0xFFFFFFFF),
        psbt(sequence=1),
        psbt(sighash_type=1),
        psbt(sighash_type=0),
        psbt(unknown={b"\xfc\x01": b"\x01"}),
        PAYMENT + b"\0",
        PAYMENT[:-1],
        PAYMENT[:5] + b"\xfb\x04\0\0\0\0" + PAYMENT[5:],
        bytes(PSBT_BYTES_MAX + 1),
    ],
)
def test_psbts_that_do_anything_else_are_refused(tx: bytes) -> None:
    assert isinstance(decode(tx, SOURCE), Undecodable)
    assert isinstance(decode_cancel(tx, SOURCE), Undecodable)


def test_an_outpoint_is_spent_once() -> None:
    tx = bytearray(psbt(spent=[MINE, CHANGE], paid=[(90_000, script(ELSE))]))
    first, second = (tx.index(bytes([mark]) * 31) for mark in (0xA0, 0xA1))
    tx[second - 1 : second + 35] = tx[first - 1 : first + 35]

    with pytest.raises(Refusal, match="spent twice"):
        parse_psbt(bytes(tx))


@pytest.mark.parametrize("wide", [b"\xfd\x01\x00", b"\xfe\x01\x00\x00\x00", b"\xff\x01" + bytes(7)])
def test_a_length_has_its_shortest_form(wide: bytes) -> None:
    assert PAYMENT[5:7] == b"\x01\x00"

    assert isinstance(decode(PAYMENT[:5] + wide + PAYMENT[6:], SOURCE), Undecodable)


def test_an_input_with_a_script_is_refused() -> None:
    place = PAYMENT.index(b"\0\xfd\xff\xff\xff")
    longer = bytes([PAYMENT[7] + 1])
    tx = PAYMENT[:7] + longer + PAYMENT[8:place] + b"\x01\x51" + PAYMENT[place + 1 :]

    with pytest.raises(Refusal, match="carries a script"):
        parse_psbt(tx)


def test_another_network_gives_other_addresses() -> None:
    result = decode(PAYMENT, replace(SOURCE, chain="bitcoin:mainnet"))

    assert isinstance(result, Undecodable)
    assert "spends from bc1p" in result.reason


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, len(PAYMENT)))
def test_any_bytes_get_an_answer(tail: bytes, length: int) -> None:
    tx = PAYMENT[:length] + tail

    assert isinstance(decode(tx, SOURCE), Transfer | Undecodable)
    assert isinstance(decode_cancel(tx, SOURCE), Cancel | Undecodable)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(PAYMENT) - 1), st.integers(1, 255))
def test_no_byte_is_without_meaning(place: int, flip: int) -> None:
    changed = bytearray(PAYMENT)
    changed[place] ^= flip
    result = decode(bytes(changed), SOURCE)

    if isinstance(result, Transfer):
        assert result.messages != decoded(PAYMENT).messages
