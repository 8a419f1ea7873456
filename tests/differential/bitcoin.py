"""Bitcoin: PSBTs read by embit, which also builds the plain ones and hashes what each input signs.

Cases are payments and cancellations of one to four inputs, made by hand so that every field can be wrong,
missing, there twice or in contradiction to another.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import TypeVar

from embit.networks import NETWORKS
from embit.psbt import PSBT, InputScope
from embit.script import Script
from embit.transaction import Transaction, TransactionInput, TransactionOutput

from policy.accounts import Account
from policy.approval import Slot
from policy.decode import bitcoin
from policy.decode.decoded import Source
from policy.values import replace as changed
from tests.differential.comparing import Case, Comparison, Other, Payment, Reading
from tests.differential.spoiling import chance, spoiled

CHAINS = {"bitcoin:mainnet": "main", "bitcoin:testnet": "test", "bitcoin:regtest": "regtest"}
ADDRESSES_CACHED = 256
REPLACEABLE = 0xFFFFFFFD
KEY_HASH_BYTES = 20
MONEY_MAX = 21_000_000 * 10**8
Fields = list[tuple[bytes, bytes]]
T = TypeVar("T")


def payment(tx: bytes, source: Source) -> Reading:
    """What embit reads as paid to the one address that is not the wallet's, or to the only one there is."""
    found = _read(tx, source)
    if isinstance(found, Other):
        return found
    paid = [(address, amount) for address, amount in found.paid if not source.owns(address)]
    paid = paid or list(found.paid if len(found.paid) == 1 < len(found.signers) else ())
    if len(paid) != 1:
        return Other(f"{len(paid)} outputs pay somebody else")
    return found.reading(source, *paid[0])


def cancellation(tx: bytes, source: Source) -> Reading:
    """Whether embit reads one input, and one output to the wallet itself."""
    found = _read(tx, source)
    if isinstance(found, Other):
        return found
    if len(found.signers) != 1 or len(found.paid) != 1 or not source.owns(found.paid[0][0]):
        return Other("not everything goes to one address of the wallet")
    return found.reading(source, found.paid[0][0], 0)


@dataclass(frozen=True, slots=True)
class _Read:
    signers: tuple[str, ...]
    outpoint: str
    paid: tuple[tuple[str, int], ...]
    fee: int
    messages: tuple[bytes, ...]

    def reading(self, source: Source, recipient: str, amount: int) -> Payment:
        anchor = Slot(source.chain, self.outpoint, 0)
        return Payment(self.signers, anchor, None, recipient, amount, self.fee, self.messages)


def _read(tx: bytes, source: Source) -> _Read | Other:
    try:
        return _parsed(tx, source.chain)
    except Exception as error:  # noqa: BLE001 - embit raises whatever comes up, assertions among it
        return Other(f"embit does not read it: {error!r}")


def _parsed(tx: bytes, chain: str) -> _Read | Other:
    psbt = PSBT.parse(tx)
    spent = [scope.utxo for scope in psbt.inputs]
    outpoints = [(one.txid, one.vout) for one in psbt.tx.vin]
    if not spent or len(set(outpoints)) < len(outpoints):
        return Other("it spends nothing, or an outpoint twice")
    if any(scope.sighash_type for scope in psbt.inputs):
        return Other("it asks for another kind of signature")
    kinds = {one.script_pubkey.script_type() for one in spent}
    if kinds not in ({"p2tr"}, {"p2wpkh"}):
        return Other("it spends something else than taproot outputs, or else than key hashes")
    if any(_contradicts(scope, one) for scope, one in zip(psbt.inputs, psbt.tx.vin, strict=True)):
        return Other("an output is not what the transaction says that made it")
    hidden = [scope for scope in psbt.inputs if scope.non_witness_utxo is None]
    if kinds == {"p2wpkh"} and hidden and len(spent) > 1:
        return Other("amounts are hidden")
    amounts = [one.value for one in (*spent, *psbt.tx.vout)]
    fee = psbt.fee()
    if fee < 0 or not all(0 < amount <= MONEY_MAX for amount in amounts):
        return Other("no money of that amount exists")
    return _Read(
        signers=tuple(_address(one.script_pubkey.data, chain) for one in spent),
        outpoint=f"{outpoints[0][0].hex()}:{outpoints[0][1]}",
        paid=tuple((_address(one.script_pubkey.data, chain), one.value) for one in psbt.tx.vout),
        fee=fee,
        messages=tuple(psbt.sighash(i, sighash=int(kinds == {"p2wpkh"})) for i in range(len(spent))),
    )


