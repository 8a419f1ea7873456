"""PSBTs of other wallets are read as embit writes them, ours by embit; what misleads is refused."""

import base64
from typing import Any

import pytest
from embit.ec import PrivateKey
from embit.psbt import PSBT
from embit.script import Script, Witness
from embit.transaction import Transaction, TransactionInput, TransactionOutput

from custody.chains.bitcoin.drafting import Terms, adopted, gathered
from custody.chains.bitcoin.foreign import FILE_BYTES_MAX, Foreign, Hint, read_file, written
from custody.chains.bitcoin.transaction import Coin, read, unsigned
from policy.decode.psbt import Output, bare, txid
from policy.errors import MalformedError

MINE, CHANGE, PAYEE, ELSE = (b"\x51\x20" + bytes([mark]) * 32 for mark in (0x11, 0x22, 0x33, 0x44))
TXID = b"\xaa" * 32
HEIGHT = 800_000
COINS = {
    coin.outpoint: coin
    for coin in (
        Coin(TXID[::-1] + place.to_bytes(4, "little"), Output(50_000, MINE), 7, coinbase=False)
        for place in range(4)
    )
}
TERMS = Terms(Output(60_000, PAYEE), {MINE, CHANGE}, ceiling=10_000, rate_max=100, coins_max=3)


def psbt(
    version: int = 0,
    *,
    places: tuple[int, ...] = (0, 1),
    outputs: tuple[tuple[int, bytes], ...] = ((60_000, PAYEE), (38_000, CHANGE)),
    sequence: int = 0xFFFFFFFD,
    lock_time: int = 0,
    **of_first: Any,
) -> bytes:
    """A PSBT as embit writes it; ``of_first`` are fields of the first input."""
    spent = [TransactionInput(TXID, place, sequence=sequence) for place in places]
    paid = [TransactionOutput(amount, Script(script)) for amount, script in outputs]
    made = PSBT(Transaction(2, spent, paid, lock_time))
    for one in made.inputs:
        one.witness_utxo = TransactionOutput(50_000, Script(MINE))
    for name, value in of_first.items():
        setattr(made.inputs[0], name, value)
    if version == 0:
        return bytes(made.serialize())
    found = PSBT(Transaction(2, spent, paid, lock_time))
    found.version, found.inputs, found.outputs = 2, made.inputs, made.outputs
    found.tx_version, found.locktime = 2, lock_time
    return bytes(found.serialize())


def taken(data: bytes, terms: Terms = TERMS) -> tuple[bytes, ...]:
    """The outpoints of what is adopted."""
    return tuple(coin.outpoint for coin in adopted(read_file(data), terms, coins=COINS, height=HEIGHT).coins)


@pytest.mark.parametrize("version", [0, 2])
@pytest.mark.parametrize("text", [False, True])
def test_coins_and_outputs_are_read_as_another_library_writes_them(version: int, text: bool) -> None:
    data = psbt(version)
    found = read_file(base64.encodebytes(data) if text else data)

    assert [one.outpoint for one in found.inputs] == list(COINS)[:2]
    assert [one.claimed for one in found.inputs] == [Output(50_000, MINE)] * 2
    assert found.outputs == (Output(60_000, PAYEE), Output(38_000, CHANGE))


@pytest.mark.parametrize("version", [0, 2])
def test_ours_is_read_by_another_library_as_it_was_made(version: int) -> None:
    coins = list(COINS.values())[:2]
    tx = unsigned(coins, [Output(60_000, PAYEE), Output(38_000, CHANGE)], proofs={})
    theirs = PSBT.parse(written(tx, version=version))
    finished = PSBT.parse(written(tx, version=version, witnesses=[Witness([b"s" * 64]).serialize()] * 2))

    assert theirs.version == (version or None) and theirs.fee() == 2_000
    assert theirs.tx.serialize() == bare(read(tx))
    assert [one.final_scriptwitness.items for one in finished.inputs] == [[b"s" * 64]] * 2
    assert read_file(written(tx, version=version)) == read_file(tx)


def test_what_another_wallet_asks_for_is_adopted_in_its_order() -> None:
    assert taken(psbt(places=(2, 0))) == (list(COINS)[2], next(iter(COINS)))
    assert taken(psbt(lock_time=HEIGHT, sequence=0xFFFFFFFE)) == tuple(list(COINS)[:2])
    assert taken(psbt(witness_utxo=None)) == tuple(list(COINS)[:2])


def test_an_output_of_nothing_is_no_coin() -> None:
    (first, coin), *_ = COINS.items()
    empty = {**COINS, first: Coin(first, Output(0, MINE), coin.height, coinbase=False)}
    found = read_file(psbt(places=(1, 2, 0), witness_utxo=None))
    asked = Foreign((*found.inputs[:2], Hint(first, 0xFFFFFFFD)), found.outputs, 0)

    with pytest.raises(MalformedError, match=r"input 2 of the PSBT, aaaa.*is no coin of the wallet"):
        adopted(asked, TERMS, coins=empty, height=HEIGHT)


def test_version_0_may_be_said_and_others_are_refused() -> None:
    said = {
        version: psbt()[:5] + b"\x01\xfb\x04" + bytes([version, 0, 0, 0]) + psbt()[5:] for version in (0, 1)
    }

    assert read_file(said[0]) == read_file(psbt())
    with pytest.raises(MalformedError, match="has version 1: export it as 0 or 2"):
        read_file(said[1])


