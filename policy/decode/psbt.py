"""Partially signed Bitcoin transactions (BIP 174, version 0) of the one shape that is signed here.

What is accepted, and nothing else: the unsigned transaction as the only global field; of each input the
spent output (``PSBT_IN_WITNESS_UTXO``), before it perhaps the whole transaction that made it, without its
witnesses (``PSBT_IN_NON_WITNESS_UTXO``); no field of an output. The transaction has
version 2, no lock time, and inputs that signal replacement (BIP 125) and carry no script.
"""

import hashlib
from dataclasses import dataclass

from policy.ciphersuites import tagged
from policy.decode.decoded import require
from policy.decode.reader import Reader

PSBT_BYTES_MAX = 8 * 1024
INPUTS_MAX, OUTPUTS_MAX = 32, 2
MADE_MAX = PSBT_BYTES_MAX  # inputs or outputs of a transaction that made an input: less than its bytes
MONEY_MAX = 21_000_000 * 10**8
SEQUENCE_REPLACEABLE = 0xFFFFFFFD
_MAGIC = b"psbt\xff"
_GLOBAL_UNSIGNED_TX, _INPUT_NON_WITNESS_UTXO, _INPUT_WITNESS_UTXO = b"\x00", b"\x00", b"\x01"
_SIGHASH_ALL = (1).to_bytes(4, "little")
_EPOCH, _SIGHASH_DEFAULT, _KEY_PATH = b"\x00", b"\x00", b"\x00"


@dataclass(frozen=True, slots=True)
class Output:
    """An amount in satoshi under a script."""

    amount: int
    script: bytes

    def to_bytes(self) -> bytes:
        """As it stands in transactions; scripts here are shorter than 253 bytes."""
        return self.amount.to_bytes(8, "little") + bytes([len(self.script)]) + self.script


@dataclass(frozen=True, slots=True)
class Input:
    """What is spent: the outpoint's 36 bytes, and the output there as the writer of the PSBT claims it.

    It is ``proven`` where the transaction that made it comes along: its hash is in the outpoint.
    """

    outpoint: bytes
    sequence: int
    spent: Output
    proven: bool = False

    @property
    def outpoint_text(self) -> str:
        """``txid:vout``, the txid in the order people read it."""
        return f"{self.outpoint[31::-1].hex()}:{int.from_bytes(self.outpoint[32:], 'little')}"


@dataclass(frozen=True, slots=True)
class Transaction:
    """An unsigned transaction with what it spends."""

    version: int
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    lock_time: int

    @property
    def fee(self) -> int:
        """What the miners get; negative for a transaction that cannot be."""
        return sum(one.spent.amount for one in self.inputs) - sum(one.amount for one in self.outputs)


def signature_hash(tx: Transaction, index: int) -> bytes:
    """What input ``index`` signs: all inputs and outputs, by the kind of output that it spends."""
    if tx.inputs[index].spent.script[0] == 0:
        return _key_hash_hash(tx, index)
    return _taproot_hash(tx, index)


def _key_hash_hash(tx: Transaction, index: int) -> bytes:
    """BIP 143's hash for SIGHASH_ALL; the script is P2WPKH."""
    mine = tx.inputs[index]
    parts = (
        tx.version.to_bytes(4, "little"),
        _sha256(_sha256(b"".join(one.outpoint for one in tx.inputs))),
        _sha256(_sha256(b"".join(one.sequence.to_bytes(4, "little") for one in tx.inputs))),
        mine.outpoint,
        b"\x19\x76\xa9\x14" + mine.spent.script[2:] + b"\x88\xac",
        mine.spent.amount.to_bytes(8, "little"),
        mine.sequence.to_bytes(4, "little"),
        _sha256(_sha256(b"".join(one.to_bytes() for one in tx.outputs))),
        tx.lock_time.to_bytes(4, "little"),
        _SIGHASH_ALL,
    )
    return _sha256(_sha256(b"".join(parts)))


def _taproot_hash(tx: Transaction, index: int) -> bytes:
    """BIP 341's hash for a key path and SIGHASH_DEFAULT."""
    parts = (
        tx.version.to_bytes(4, "little"),
        tx.lock_time.to_bytes(4, "little"),
        _sha256(b"".join(one.outpoint for one in tx.inputs)),
        _sha256(b"".join(one.spent.amount.to_bytes(8, "little") for one in tx.inputs)),
        _sha256(b"".join(bytes([len(one.spent.script)]) + one.spent.script for one in tx.inputs)),
        _sha256(b"".join(one.sequence.to_bytes(4, "little") for one in tx.inputs)),
        _sha256(b"".join(one.to_bytes() for one in tx.outputs)),
        _KEY_PATH,
        index.to_bytes(4, "little"),
    )
    return tagged("TapSighash", _EPOCH + _SIGHASH_DEFAULT + b"".join(parts))


def bare(tx: Transaction) -> bytes:
    """A transaction without witnesses: what its txid is the hash of."""
    inputs = (one.outpoint + b"\x00" + one.sequence.to_bytes(4, "little") for one in tx.inputs)
    parts = (
        tx.version.to_bytes(4, "little"),
        compact(len(tx.inputs)),
        *inputs,
        compact(len(tx.outputs)),
        *(one.to_bytes() for one in tx.outputs),
        tx.lock_time.to_bytes(4, "little"),
    )
    return b"".join(parts)