def _contradicts(scope: InputScope, one: TransactionInput) -> bool:
    made = scope.non_witness_utxo
    if made is None:
        return scope.witness_utxo is None
    if made.txid() != one.txid or one.vout >= len(made.vout) or scope.witness_utxo is None:
        return True
    return bool(made.vout[one.vout].serialize() != scope.witness_utxo.serialize())


# --- cases ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Draft:
    """A PSBT to be: everything that stands in it, field by field; scripts are whole."""

    spent: tuple[tuple[int, bytes], ...]
    paid: tuple[tuple[int, bytes], ...]
    outpoints: tuple[bytes, ...]
    sequences: tuple[int, ...]
    version: int = 2
    lock_time: int = 0
    script_sig: bytes = b""
    segwit: bool = False
    in_global: tuple[tuple[bytes, bytes], ...] = ()
    in_inputs: tuple[tuple[bytes, bytes], ...] = ()
    in_outputs: tuple[tuple[bytes, bytes], ...] = ()
    witness_utxo: bool = True
    made: tuple[bytes, ...] = ()

    def transaction(self, wide: Random | None) -> bytes:
        """The unsigned transaction's bytes; with a generator, some lengths are not the shortest."""
        parts = [self.version.to_bytes(4, "little"), b"\0\1" if self.segwit else b""]
        parts.append(_compact(len(self.outpoints), wide))
        for outpoint, sequence in zip(self.outpoints, self.sequences, strict=True):
            parts += [outpoint, _string(self.script_sig, wide), sequence.to_bytes(4, "little")]
        parts.append(_compact(len(self.paid), wide))
        parts += [_output(one, wide) for one in self.paid]
        parts += [b"\0" * len(self.outpoints) if self.segwit else b"", self.lock_time.to_bytes(4, "little")]
        return b"".join(parts)

    def psbt(self, wide: Random | None = None) -> bytes:
        """The PSBT's bytes."""
        parts = [b"psbt\xff", _map([(b"\0", self.transaction(wide)), *self.in_global], wide)]
        for index, one in enumerate(self.spent):
            known = [(b"\1", _output(one, wide))] if self.witness_utxo else []
            proof = [(b"\0", made) for made in self.made[index : index + 1] if made]
            parts.append(_map([*proof, *known, *self.in_inputs], wide))
        parts += [_map(list(self.in_outputs), wide) for _ in self.paid]
        return b"".join(parts)


def generate(random: Random) -> Case:
    """A payment or a cancellation, in half of the cases with something wrong."""
    chain = random.choice(tuple(CHAINS))
    length = random.choice((20, 32))
    programs = [random.randbytes(length) for _ in range(random.choice((1, 1, 2, 4)))]
    change = random.randbytes(length)
    names = [_address(_mine(program), chain) for program in programs]
    own = {*names, _address(_mine(change), chain)}
    source = Source(chain, tuple(Account("m/0/0", name, b"", 1, b"") for name in names), own.__contains__)
    draft = _draft(random, programs, change)
    if random.random() < 0.5:
        pays = any(_address(script, chain) not in own for _, script in draft.paid)
        return Case(_built(draft), source, plain=pays)
    for _ in range(random.choice((0, 1, 1, 2))):
        draft = _spoil(random, draft)
    if chance(random, 0.1):
        source = _other_source(random, source)
    tx = draft.psbt(random if chance(random, 0.1) else None)
    return Case(spoiled(random, tx) if chance(random, 0.15) else tx, source)


