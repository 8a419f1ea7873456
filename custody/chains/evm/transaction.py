"""EVM transactions as bytes: build them unsigned (EIP-1559), attach a signature, hash them. Pure."""

from typing import cast

import rlp

from custody.chains.evm.endpoint import Fees
from policy.errors import CallerError, MalformedError
from policy.ids import evm_chain_id
from policy.intent import Intent, transfer_calldata
from policy.keccak import keccak256
from policy.model import Wallet
from policy.state import Job, KeyRecord

TYPE_EIP1559 = b"\x02"
_FIELDS = 9


def payment(intent: Intent, *, contract: str | None, nonce: int, fees: Fees) -> bytes:
    """The unsigned transaction that carries out ``intent``; ``contract`` is None for the native asset."""
    if intent.calldata is not None:
        to, value, data = intent.destination, intent.amount, intent.calldata
    elif contract is None:
        to, value, data = intent.destination, intent.amount, b""
    else:
        to, value, data = contract, 0, transfer_calldata(intent.destination, intent.amount)
    return unsigned([evm_chain_id(intent.chain), nonce], fees, tail=[_address(to), value, data, []])


def cancellation(chain: str, *, account: str, nonce: int, fees: Fees) -> bytes:
    """The unsigned transaction by which ``account`` uses up ``nonce`` and moves nothing."""
    return unsigned([evm_chain_id(chain), nonce], fees, tail=[_address(account), 0, b"", []])


def with_nonce(tx: bytes, nonce: int) -> bytes:
    """The same unsigned transaction at another nonce."""
    fields = _fields(tx)
    return TYPE_EIP1559 + cast("bytes", rlp.encode([fields[0], nonce, *fields[2:]]))


def fees_of(tx: bytes) -> Fees:
    """What an unsigned transaction offers."""
    priority, fee, gas = (int.from_bytes(cast("bytes", field), "big") for field in _fields(tx)[2:5])
    return Fees(fee_per_gas=fee, priority_per_gas=priority, gas=gas)


def call_of(tx: bytes) -> tuple[str, int, bytes]:
    """Whom an unsigned transaction calls, with how much and with which data."""
    to, value, data = cast("list[bytes]", _fields(tx)[5:8])
    return f"0x{to.hex()}", int.from_bytes(value, "big"), data


def with_fees(tx: bytes, fees: Fees) -> bytes:
    """The same unsigned transaction at other fees."""
    fields = _fields(tx)
    offer = [fees.priority_per_gas, fees.fee_per_gas, fees.gas]
    return TYPE_EIP1559 + cast("bytes", rlp.encode([*fields[:2], *offer, *fields[5:]]))


def attach_signature(tx: bytes, *, r: int, s: int, recovery_id: int) -> bytes:
    """``tx`` with its signature. Raises ``MalformedError`` unless it is unsigned EIP-1559."""
    if recovery_id not in (0, 1):
        raise CallerError(f"an EVM signature has recovery id 0 or 1, got {recovery_id}: sign again")
    return TYPE_EIP1559 + cast("bytes", rlp.encode([*_fields(tx), recovery_id, r, s]))


def paths(tx: bytes, *, key: KeyRecord, wallet: Wallet, path: str) -> tuple[str, ...]:
    """One signature, of the account that pays."""
    return (path,)


def finished(job: Job) -> tuple[bytes, bytes]:
    """The transaction of a signed job, and its hash."""
    (signature,) = job.signatures
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    raw = attach_signature(job.tx, r=r, s=s, recovery_id=signature[64])
    return raw, transaction_hash(raw)


def transaction_hash(raw: bytes) -> bytes:
    """What a chain calls a signed transaction."""
    return keccak256(raw)


def _fields(tx: bytes) -> list[object]:
    try:
        fields = rlp.decode(tx[1:])
    except rlp.RLPException as error:
        raise MalformedError(f"the transaction is not RLP: {error}") from error
    if tx[:1] != TYPE_EIP1559 or not isinstance(fields, list) or len(fields) != _FIELDS:
        raise MalformedError("the transaction is not an unsigned EIP-1559 transaction")
    return fields


def unsigned(head: list[int], fees: Fees, *, tail: list[object]) -> bytes:
    """Chain id and nonce; what is offered; to whom, how much, with which data, and an empty access list."""
    fields = [*head, fees.priority_per_gas, fees.fee_per_gas, fees.gas, *tail]
    return TYPE_EIP1559 + cast("bytes", rlp.encode(fields))


def _address(address: str) -> bytes:
    return bytes.fromhex(address.removeprefix("0x"))
