"""PSBTs that other wallets make and read (BIP 174 and 370): what one says, and ours written for them. Pure.

What a file says is a hint: which coins to spend, and into what. Amounts and scripts of coins are never taken
from it. A field that changes what is signed, or when it counts, is refused; what only informs, such as
derivation paths, is passed over.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from custody.chains.bitcoin.transaction import without_witnesses
from policy.decode.decoded import Refusal, require
from policy.decode.psbt import INPUTS_MAX, MONEY_MAX, Output, compact, txid
from policy.decode.reader import Reader
from policy.errors import MalformedError

FILE_BYTES_MAX: Final = 32 * 1024
VERSIONS: Final = (0, 2)
OUTPUTS_READ_MAX: Final = 16
_MAGIC: Final = b"psbt\xff"
_UNSIGNED, _TX_VERSION, _LOCK_TIME, _INPUTS, _OUTPUTS, _VERSION = (
    b"\x00",
    b"\x02",
    b"\x03",
    b"\x04",
    b"\x05",
    b"\xfb",
)
_MADE, _SPENT, _SIGHASH, _TXID, _PLACE, _SEQUENCE = b"\x00", b"\x01", b"\x03", b"\x0e", b"\x0f", b"\x10"
_AMOUNT, _SCRIPT = b"\x03", b"\x04"
_FINAL_WITNESS: Final = b"\x08"
_SIGNED: Final = frozenset({2, 7, 8, 19, 20})  # partial, final, by a key path, by a script path
_TIMED: Final = frozenset({17, 18})
_SEQUENCE_FINAL: Final = 0xFFFFFFFF
_SIGHASHES: Final = (0, 1)
_Map = dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Hint:
    """A coin that a file spends: its outpoint, and the output that it says to be there, if it says so."""

    outpoint: bytes
    sequence: int
    claimed: Output | None = None


@dataclass(frozen=True, slots=True)
class Foreign:
    """What a file asks for."""

    inputs: tuple[Hint, ...]
    outputs: tuple[Output, ...]
    lock_time: int


@dataclass(frozen=True, slots=True)
class _Maps:
    """The fields of a file: those of the whole, of each input, of each output."""

    whole: _Map
    inputs: list[_Map]
    outputs: list[_Map]


def read_file(data: bytes) -> Foreign:
    """Read a PSBT of version 0 or 2, binary or in base64. Raises ``MalformedError``, saying what to do."""
    if len(data) > FILE_BYTES_MAX:
        raise MalformedError(
            f"the PSBT has {len(data)} bytes, at most {FILE_BYTES_MAX} are read: leave out the "
            "transactions that made its inputs, they are not needed"
        )
    try:
        maps = _maps(_binary(data))
        found = _of_version_2(maps) if _version(maps.whole) else _of_version_0(maps)
        inputs = [
            _hint(one, fields, at)
            for at, (one, fields) in enumerate(zip(found.inputs, maps.inputs, strict=True))
        ]
    except Refusal as refusal:
        raise MalformedError(f"the PSBT cannot be used: {refusal}") from refusal
    return Foreign(tuple(inputs), found.outputs, found.lock_time)


def written(tx: bytes, *, version: int = 0, witnesses: Sequence[bytes] = ()) -> bytes:
    """A PSBT of ours for other wallets; ``witnesses`` finish the inputs of one that is signed.

    Raises ``MalformedError`` for a version that there is not.
    """
    if version not in VERSIONS:
        raise MalformedError(f"there is no PSBT of version {version}: ask for 0 or 2")
    maps = _maps(tx)
    for fields, witness in zip(maps.inputs, witnesses, strict=bool(witnesses)):
        fields[_FINAL_WITNESS] = witness
    if version:
        _raise_version(maps)
    parts = (maps.whole, *maps.inputs, *maps.outputs)
    return _MAGIC + b"".join(_bytes(one) for one in parts)


def _binary(data: bytes) -> bytes:
    if data.startswith(_MAGIC):
        return data
    try:
        found = base64.b64decode(b"".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal("it is neither binary nor base64: export it as one of them") from error
    require(found.startswith(_MAGIC), "it is none: it does not begin with 'psbt'")
    return found


def _maps(data: bytes) -> _Maps:
    reader = Reader(data)
    reader.take(len(_MAGIC), "magic")
    whole = _map(reader, "global fields")
    if _version(whole):
        require(_UNSIGNED not in whole, "version 2 has no unsigned transaction of its own")
        counts = [_counted(whole, key, name) for key, name in ((_INPUTS, "inputs"), (_OUTPUTS, "outputs"))]
    else:
        require(_UNSIGNED in whole, "it has no unsigned transaction")
        found = _transaction(whole[_UNSIGNED], "unsigned transaction")
        counts = [len(found.inputs), len(found.outputs)]
    _check_count(counts[0], "inputs", INPUTS_MAX)
    _check_count(counts[1], "outputs", OUTPUTS_READ_MAX)
    inputs = [_map(reader, f"fields of input {at}") for at in range(counts[0])]
    outputs = [_map(reader, f"fields of output {at}") for at in range(counts[1])]
    reader.done()
    return _Maps(whole, inputs, outputs)


def _version(whole: _Map) -> int:
    version = _number(whole, _VERSION, "the version", default=0)
    require(version in VERSIONS, f"it has version {version}: export it as 0 or 2")
    return version


def _map(reader: Reader, name: str) -> _Map:
    found: _Map = {}
    while size := reader.compact_size(name):
        key = reader.take(size, name)
        require(key not in found, f"{name}: field {key[:8].hex()} is there twice")
        found[key] = reader.take(reader.compact_size(name), name)
    return found


def _of_version_0(maps: _Maps) -> Foreign:
    return _transaction(maps.whole[_UNSIGNED], "unsigned transaction")


def _of_version_2(maps: _Maps) -> Foreign:
    version = _number(maps.whole, _TX_VERSION, "the transaction's version")
    require(version in (1, 2), f"the transaction has version {version}, not 2")
    inputs = [
        Hint(
            _exactly(fields, _TXID, 32, f"txid of input {at}")
            + _exactly(fields, _PLACE, 4, f"place of input {at}"),
            _number(fields, _SEQUENCE, f"sequence of input {at}", default=_SEQUENCE_FINAL),
        )
        for at, fields in enumerate(maps.inputs)
    ]
    outputs = [
        _amount_of(
            int.from_bytes(_exactly(fields, _AMOUNT, 8, f"amount of output {at}"), "little"),
            fields.get(_SCRIPT, b""),
            f"output {at}",
        )
        for at, fields in enumerate(maps.outputs)
    ]
    lock_time = _number(maps.whole, _LOCK_TIME, "the lock time", default=0)
    return Foreign(tuple(inputs), tuple(outputs), lock_time)


def _hint(one: Hint, fields: _Map, at: int) -> Hint:
    """An input with what its fields claim. What is signed, or signed otherwise than here, is refused."""
    kinds = {key[0] for key in fields}
    require(not kinds & _SIGNED, f"input {at} is signed already: hand in an unsigned one, we sign it here")
    require(not kinds & _TIMED, f"input {at} asks for a lock time: make it without")
    sighash = _number(fields, _SIGHASH, f"sighash of input {at}", default=0)
    require(sighash in _SIGHASHES, f"input {at} has sighash {sighash}: only ALL and DEFAULT are signed")
    require(one.sequence >= 1 << 31, f"input {at} has a relative lock time: make it without")
    return Hint(one.outpoint, one.sequence, _claimed(one.outpoint, fields, at))


def _claimed(outpoint: bytes, fields: _Map, at: int) -> Output | None:
    claims = []
    if _SPENT in fields:
        reader = Reader(fields[_SPENT])
        claims.append(_output(reader, f"output spent by input {at}"))
        reader.done()
    if _MADE in fields:
        made = _bare(fields[_MADE], at)
        require(txid(made) == outpoint[:32], f"input {at} comes with another transaction")
        outputs, place = _transaction(made, f"transaction that made input {at}", spends=False), outpoint[32:]
        claims += outputs.outputs[(index := int.from_bytes(place, "little")) : index + 1]
    require(len(set(claims)) < 2, f"input {at} claims two different outputs")
    return claims[0] if claims else None


def _bare(raw: bytes, at: int) -> bytes:
    try:
        return without_witnesses(raw)
    except MalformedError as error:
        raise Refusal(f"input {at}: {error}") from error


def _transaction(raw: bytes, name: str, *, spends: bool = True) -> Foreign:
    """A transaction without witnesses; one that ``spends`` is to be signed, so it has no scripts yet."""
    reader = Reader(raw)
    version = reader.integer(4, name)
    require(not spends or version in (1, 2), f"the transaction has version {version}, not 2")
    inputs = []
    for at in range(_length(reader, f"inputs of the {name}", len(raw))):
        outpoint, script = reader.take(36, name), reader.take(reader.compact_size(name), name)
        require(not (spends and script), f"input {at} carries a script: hand in an unsigned one")
        inputs.append(Hint(outpoint, reader.integer(4, name)))
    count = _length(reader, f"outputs of the {name}", len(raw))
    outputs = [_output(reader, f"output {at} of the {name}") for at in range(count)]
    lock_time = reader.integer(4, name)
    reader.done()
    return Foreign(tuple(inputs), tuple(outputs), lock_time)


def _length(reader: Reader, name: str, most: int) -> int:
    count = reader.compact_size(name)
    require(count <= most, f"{count} {name} are more than its bytes")
    return count


def _output(reader: Reader, name: str) -> Output:
    amount = reader.integer(8, name)
    return _amount_of(amount, reader.take(reader.compact_size(name), name), name)


def _amount_of(amount: int, script: bytes, name: str) -> Output:
    require(amount <= MONEY_MAX, f"{name} has {amount} satoshi, more than there are")
    return Output(amount, script)


def _check_count(count: int, name: str, count_max: int) -> None:
    require(1 <= count <= count_max, f"it has {count} {name}, 1 to {count_max} are read")


def _counted(fields: _Map, key: bytes, name: str) -> int:
    require(key in fields, f"the number of {name} is missing")
    reader = Reader(fields[key])
    count = reader.compact_size(f"number of {name}")
    reader.done()
    return count


def _exactly(fields: _Map, key: bytes, size: int, name: str) -> bytes:
    found = fields.get(key, b"")
    require(len(found) == size, f"{name} has {len(found)} bytes, not {size}")
    return found


def _number(fields: _Map, key: bytes, name: str, *, default: int | None = None) -> int:
    if default is not None and key not in fields:
        return default
    return int.from_bytes(_exactly(fields, key, 4, name), "little")


def _raise_version(maps: _Maps) -> None:
    """Put what version 0 has in one transaction into the fields of version 2."""
    tx = _transaction(maps.whole.pop(_UNSIGNED), "unsigned transaction")
    maps.whole.update(
        {
            _TX_VERSION: (2).to_bytes(4, "little"),
            _LOCK_TIME: tx.lock_time.to_bytes(4, "little"),
            _INPUTS: compact(len(tx.inputs)),
            _OUTPUTS: compact(len(tx.outputs)),
            _VERSION: (2).to_bytes(4, "little"),
        }
    )
    for one, fields in zip(tx.inputs, maps.inputs, strict=True):
        fields |= {
            _TXID: one.outpoint[:32],
            _PLACE: one.outpoint[32:],
            _SEQUENCE: one.sequence.to_bytes(4, "little"),
        }
    for paid, fields in zip(tx.outputs, maps.outputs, strict=True):
        fields |= {_AMOUNT: paid.amount.to_bytes(8, "little"), _SCRIPT: paid.script}


def _bytes(fields: _Map) -> bytes:
    found = sorted(fields.items())
    return b"".join(compact(len(key)) + key + compact(len(value)) + value for key, value in found) + b"\x00"
