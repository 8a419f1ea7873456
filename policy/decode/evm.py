"""Unsigned Ethereum transactions: the two kinds of transfer this system signs, and the cancellation.

What is accepted, and nothing else: EIP-1559 (``0x02 || rlp([chain id, nonce, priority fee, fee, gas,
to, value, data, access list])``) and legacy EIP-155 (``rlp([nonce, gas price, gas, to, value, data,
chain id, 0, 0])``), canonically encoded, with an empty access list, to an account that exists in the
bytes (no contract creation), and with either no calldata (a transfer of the native asset) or exactly
ERC-20 ``transfer(address,uint256)`` with clean padding and no value.
"""

from msgspec import Struct

from policy.approval import Slot, digest_slot
from policy.decode.decoded import Call, Cancel, Refusal, Source, Transfer, Typed, Undecodable, require
from policy.decode.eip712 import domain_of, parse_typed_data
from policy.decode.rlp_list import Item, decode_list
from policy.errors import MalformedError
from policy.ids import AMOUNT_MAX, EVM_CHAIN_ID_MAX, evm_chain_id
from policy.intent import ERC20_TRANSFER
from policy.keccak import keccak256

TRANSACTION_BYTES_MAX = 8 * 1024
NONCE_MAX = 2**64 - 1
GAS_MAX = 2**64 - 1
_TYPE_EIP1559 = 2
_TRANSFER_BYTES = 4 + 32 + 32


class _Envelope(Struct, frozen=True, gc=False):
    chain_id: int
    nonce: int
    gas: int
    fee_per_gas: int
    to: bytes
    value: int
    data: bytes

    @property
    def max_fee_total(self) -> int:
        return self.gas * self.fee_per_gas


def decode(tx: bytes, source: Source) -> Transfer | Undecodable:
    """Say what the unsigned transaction ``tx`` transfers, or why it is not a transfer we sign.

    Total: any bytes give an answer. The sender is the source's one account: EVM bytes do not name it.
    """
    try:
        return _transfer(_envelope(tx, source), source, keccak256(tx))
    except Refusal as refusal:
        return Undecodable(str(refusal))


def decode_call(tx: bytes, source: Source) -> Call | Undecodable:
    """Say which contract the unsigned transaction ``tx`` calls, with what data and value.

    What the data means is the policy's to know: no more is read here than that there is a selector. The
    transfer of a token is none of these calls.
    """
    try:
        envelope = _envelope(tx, source)
        selector = envelope.data[:4]
        require(len(selector) == 4, "there is no calldata: it is a transfer, not a call")
        require(selector != ERC20_TRANSFER, "calldata transfers a token: ask for a payment of it")
    except Refusal as refusal:
        return Undecodable(str(refusal))
    anchor = Slot(source.chain, source.accounts[0].address, envelope.nonce)
    return Call(
        anchor, _hex(envelope.to), envelope.value, envelope.data, envelope.max_fee_total, (keccak256(tx),)
    )


def decode_typed_data(document: bytes, source: Source) -> Typed | Undecodable:
    """Say what the signature of a document of typed data is of: its EIP-712 digest, computed here.

    What its fields mean is the policy's to know. The domain is one of a contract of this chain.
    """
    if len(source.accounts) != 1:
        return Undecodable(f"one account signs, the reservation names {len(source.accounts)}")
    try:
        typed = parse_typed_data(document)
        chain_id, _ = domain_of(typed)
    except MalformedError as error:
        return Undecodable(str(error))
    if chain_id != evm_chain_id(source.chain):
        return Undecodable(f"the domain's chain id {chain_id} is not the request's {source.chain}")
    anchor = digest_slot(source.chain, source.accounts[0].address, digest=typed.digest)
    return Typed(anchor, document, 0, (typed.digest,))


def decode_cancel(tx: bytes, source: Source) -> Cancel | Undecodable:
    """Say which nonce the unsigned transaction ``tx`` uses up without moving anything.

    It goes to the account itself: only then it is a cancellation and not an empty call of a contract.
    """
    try:
        envelope = _envelope(tx, source)
        account, to = source.accounts[0].address, _hex(envelope.to)
        require(to == account, f"a cancellation goes to the account itself, not to {to}")
        require(envelope.value == 0, f"a cancellation moves nothing, but the value is {envelope.value}")
        require(not envelope.data, f"a cancellation has no calldata, got {len(envelope.data)} bytes")
    except Refusal as refusal:
        return Undecodable(str(refusal))
    anchor = Slot(source.chain, account, envelope.nonce)
    return Cancel(anchor, envelope.max_fee_total, (keccak256(tx),))


