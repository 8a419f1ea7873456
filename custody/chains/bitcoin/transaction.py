"""Bitcoin transactions as bytes: PSBTs to be signed, their sizes, and signatures put in. Pure."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from policy.accounts import account_at
from policy.addresses import PREFIXES
from policy.bech32 import decode
from policy.decode.decoded import Refusal
from policy.decode.psbt import (
    SEQUENCE_REPLACEABLE,
    Input,
    Output,
    Transaction,
    bare,
    compact,
    parse_psbt,
    txid,
)
from policy.errors import MalformedError, OperationalError
from policy.model import Wallet
from policy.state import Job, KeyRecord

RELAY_RATE = 1_000
"""What nodes ask at least, in satoshi a 1000 virtual bytes; for a replacement, on top of what it replaces."""
_DUST_RATE, _SPENDING_BYTES = 3_000, 67
_TAPROOT = 0x51
_KEY_HASH_WEIGHT, _TAPROOT_WEIGHT = 4 * 41 + 108, 4 * 41 + 66
_WHOLE_WEIGHT = 4 * 10 + 2
_SIGHASH_ALL = b"\x01"
SCRIPTS_CACHED = 65_536


@dataclass(frozen=True, slots=True)
class Coin:
    """An unspent output of ours: its outpoint as 36 bytes, and when a block had it."""

    outpoint: bytes
    output: Output
    height: int
    coinbase: bool

    @property
    def amount(self) -> int:
        """In satoshi."""
        return self.output.amount

    @property
    def txid(self) -> str:
        """The transaction that made it, as people read it."""
        return self.outpoint[31::-1].hex()

    @property
    def text(self) -> str:
        """``txid:vout``: what a conflict slot names."""
        return f"{self.txid}:{int.from_bytes(self.outpoint[32:], 'little')}"

    @property
    def needs_proof(self) -> bool:
        """Whether the hash that is signed leaves other coins' amounts open (BIP 143)."""
        return self.output.script[0] != _TAPROOT


def outpoint(txid: str, place: int) -> bytes:
    """An outpoint's 36 bytes."""
    return bytes.fromhex(txid)[::-1] + place.to_bytes(4, "little")


@functools.lru_cache(maxsize=SCRIPTS_CACHED)
def script_of(chain: str, address: str) -> bytes:
    """The output script of a segwit address. Raises ``MalformedError``."""
    version, program = decode(PREFIXES[chain], address)
    return bytes([_TAPROOT if version else 0, len(program)]) + program


def unsigned(coins: Sequence[Coin], outputs: Sequence[Output], *, proofs: dict[bytes, bytes]) -> bytes:
    """The PSBT that spends ``coins``; ``proofs`` are transactions that made them, by outpoint."""
    inputs = tuple(Input(coin.outpoint, SEQUENCE_REPLACEABLE, coin.output) for coin in coins)
    tx = Transaction(2, inputs, tuple(outputs), 0)
    whole = bare(tx)
    fields = [b"psbt\xff\x01\x00", compact(len(whole)), whole, b"\x00"]
    for coin in coins:
        if coin.outpoint in proofs:
            fields += [b"\x01\x00", compact(len(proofs[coin.outpoint])), proofs[coin.outpoint]]
        spent = coin.output.to_bytes()
        fields += [b"\x01\x01", compact(len(spent)), spent, b"\x00"]
    return b"".join(fields) + b"\x00" * len(outputs)


def read(tx: bytes) -> Transaction:
    """A PSBT of ours. Raises ``MalformedError``."""
    try:
        return parse_psbt(tx)
    except Refusal as refusal:
        raise MalformedError(f"it is no PSBT that nodes sign: {refusal}") from refusal


def paths(tx: bytes, *, key: KeyRecord, wallet: Wallet, path: str) -> tuple[str, ...]:
    """The path of each input's account. Raises ``OperationalError`` for a foreign one."""
    accounts = {
        script_of(wallet.chain, account_at(key, one, chain=wallet.chain).address): one for one in wallet.paths
    }
    found = [accounts.get(one.spent.script) for one in read(tx).inputs]
    if None in found:
        raise OperationalError(f"input {found.index(None)} is of no account of {wallet.name}: plan it anew")
    return tuple(one for one in found if one is not None)


def finished(job: Job) -> tuple[bytes, bytes]:
    """The transaction of a signed job with its witnesses, and its txid in the order people read."""
    whole = bare(read(job.tx))
    raw = whole[:4] + b"\x00\x01" + whole[4:-4] + b"".join(witnesses(job)) + whole[-4:]
    return raw, txid(whole)[::-1]


def witnesses(job: Job) -> list[bytes]:
    """What finishes each input of a signed job's transaction."""
    return [
        _witness(one.spent.script, signature, public_key=signing.public_key)
        for one, signature, signing in zip(read(job.tx).inputs, job.signatures, job.signings, strict=True)
    ]


def without_witnesses(raw: bytes) -> bytes:
    """A transaction as its txid is made of it. Raises ``MalformedError`` for one that is cut off."""
    if raw[4:6] != b"\x00\x01":
        return raw
    at, count = _count(raw, 6)
    for _ in range(count):
        at, length = _count(raw, at + 36)
        at += length + 4
    at, count = _count(raw, at)
    for _ in range(count):
        at, length = _count(raw, at + 8)
        at += length
    return raw[:4] + raw[6:at] + raw[-4:]


def virtual_size(scripts: Iterable[bytes], outputs: Iterable[bytes]) -> int:
    """How large a transaction is at most that spends outputs under ``scripts`` and makes ``outputs``."""
    weight = _WHOLE_WEIGHT
    weight += sum(_TAPROOT_WEIGHT if one[0] == _TAPROOT else _KEY_HASH_WEIGHT for one in scripts)
    weight += sum(4 * (9 + len(one)) for one in outputs)
    return -(-weight // 4)


def dust(script: bytes) -> int:
    """An output under ``script`` with less than this is not relayed."""
    return _DUST_RATE * (9 + len(script) + _SPENDING_BYTES) // 1000


def _witness(script: bytes, signature: bytes, *, public_key: bytes) -> bytes:
    if script[0] == _TAPROOT:
        return b"\x01" + bytes([len(signature)]) + signature
    der = _der(signature) + _SIGHASH_ALL
    return b"\x02" + bytes([len(der)]) + der + bytes([len(public_key)]) + public_key


def _der(signature: bytes) -> bytes:
    """r and s as DER."""
    numbers = b""
    for part in (signature[:32], signature[32:64]):
        number = int.from_bytes(part, "big")
        data = number.to_bytes(number.bit_length() // 8 + 1, "big")
        numbers += b"\x02" + bytes([len(data)]) + data
    return b"\x30" + bytes([len(numbers)]) + numbers


def _count(raw: bytes, at: int) -> tuple[int, int]:
    """Where a length ends, and the length."""
    first = raw[at] if at < len(raw) else 0
    size = {253: 2, 254: 4, 255: 8}.get(first, 0)
    end = at + 1 + size
    if end > len(raw):
        raise MalformedError("the transaction is cut off")
    return end, int.from_bytes(raw[at + 1 : end], "little") if size else first