def txid(whole: bytes) -> bytes:
    """The id of a transaction without witnesses, in the order that transactions have it."""
    return _sha256(_sha256(whole))


def compact(count: int) -> bytes:
    """A length in its shortest form."""
    if count < 253:
        return bytes([count])
    if count < 1 << 16:
        return b"\xfd" + count.to_bytes(2, "little")
    return b"\xfe" + count.to_bytes(4, "little")


def parse_psbt(data: bytes) -> Transaction:
    """Read a PSBT of the accepted shape. Raises ``Refusal``."""
    require(len(data) <= PSBT_BYTES_MAX, f"{len(data)} bytes, at most {PSBT_BYTES_MAX} are decoded")
    reader = Reader(data)
    require(reader.take(len(_MAGIC), "magic") == _MAGIC, "it is not a PSBT")
    body = Reader(_value(reader, _key(reader, "global fields"), _GLOBAL_UNSIGNED_TX, name="global fields"))
    _end(reader, "global fields")
    version = body.integer(4, "version")
    require(version == 2, f"the transaction has version {version}, not 2")
    unspent = [_input(body, index) for index in range(_count(body, "inputs", INPUTS_MAX))]
    outputs = [_output(body, f"output {index}") for index in range(_count(body, "outputs", OUTPUTS_MAX))]
    lock_time = body.integer(4, "lock time")
    require(lock_time == 0, f"the transaction has a lock time, {lock_time}")
    body.done()
    require(len(set(unspent)) == len(unspent), "an outpoint is spent twice")
    inputs = [_claimed(reader, index, outpoint=outpoint) for index, outpoint in enumerate(unspent)]
    for index in range(len(outputs)):
        require(reader.integer(1, f"fields of output {index}") == 0, f"output {index} has fields")
    reader.done()
    return Transaction(version, tuple(inputs), tuple(outputs), lock_time)


def _count(reader: Reader, name: str, count_max: int) -> int:
    count = reader.compact_size(name)
    require(1 <= count <= count_max, f"{count} {name}, 1 to {count_max} are decoded")
    return count


def _input(reader: Reader, index: int) -> bytes:
    outpoint = reader.take(36, f"outpoint of input {index}")
    require(reader.compact_size(f"script of input {index}") == 0, f"input {index} carries a script")
    sequence = reader.integer(4, f"sequence of input {index}")
    require(sequence == SEQUENCE_REPLACEABLE, f"input {index} has sequence {sequence}, not replaceable")
    return outpoint


def _output(reader: Reader, name: str) -> Output:
    amount = reader.integer(8, name)
    require(0 < amount <= MONEY_MAX, f"{name} has {amount} satoshi, not 1 to {MONEY_MAX}")
    length = reader.compact_size(name)
    return Output(amount, reader.take(length, f"script of {name}"))


def _claimed(reader: Reader, index: int, *, outpoint: bytes) -> Input:
    """Input ``index`` with the output it spends, as its fields have it."""
    name = f"fields of input {index}"
    key, made = _key(reader, name), None
    if key == _INPUT_NON_WITNESS_UTXO:
        made = _value(reader, key, _INPUT_NON_WITNESS_UTXO, name=name)
        key = _key(reader, name)
    value = Reader(_value(reader, key, _INPUT_WITNESS_UTXO, name=name))
    spent = _output(value, f"output spent by input {index}")
    value.done()
    _end(reader, name)
    if made is not None:
        require(_sha256(_sha256(made)) == outpoint[:32], f"input {index} comes with another transaction")
        outputs, place = _outputs_made(Reader(made), index), int.from_bytes(outpoint[32:], "little")
        require(outputs[place : place + 1] == [spent], f"input {index} is not the output it claims to be")
    return Input(outpoint, SEQUENCE_REPLACEABLE, spent, proven=made is not None)


def _outputs_made(reader: Reader, index: int) -> list[Output]:
    """The outputs of the transaction that made input ``index``; outputs of any script, or of nothing."""
    name = f"transaction that made input {index}"
    reader.take(4, name)
    for _ in range(_count(reader, f"inputs of the {name}", MADE_MAX)):
        reader.take(36, name)
        reader.take(reader.compact_size(name) + 4, name)
    outputs = []
    for _ in range(_count(reader, f"outputs of the {name}", MADE_MAX)):
        amount = reader.integer(8, name)
        outputs.append(Output(amount, reader.take(reader.compact_size(name), name)))
    reader.take(4, name)
    reader.done()
    return outputs


def _key(reader: Reader, name: str) -> bytes:
    return reader.take(reader.compact_size(name), name)


def _value(reader: Reader, key: bytes, expected: bytes, *, name: str) -> bytes:
    require(key == expected, f"{name}: expected field {expected.hex()}, found {key.hex() or 'none'}")
    return reader.take(reader.compact_size(name), name)


def _end(reader: Reader, name: str) -> None:
    require(reader.integer(1, name) == 0, f"{name}: there are more than are expected")


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