def _transfer(envelope: _Envelope, source: Source, signing_hash: bytes) -> Transfer:
    to = _hex(envelope.to)
    if envelope.data:
        recipient, amount = _token_transfer(envelope)
        contract: str | None = to
    else:
        recipient, amount, contract = to, envelope.value, None
    require(amount > 0, "the amount is zero: there is nothing to transfer")
    return Transfer(
        anchor=Slot(source.chain, source.accounts[0].address, envelope.nonce),
        contract=contract,
        recipient=recipient,
        amount=amount,
        fee_max=envelope.max_fee_total,
        messages=(signing_hash,),
    )


def _token_transfer(envelope: _Envelope) -> tuple[str, int]:
    data = envelope.data
    require(data[:4] == ERC20_TRANSFER, f"calldata calls 0x{data[:4].hex()}, not transfer(address,uint256)")
    require(len(data) == _TRANSFER_BYTES, f"calldata has {len(data)} bytes, a transfer has {_TRANSFER_BYTES}")
    require(not any(data[4:16]), "the recipient's padding in the calldata is not zero")
    require(envelope.value == 0, f"a token transfer must not carry value, got {envelope.value}")
    return _hex(data[16:36]), int.from_bytes(data[36:], "big")


def _envelope(tx: bytes, source: Source) -> _Envelope:
    if len(source.accounts) != 1:
        raise Refusal(f"one account signs, the reservation names {len(source.accounts)}")
    require(len(tx) > 0, "the transaction is empty")
    if len(tx) > TRANSACTION_BYTES_MAX:
        raise Refusal(f"{len(tx)} bytes, at most {TRANSACTION_BYTES_MAX} are decoded")
    envelope = _eip1559(tx[1:]) if tx[0] == _TYPE_EIP1559 else _legacy(tx)
    chain_id = evm_chain_id(source.chain)
    if envelope.chain_id != chain_id:
        raise Refusal(f"chain id {envelope.chain_id} is not the request's {chain_id}")
    if len(envelope.to) != 20:
        raise Refusal(f"'to' has {len(envelope.to)} bytes, an account has 20")
    require(envelope.max_fee_total <= AMOUNT_MAX, "gas times fee is 2**256 or more")
    return envelope


def _eip1559(payload: bytes) -> _Envelope:
    items = _items(payload)
    if len(items) != 9:
        raise Refusal(f"an unsigned EIP-1559 transaction has 9 fields, got {len(items)}")
    chain_id, nonce, priority, fee, gas, to, value, data, access_list = items
    require(access_list == [], "the access list is not empty")
    envelope = _Envelope(
        chain_id=_integer(chain_id, "chain id", EVM_CHAIN_ID_MAX),
        nonce=_integer(nonce, "nonce", NONCE_MAX),
        gas=_integer(gas, "gas", GAS_MAX),
        fee_per_gas=_integer(fee, "max fee per gas", AMOUNT_MAX),
        to=_bytes(to, "to"),
        value=_integer(value, "value", AMOUNT_MAX),
        data=_bytes(data, "data"),
    )
    priority_fee = _integer(priority, "max priority fee per gas", AMOUNT_MAX)
    require(priority_fee <= envelope.fee_per_gas, "the priority fee is above the fee")
    return envelope


def _legacy(tx: bytes) -> _Envelope:
    require(tx[0] >= 0xC0, f"transaction type {tx[0]} is not decoded")
    items = _items(tx)
    require(len(items) == 9, f"an unsigned EIP-155 transaction has 9 fields, got {len(items)}")
    nonce, price, gas, to, value, data, chain_id, zero_r, zero_s = items
    require(zero_r == b"" and zero_s == b"", "the last two fields must be zero: it must be unsigned")
    return _Envelope(
        chain_id=_integer(chain_id, "chain id", EVM_CHAIN_ID_MAX),
        nonce=_integer(nonce, "nonce", NONCE_MAX),
        gas=_integer(gas, "gas", GAS_MAX),
        fee_per_gas=_integer(price, "gas price", AMOUNT_MAX),
        to=_bytes(to, "to"),
        value=_integer(value, "value", AMOUNT_MAX),
        data=_bytes(data, "data"),
    )


def _items(payload: bytes) -> list[Item]:
    """The fields of exactly one canonically encoded RLP list."""
    try:
        return decode_list(payload)
    except MalformedError as error:
        raise Refusal(str(error)) from error


def _bytes(item: Item, name: str) -> bytes:
    if not isinstance(item, bytes):
        raise Refusal(f"{name} is a list, not bytes")
    return item


def _integer(item: Item, name: str, high: int) -> int:
    data = _bytes(item, name)
    if data[:1] == b"\0":
        raise Refusal(f"{name} has a leading zero byte")
    if len(data) > 32:
        raise Refusal(f"{name} has {len(data)} bytes, at most 32 are decoded")
    value = int.from_bytes(data, "big")
    if value > high:
        raise Refusal(f"{name} {value} is above {high}")
    return value


def _hex(account: bytes) -> str:
    return "0x" + account.hex()
