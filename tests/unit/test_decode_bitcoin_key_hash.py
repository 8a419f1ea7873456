"""P2WPKH: what an input signs hides other inputs' amounts, so the PSBT has to prove them."""

from typing import Any

import pytest
from embit.psbt import PSBT
from embit.script import Script
from embit.transaction import SIGHASH, TransactionInput, TransactionOutput
from embit.transaction import Transaction as Theirs
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.accounts import Account
from policy.decode.bitcoin import decode, decode_cancel
from policy.decode.decoded import Cancel, Source, Transfer, Undecodable
from policy.decode.psbt import SEQUENCE_REPLACEABLE
from tests.unit.test_decode_bitcoin import CHAIN, ELSE, address, script

MINE, CHANGE = b"\x11" * 20, b"\x22" * 20


def account(program: bytes, path: str) -> Account:
    return Account(path, address(program, 0), program, 1, None)


def source(count: int) -> Source:
    mine = tuple(account(MINE, "m/0/0") for _ in range(count))
    return Source(CHAIN, mine, lambda text: text in (address(MINE, 0), address(CHANGE, 0)))


def made(amount: int, *, place: int, lock_time: int = 0) -> Theirs:
    """A transaction that pays us at ``place``, and others at the places before."""
    paid = [TransactionOutput(7, Script(b"\x6a" + bytes([mark]))) for mark in range(place)]
    paid.append(TransactionOutput(amount, Script(script(MINE, 0))))
    return Theirs(2, [TransactionInput(b"\x77" * 32, 3, Script(b"\x51"))], paid, lock_time)


def psbt(
    amounts: list[int], *, proven: set[int], paid: list[tuple[int, bytes]] | None = None, **lies: Any
) -> bytes:
    """A PSBT of another library; ``claimed`` amounts and ``other`` transactions are lies, by input."""
    before = [made(amount, place=index, lock_time=index) for index, amount in enumerate(amounts)]
    inputs = [
        TransactionInput(one.txid(), index, sequence=SEQUENCE_REPLACEABLE) for index, one in enumerate(before)
    ]
    outputs = paid or [(sum(amounts) - 1_500, script(ELSE)), (500, script(CHANGE, 0))]
    whole = PSBT(Theirs(2, inputs, [TransactionOutput(value, Script(data)) for value, data in outputs], 0))
    for index, scope in enumerate(whole.inputs):
        claimed = lies.get("claimed", {}).get(index, amounts[index])
        scope.witness_utxo = TransactionOutput(claimed, Script(script(MINE, 0)))
        if index in proven:
            scope.non_witness_utxo = lies.get("other", {}).get(index, before[index])
    return bytes(whole.serialize())


def refused(tx: bytes, count: int) -> str:
    result = decode(tx, source(count))
    assert isinstance(result, Undecodable), result
    return result.reason


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(2_000, 10**9), min_size=1, max_size=12))
def test_every_input_signs_what_another_library_has_it_sign(amounts: list[int]) -> None:
    tx = psbt(amounts, proven=set(range(len(amounts))))

    result = decode(tx, source(len(amounts)))

    theirs = PSBT.parse(tx)
    assert isinstance(result, Transfer)
    assert result.fee_max == 1_000
    assert result.messages == tuple(theirs.sighash(i, sighash=SIGHASH.ALL) for i in range(len(amounts)))


def test_one_input_needs_no_proof_and_of_several_each_needs_one() -> None:
    assert isinstance(decode(psbt([9_000], proven=set()), source(1)), Transfer)
    assert isinstance(decode(psbt([9_000, 8_000], proven={0, 1}), source(2)), Transfer)
    for lacking in (0, 1):
        assert refused(psbt([9_000, 8_000], proven={1 - lacking}), 2) == (
            "1 inputs come without the transaction that made them"
        )


def test_the_halves_of_a_fee_attack_are_not_signed() -> None:
    """Each claims less for one input, so that the fee looks small, and gives the other one's signature."""
    paid = [(5_000, script(ELSE))]
    true = PSBT.parse(psbt([10_000, 10_000], proven={0, 1}, paid=paid))
    halves = [psbt([10_000, 10_000], proven={1 - lie}, paid=paid, claimed={lie: 1_000}) for lie in (0, 1)]

    for lie, half in enumerate(halves):
        honest = 1 - lie
        assert PSBT.parse(half).sighash(honest, sighash=SIGHASH.ALL) == true.sighash(
            honest, sighash=SIGHASH.ALL
        )
        assert "come without" in refused(half, 2)
    result = decode(bytes(true.serialize()), source(2))
    assert isinstance(result, Transfer) and result.fee_max == 15_000


def test_a_lie_about_a_proven_input_is_refused() -> None:
    tx = psbt([9_000, 8_000], proven={0, 1}, claimed={1: 7_000})
    other = psbt([9_000, 8_000], proven={0, 1}, other={1: made(8_000, place=1, lock_time=9)})

    assert refused(tx, 2) == "input 1 is not the output it claims to be"
    assert refused(other, 2) == "input 1 comes with another transaction"


@pytest.mark.parametrize("cut", [1, 40, -1])
def test_a_proof_is_read_to_its_end(cut: int) -> None:
    whole = made(9_000, place=0)
    data = whole.serialize()
    tx = psbt([9_000], proven={0})
    place = tx.index(data)
    shorter = data[:cut]
    spoiled = tx[: place - 1] + bytes([len(shorter)]) + shorter + tx[place + len(data) :]

    assert len(data) < 253
    assert isinstance(decode(tx, source(1)), Transfer)
    assert isinstance(decode(spoiled, source(1)), Undecodable)


def test_a_script_hash_of_ours_is_not_spent_as_a_key_hash() -> None:
    program = b"\x11" * 32
    tx = psbt([9_000], proven=set(), paid=[(8_000, script(ELSE))])
    changed = tx.replace(bytes([22]) + script(MINE, 0), bytes([34]) + script(program, 0))
    changed = changed.replace(
        bytes([31]) + (9_000).to_bytes(8, "little"), bytes([43]) + (9_000).to_bytes(8, "little")
    )
    mine = Source(CHAIN, (Account("m/0/0", address(program, 0), program, 1, None),), lambda _: False)

    result = decode(changed, mine)

    assert isinstance(result, Undecodable) and "is P2WSH" in result.reason


def test_a_cancellation_goes_back_to_the_wallet() -> None:
    tx = psbt([9_000], proven=set(), paid=[(8_000, script(CHANGE, 0))])

    result = decode_cancel(tx, source(1))

    assert isinstance(result, Cancel) and result.fee_max == 1_000