def _draft(random: Random, programs: list[bytes], change: bytes) -> Draft:
    amounts = [random.randint(1_000, 10 ** random.randint(4, 14)) for _ in programs]
    total, fee = sum(amounts), random.randint(0, 900)
    kind = random.choice(("exact", "change", "change", "cancel"))
    paid = [(total - fee, _mine(change))]
    if kind != "cancel":
        amount = total - fee if kind == "exact" else random.randint(1, total - fee - 1)
        paid = [(amount, _segwit(random)), (total - fee - amount, _mine(change))][: 1 + (kind == "change")]
        random.shuffle(paid)
    spent = tuple((amount, _mine(program)) for amount, program in zip(amounts, programs, strict=True))
    outpoints = tuple(random.randbytes(32) + random.randrange(9).to_bytes(4, "little") for _ in programs)
    made: tuple[bytes, ...] = ()
    if len(change) == KEY_HASH_BYTES:
        before = [_maker(random, one) for one in spent]
        outpoints = tuple(outpoint for outpoint, _ in before)
        proven = len(spent) > 1 or chance(random, 0.5)
        made = tuple(raw for _, raw in before) if proven else ()
    return Draft(spent, tuple(paid), outpoints, sequences=(REPLACEABLE,) * len(programs), made=made)


def _maker(random: Random, output: tuple[int, bytes]) -> tuple[bytes, bytes]:
    """A transaction of another library that made an output, and where in it that stands."""
    place = random.randrange(4)
    paid = [TransactionOutput(1, Script(_script(random))) for _ in range(place)]
    paid.append(TransactionOutput(output[0], Script(output[1])))
    one = TransactionInput(
        random.randbytes(32), random.randrange(4), Script(random.randbytes(random.randrange(99)))
    )
    tx = Transaction(random.choice((1, 2)), [one], paid, random.randrange(9))
    return tx.txid()[::-1] + place.to_bytes(4, "little"), bytes(tx.serialize())


def _built(draft: Draft) -> bytes:
    """The PSBT as embit builds it."""
    inputs = [
        TransactionInput(outpoint[31::-1], int.from_bytes(outpoint[32:], "little"), sequence=sequence)
        for outpoint, sequence in zip(draft.outpoints, draft.sequences, strict=True)
    ]
    outputs = [TransactionOutput(amount, Script(script)) for amount, script in draft.paid]
    made = PSBT(Transaction(draft.version, inputs, outputs, draft.lock_time))
    for scope, (amount, script) in zip(made.inputs, draft.spent, strict=True):
        scope.witness_utxo = TransactionOutput(amount, Script(script))
    for scope, raw in zip(made.inputs, draft.made, strict=False):
        scope.non_witness_utxo = Transaction.parse(raw) if raw else None
    return bytes(made.serialize())


def _spoil(random: Random, draft: Draft) -> Draft:
    """The draft with one thing wrong."""
    if not draft.spent or not draft.paid:
        return draft
    extra = ((random.choice((b"\2", b"\3", b"\4", b"\5", b"\x13", b"\x17", b"\xfc\1")), random.randbytes(4)),)
    other_tx = replace(draft, version=random.choice((1, 2))).transaction(None)
    amount = random.choice((0, 1, MONEY_MAX, MONEY_MAX + 1, 2**63, 2**64 - 1))
    index = random.randrange(len(draft.spent))
    return random.choice(
        (
            replace(draft, version=random.choice((0, 1, 3, 2**32 - 1))),
            replace(draft, lock_time=random.choice((1, 500_000_000, 2**32 - 1))),
            replace(draft, sequences=(random.choice((0, 2**32 - 2, 2**32 - 1)),) * len(draft.sequences)),
            replace(draft, script_sig=random.randbytes(random.randint(1, 30))),
            replace(draft, segwit=True),
            replace(draft, in_global=random.choice((((b"\0", other_tx),), ((b"\xfb", bytes(4)),), extra))),
            replace(draft, in_inputs=((b"\1", _output((amount, _segwit(random)), None)),)),
            replace(draft, in_inputs=((b"\0", other_tx),)),
            replace(draft, in_inputs=((b"\3", random.choice((0, 1, 2, 3, 0x81)).to_bytes(4, "little")),)),
            replace(draft, in_inputs=extra),
            replace(draft, in_outputs=extra),
            replace(draft, witness_utxo=False),
            replace(draft, made=()),
            replace(draft, made=draft.made[::-1]),
            replace(draft, made=(*draft.made[:index], b"", *draft.made[index + 1 :])),
            replace(draft, made=(other_tx, *draft.made[1:])),
            replace(draft, made=tuple(one[:-1] for one in draft.made)),
            replace(draft, witness_utxo=False, in_inputs=((b"\0", other_tx),)),
            replace(draft, spent=_put(draft.spent, index, (amount, draft.spent[index][1]))),
            replace(draft, spent=_put(draft.spent, index, (draft.spent[index][0], _script(random)))),
            replace(draft, spent=_put(draft.spent, index, draft.spent[0])),
            replace(draft, outpoints=_put(draft.outpoints, index, draft.outpoints[0])),
            replace(draft, paid=_put(draft.paid, 0, (amount, draft.paid[0][1]))),
            replace(draft, paid=_put(draft.paid, 0, (draft.paid[0][0], _script(random)))),
            replace(draft, paid=(*draft.paid, (1, _segwit(random)))),
            replace(draft, paid=(*draft.paid, (random.choice((0, 1)), _script(random)))),
            replace(draft, paid=draft.paid[:1] * random.choice((2, 3))),
            replace(draft, paid=()),
            replace(draft, spent=(), outpoints=(), sequences=()),
        )
    )


