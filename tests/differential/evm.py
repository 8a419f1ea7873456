"""EVM: read by the execution specification's RLP into its own types, hashed by eth-account from the fields.

Cases are EIP-1559 and EIP-155 transfers, made by hand so that every field can be wrong and every length be
written in a wrong way, beside transactions of other types, contract calls and mere bytes.
"""

from dataclasses import dataclass
from random import Random
from typing import Any

from eth_abi.abi import decode as decode_abi
from eth_abi.exceptions import DecodingError as AbiError
from eth_account._utils.legacy_transactions import serializable_unsigned_transaction_from_dict
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.abi import function_signature_to_4byte_selector
from ethereum_rlp.exceptions import RLPException
from ethereum_rlp.rlp import decode_to, encode
from ethereum_types.bytes import Bytes, Bytes0, Bytes20, Bytes32
from ethereum_types.numeric import U64, U256, Uint

from policy.accounts import Account
from policy.approval import Slot
from policy.decode import evm
from policy.decode.decoded import Call, Source
from tests.differential.comparing import Calls, Case, Comparison, Other, Payment, Reading
from tests.differential.spoiling import RawRlp, chance, rlp_oddly, spoiled

CHAIN_IDS = (1, 10, 137, 8453, 42161, 31337, 2**53 - 1)
TRANSFER = function_signature_to_4byte_selector("transfer(address,uint256)")
METHODS = (
    "approve(address,uint256)",
    "transferFrom(address,address,uint256)",
    "transferOwnership(address)",
    "mint(address,uint256)",
    "transfer(address,uint128)",
    "transfer(bytes32,uint256)",
    "safeTransferFrom(address,address,uint256)",
    "execTransaction(address,uint256,bytes,uint8)",
)


@dataclass(frozen=True)
class Access:
    """An entry of an access list (EIP-2930)."""

    account: Bytes20
    slots: tuple[Bytes32, ...]


@dataclass(frozen=True)
class DynamicFee:
    """The unsigned fields of EIP-1559, with the types that the execution specification gives them."""

    chain_id: U64
    nonce: U256
    priority_fee: Uint
    fee: Uint
    gas: Uint
    to: Bytes0 | Bytes20
    value: U256
    data: Bytes
    access_list: tuple[Access, ...]


@dataclass(frozen=True)
class Protected:
    """What EIP-155 has hashed: the legacy fields, the chain id and two zeros."""

    nonce: U256
    fee: Uint
    gas: Uint
    to: Bytes0 | Bytes20
    value: U256
    data: Bytes
    chain_id: U64
    r: Uint
    s: Uint


def payment(tx: bytes, source: Source) -> Reading:
    """What a transaction pays by the specification's types and an ABI decoder."""
    found = _read(tx, source)
    if isinstance(found, Other):
        return found
    to, data = "0x" + bytes(found.to).hex(), bytes(found.data)
    contract, recipient, amount = None, to, int(found.value)
    if data:
        if data[:4] != TRANSFER:
            return Other("it calls something else than a token's transfer")
        if found.value:
            return Other("it moves both a token and the native asset")
        try:
            receiver, amount = decode_abi(["address", "uint256"], data[4:])
        except AbiError as error:
            return Other(f"no arguments of transfer: {error}")
        contract, recipient = to, str(receiver).lower()
    if amount == 0:
        return Other("it moves nothing")
    return _reading(found, source, (contract, recipient, amount))


def cancellation(tx: bytes, source: Source) -> Reading:
    """Whether a transaction does nothing at all, to the account itself."""
    found = _read(tx, source)
    if isinstance(found, Other):
        return found
    to = "0x" + bytes(found.to).hex()
    if found.data or found.value or to != source.accounts[0].address:
        return Other("it does something")
    return _reading(found, source, (None, to, 0))


def call(tx: bytes, source: Source) -> Call | Other:
    """What contract a transaction calls, unless it does what is a payment."""
    found = _read(tx, source)
    if isinstance(found, Other):
        return found
    data = bytes(found.data)
    if len(data) < 4 or data[:4] == TRANSFER:
        return Other("it calls no method, or a token's transfer")
    read = _reading(found, source, (None, "", 0))
    if isinstance(read, Other):
        return read
    return Call(read.anchor, "0x" + bytes(found.to).hex(), int(found.value), data, read.fee, read.messages)