PARTIAL = {PrivateKey(b"\x11" * 32).get_public_key(): b"\x30" * 70}
WRONG = {
    "foreign coin": ({"places": (0, 9)}, "input 1 of the PSBT, aaaa.*is no coin of the wallet"),
    "wrong amount": (
        {"witness_utxo": TransactionOutput(51_000, Script(MINE))},
        "claims another amount or script",
    ),
    "wrong script": ({"witness_utxo": TransactionOutput(50_000, Script(ELSE))}, "claims another amount"),
    "foreign change": ({"outputs": ((60_000, PAYEE), (38_000, ELSE))}, "change goes to somebody else"),
    "other amount": ({"outputs": ((59_999, PAYEE), (38_000, CHANGE))}, "no output of the PSBT pays 60000"),
    "other payee": ({"outputs": ((60_000, ELSE), (38_000, CHANGE))}, "no output of the PSBT pays 60000"),
    "paid twice": ({"outputs": ((60_000, PAYEE),) * 2, "places": (0, 1, 2)}, "change goes to somebody else"),
    "three outputs": (
        {"outputs": ((60_000, PAYEE), (1_000, CHANGE), (37_000, CHANGE))},
        "has 3 outputs: make it with one",
    ),
    "dust": ({"outputs": ((60_000, PAYEE), (100, CHANGE)), "places": (0, 1)}, "100 satoshi are dust"),
    "no fee": ({"outputs": ((60_000, PAYEE), (40_000, CHANGE))}, "fee is 0 satoshi"),
    "more than there is": ({"outputs": ((60_000, PAYEE), (41_000, CHANGE))}, "fee is -1000 satoshi"),
    "dear": ({"outputs": ((60_000, PAYEE), (29_000, CHANGE))}, "fee is 11000 satoshi"),
    "too many": ({"places": (0, 1, 2, 3)}, "spends 4 coins, at most 3"),
    "locked": ({"lock_time": HEIGHT + 1}, "is locked until 800001"),
    "locked by time": ({"lock_time": 1_700_000_000}, "is locked until 1700000000"),
    "relative lock": ({"sequence": 144}, "relative lock time"),
    "sighash": ({"sighash_type": 0x83}, "sighash 131: only ALL and DEFAULT"),
    "signed": ({"partial_sigs": PARTIAL}, "signed already"),
    "finished": ({"final_scriptwitness": Witness([b"s" * 64])}, "signed already"),
}


@pytest.mark.parametrize("version", [0, 2])
@pytest.mark.parametrize("wrong", WRONG)
def test_what_a_file_has_wrong_is_refused_with_the_reason(wrong: str, version: int) -> None:
    changed, reason = WRONG[wrong]

    with pytest.raises(MalformedError, match=reason):
        taken(psbt(version, **changed))


def test_a_coin_twice_is_refused_and_so_is_another_transaction_for_it() -> None:
    one, _ = read_file(psbt()).inputs
    with pytest.raises(MalformedError, match="spends a coin twice"):
        adopted(Foreign((one, one), read_file(psbt()).outputs, 0), TERMS, coins=COINS, height=HEIGHT)
    other = Transaction(2, [TransactionInput(b"\x01" * 32, 0)], [TransactionOutput(50_000, Script(MINE))], 0)
    with pytest.raises(MalformedError, match="comes with another transaction"):
        taken(psbt(non_witness_utxo=other))


def test_the_transaction_that_made_a_coin_counts_as_what_the_file_says_of_it() -> None:
    outputs = [TransactionOutput(49_000, Script(MINE)), TransactionOutput(50_000, Script(MINE))]
    made = Transaction(2, [TransactionInput(b"\x01" * 32, 0, witness=Witness([b"w"]))], outputs, 0)
    spent = TransactionInput(made.txid(), 1)
    file = PSBT(Transaction(2, [spent], [TransactionOutput(40_000, Script(PAYEE))], 0))
    file.inputs[0].non_witness_utxo = made

    (hint,) = read_file(file.serialize()).inputs
    assert hint.claimed == Output(50_000, MINE)
    file.inputs[0].witness_utxo = outputs[0]
    with pytest.raises(MalformedError, match="claims two different outputs"):
        read_file(file.serialize())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it does not begin with 'psbt'"),
        (b"not base64!", "neither binary nor base64"),
        (base64.b64encode(b"a text"), "it does not begin with 'psbt'"),
        (psbt()[:-1], "need 1 bytes, 0 are left"),
        (psbt() + b"\x00", "stand after the end"),
        (psbt() + bytes(FILE_BYTES_MAX), "leave out the transactions that made its inputs"),
    ],
)
def test_what_is_no_psbt_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        read_file(data)


def test_the_smallest_coins_that_are_worth_their_fee_become_one() -> None:
    coins = [
        Coin(bytes([place]) * 36, Output(amount, MINE), 7, coinbase=False)
        for place, amount in enumerate((900, 5_000, 70_000, 3_000, 8_000, 100))
    ]
    spending, left = gathered(coins, CHANGE, terms=TERMS, rate=20_000)

    assert [coin.amount for coin in spending.coins] == [8_000, 5_000, 3_000] and left == 1
    (paid,) = spending.outputs
    assert paid.script == CHANGE and paid.amount + spending.fee == 16_000
    with pytest.raises(MalformedError, match=r"0 of the wallet's coins are confirmed.*it takes two"):
        gathered(coins, CHANGE, terms=TERMS, rate=2_000_000)


def test_a_transaction_of_ours_has_the_id_that_others_give_it() -> None:
    tx = unsigned(list(COINS.values())[:1], [Output(40_000, PAYEE)], proofs={})

    assert txid(bare(read(tx)))[::-1] == PSBT.parse(tx).tx.txid()