def _put(found: tuple[T, ...], index: int, item: T) -> tuple[T, ...]:
    return (*found[:index], item, *found[index + 1 :])


def _other_source(random: Random, source: Source) -> Source:
    accounts = list(source.accounts)
    stranger = Account("m/0/1", _address(_segwit(random), source.chain), b"", 1, b"")
    return random.choice(
        (
            changed(source, accounts=tuple(accounts[:-1])),
            changed(source, accounts=(*accounts, stranger)),
            changed(source, accounts=(*accounts[1:], stranger)),
            changed(source, accounts=tuple(reversed(accounts))),
            changed(source, chain=random.choice(tuple(CHAINS))),
            changed(source, owns=lambda _: False),
        )
    )


def _script(random: Random) -> bytes:
    """An output's script of any kind."""
    return random.choice(
        (
            _segwit(random),
            bytes.fromhex("76a914") + random.randbytes(20) + bytes.fromhex("88ac"),
            bytes.fromhex("a914") + random.randbytes(20) + b"\x87",
            b"\x6a\x04" + random.randbytes(4),
            bytes.fromhex("51024e73"),
            b"\x52\x20" + random.randbytes(32),
            b"\x51\x14" + random.randbytes(20),
            b"\x00\x15" + random.randbytes(21),
            b"\x51\x20" + random.randbytes(33),
            b"\x51\x4c\x20" + random.randbytes(32),
            b"",
            b"\x51",
            b"\x51" * 300,
            random.randbytes(random.randrange(40)),
        )
    )


def _segwit(random: Random) -> bytes:
    version, length = random.choice(((0, 20), (0, 32), (1, 32)))
    return bytes([0x51 if version else 0, length]) + random.randbytes(length)


def _mine(program: bytes) -> bytes:
    """The script of an account: a key hash, or a taproot output."""
    return (b"\0" if len(program) == KEY_HASH_BYTES else b"\x51") + bytes([len(program)]) + program


@lru_cache(maxsize=ADDRESSES_CACHED)  # embit's bech32 takes most of the time otherwise
def _address(script: bytes, chain: str) -> str:
    return str(Script(script).address(NETWORKS[CHAINS[chain]]))


def _output(output: tuple[int, bytes], wide: Random | None) -> bytes:
    return output[0].to_bytes(8, "little") + _string(output[1], wide)


def _map(fields: Fields, wide: Random | None) -> bytes:
    return b"".join(_string(key, wide) + _string(value, wide) for key, value in fields) + b"\0"


def _string(data: bytes, wide: Random | None) -> bytes:
    return _compact(len(data), wide) + data


def _compact(value: int, wide: Random | None) -> bytes:
    if wide is not None and chance(wide, 0.1):
        count = wide.choice((2, 4, 8))
        return bytes([{2: 253, 4: 254, 8: 255}[count]]) + value.to_bytes(count, "little")
    return bytes([value]) if value < 253 else b"\xfd" + value.to_bytes(2, "little")


COMPARISON = Comparison("bitcoin", generate, bitcoin, payment, cancellation)