def _read(tx: bytes, source: Source) -> DynamicFee | Protected | Other:
    try:
        found = decode_to(DynamicFee, tx[1:]) if tx[:1] == b"\2" else decode_to(Protected, tx)
    except (RLPException, RecursionError) as error:
        return Other(f"no transaction of either type: {error!r}")
    if isinstance(found, Protected) and (found.r or found.s):
        return Other("it is signed")
    if isinstance(found, DynamicFee) and (found.access_list or found.priority_fee > found.fee):
        return Other("it has an access list, or its priority fee is above its fee")
    if len(found.to) != 20:
        return Other("it creates a contract")
    if f"evm:{int(found.chain_id)}" != source.chain:
        return Other("it is for another chain")
    return found


def _reading(
    found: DynamicFee | Protected, source: Source, moved: tuple[str | None, str, int]
) -> Payment | Other:
    fields: dict[str, Any] = {
        "chainId": int(found.chain_id),
        "nonce": int(found.nonce),
        "gas": int(found.gas),
        "to": bytes(found.to),
        "value": int(found.value),
        "data": bytes(found.data),
    }
    try:
        if isinstance(found, DynamicFee):
            fees = {"maxFeePerGas": int(found.fee), "maxPriorityFeePerGas": int(found.priority_fee)}
            signed = bytes(TypedTransaction.from_dict({**fields, **fees, "type": 2}).hash())
        else:
            fields["gasPrice"] = int(found.fee)
            signed = bytes(serializable_unsigned_transaction_from_dict(fields).hash())
    except (TypeError, ValueError) as error:
        return Other(f"eth-account refuses the fields: {error}")
    anchor = Slot(source.chain, source.accounts[0].address, int(found.nonce))
    return Payment(None, anchor, *moved, int(found.gas) * int(found.fee), (signed,))


# --- cases ------------------------------------------------------------------------------------------


def generate(random: Random) -> Case:
    """A transfer or a cancellation, in half of the cases with something wrong."""
    chain_id, sender = random.choice(CHAIN_IDS), random.randbytes(20)
    source = Source(
        f"evm:{chain_id}", (Account("m/0/0", "0x" + sender.hex(), b"", 0, None),), lambda _: False
    )
    fields = _fields(random, chain_id, sender)
    typed = random.random() < 0.6
    pays = fields["value"] if not fields["data"] else fields["data"][:4] == TRANSFER
    plain = random.random() < 0.5 and bool(pays)
    if not plain:
        for _ in range(random.choice((0, 1, 1, 2))):
            _spoil_fields(random, fields)
    items = _items(random, fields, typed=typed)
    if plain:
        return Case((b"\2" if typed else b"") + encode(items), source, plain=True)
    if chance(random, 0.15):
        _spoil_items(random, items)
    head = random.choice((b"", b"\1", b"\3", b"\4", b"\2\2", b"\x7f")) if chance(random, 0.05) else None
    if head is None:
        head = b"\2" if typed else b""
    tx = head + (rlp_oddly(random, items) if chance(random, 0.2) else rlp_oddly(None, items))
    return Case(spoiled(random, tx) if chance(random, 0.15) else tx, source)


def _fields(random: Random, chain_id: int, sender: bytes) -> dict[str, Any]:
    """The fields of a plain transfer, of a cancellation or of a call, as integers and bytes."""
    recipient, amount = random.randbytes(20), 1 + random.getrandbits(random.choice((1, 8, 64, 96, 255)))
    kind = random.choice(("native", "token", "token", "cancel", "call"))
    fee = random.getrandbits(random.choice((0, 8, 40, 128)))
    data = _token_call(random, amount) if kind in ("token", "call") else b""
    data = _other_call(random, data) if kind == "call" else data
    return {
        "chain_id": chain_id,
        "nonce": random.getrandbits(random.choice((0, 7, 8, 32, 64))),
        "priority": random.randint(0, fee),
        "fee": fee,
        "gas": random.choice((21_000, 65_000, random.getrandbits(64))),
        "to": sender if kind == "cancel" else recipient,
        "value": amount if kind == "native" else random.choice((0, amount)) if kind == "call" else 0,
        "data": data,
        "access_list": [],
        "tail": [0, 0],
    }


def _token_call(random: Random, amount: int) -> bytes:
    return TRANSFER + bytes(12) + random.randbytes(20) + amount.to_bytes(32, "big")


def _items(random: Random, fields: dict[str, Any], *, typed: bool) -> list[Any]:
    order = (
        ("chain_id", "nonce", "priority", "fee", "gas", "to", "value", "data", "access_list")
        if typed
        else ("nonce", "fee", "gas", "to", "value", "data", "chain_id")
    )
    values = [fields[name] for name in order] + ([] if typed else fields["tail"])
    return [_number(value) if isinstance(value, int) else value for value in values]


def _number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _spoil_fields(random: Random, fields: dict[str, Any]) -> None:
    name = random.choice(tuple(fields))
    data = fields["data"] if isinstance(fields["data"], bytes) else b""
    match name:
        case "to":
            fields[name] = random.choice(
                (b"", random.randbytes(19), random.randbytes(21), bytes(12) + random.randbytes(20), [b"a"])
            )
        case "data":
            fields[name] = random.choice((_dirty, _longer, _other_call))(random, data)
        case "access_list":
            entry = [random.randbytes(20), [random.randbytes(32)] * random.randint(0, 2)]
            fields[name] = random.choice(([entry], [[]], [b""], b"", [entry, entry], b"\xc0"))
        case "tail":
            fields[name] = random.choice(
                ([], [0], [0, 1], [1, 0], [b"\0", 0], [0, 0, 0], [27, 1, 1], [[], []])
            )
        case _:
            fields[name] = _odd_number(random, fields[name])


def _odd_number(random: Random, value: Any) -> Any:
    number = value if isinstance(value, int) else 0
    return random.choice(
        (
            0,
            number + 1,
            b"\0" + _number(number),
            b"\0",
            bytes(32) + _number(number),
            2**64 - 1,
            2**64,
            2**53,
            2**255 + number,
            2**256 - 1,
            2**256,
            number + 2**256,
            number + 2**32,
            random.randbytes(40),
            [],
            [_number(number)],
            RawRlp(b"\x81" + _number(number % 128)),
        )
    )


def _dirty(random: Random, data: bytes) -> bytes:
    """A token call with one byte that is not as it was, the padding's among them."""
    data = data or _token_call(random, 1)
    place = random.choice((random.randrange(4, 16), random.randrange(len(data))))
    return data[:place] + random.randbytes(1) + data[place + 1 :]


def _longer(random: Random, data: bytes) -> bytes:
    data = data or _token_call(random, 1)
    return random.choice(
        (
            data + b"\0",
            data + bytes(32),
            data + random.randbytes(32),
            data[:-1],
            data[:-32],
            data[:4],
            data[:3],
        )
    )


def _other_call(random: Random, data: bytes) -> bytes:
    method = function_signature_to_4byte_selector(random.choice(METHODS))
    return bytes(method) + (data[4:] or random.randbytes(random.choice((0, 1, 32, 64, 96))))


def _spoil_items(random: Random, items: list[Any]) -> None:
    index, other = random.randrange(len(items)), random.randrange(len(items))
    match random.randrange(6):
        case 0:
            del items[index]
        case 1:
            items.insert(index, random.choice((b"", b"\1", [], random.randbytes(32))))
        case 2:
            items[index], items[other] = items[other], items[index]
        case 3:
            items[index] = [items[index]]
        case 4:
            items += [b"\1", random.randbytes(32), random.randbytes(32)]
        case _:
            items[:] = [list(items)]


CALLS = Calls(evm.decode_call, call)
COMPARISON = Comparison("evm", generate, evm, payment, cancellation, CALLS)
