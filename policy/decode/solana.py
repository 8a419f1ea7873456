"""Unsigned Solana messages: the one kind of transfer this system signs, and the cancellation.

What is accepted, and nothing else: a legacy message (no version byte) with one signature, that of the
source, who pays the fee and has the authority over the nonce account. Its instructions are the System
program's AdvanceNonceAccount, then Transfer from the source; a cancellation has the first alone. Exactly
the accounts these need are listed, each once, each as writable as it has to be, sorted. The message's
recent blockhash is the durable nonce's value. What is signed is the whole message.

So one anchor and transfer have one message. It must be so: nodes cannot know whether the value is a durable
nonce. If it were a recent blockhash, the chain would take each different message with it once, but never
the same one twice.

A message does not name its cluster; that an account is of one wallet on one of them is the policy's rule.
"""

from dataclasses import dataclass

from policy.addresses import SOLANA_KEY_BYTES, solana_address
from policy.approval import Slot
from policy.decode.decoded import Cancel, Refusal, Source, Transfer, Undecodable, require
from policy.decode.reader import Reader

MESSAGE_BYTES_MAX = 1232
LAMPORTS_PER_SIGNATURE = 5000
SYSTEM_PROGRAM = bytes(32)
RECENT_BLOCKHASHES = bytes.fromhex("06a7d517192c568ee08a845f73d29788cf035c3145b21ab344d8062ea9400000")
_ADVANCE_NONCE = (4).to_bytes(4, "little")
_TRANSFER = (2).to_bytes(4, "little")
_VERSIONED = 128
_HEADER = (1, 0, 2)  # signatures, and among the accounts read only: those that sign, those that do not


@dataclass(frozen=True, slots=True)
class _Instruction:
    program: bytes
    accounts: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class _Message:
    keys: tuple[bytes, ...]
    blockhash: bytes
    instructions: tuple[_Instruction, ...]


def decode(tx: bytes, source: Source) -> Transfer | Undecodable:
    """Say what the unsigned message ``tx`` transfers, or why it is not a transfer we sign.

    Total: any bytes give an answer.
    """
    try:
        message, payer = _message(tx), _payer(source)
        require(len(message.instructions) == 2, f"need 2 instructions, got {len(message.instructions)}")
        advance, transfer = message.instructions
        nonce_account = _nonce_account(advance, payer)
        recipient, amount = _transfer(transfer, payer)
        _check_keys(message, (payer, nonce_account, recipient))
    except Refusal as refusal:
        return Undecodable(str(refusal))
    return Transfer(
        anchor=_anchor(source, nonce_account, message),
        contract=None,
        recipient=solana_address(recipient),
        amount=amount,
        fee_max=LAMPORTS_PER_SIGNATURE,
        messages=(tx,),
    )


def decode_cancel(tx: bytes, source: Source) -> Cancel | Undecodable:
    """Say which durable nonce the unsigned message ``tx`` uses up without moving anything."""
    try:
        message, payer = _message(tx), _payer(source)
        require(len(message.instructions) == 1, f"need 1 instruction, got {len(message.instructions)}")
        nonce_account = _nonce_account(message.instructions[0], payer)
        _check_keys(message, (payer, nonce_account))
    except Refusal as refusal:
        return Undecodable(str(refusal))
    return Cancel(_anchor(source, nonce_account, message), LAMPORTS_PER_SIGNATURE, (tx,))


def _payer(source: Source) -> bytes:
    require(len(source.accounts) == 1, f"one account signs, the reservation names {len(source.accounts)}")
    return source.accounts[0].public_key


def _anchor(source: Source, nonce_account: bytes, message: _Message) -> Slot:
    return Slot(source.chain, solana_address(nonce_account), int.from_bytes(message.blockhash, "big"))


def _nonce_account(instruction: _Instruction, payer: bytes) -> bytes:
    require(
        instruction.program == SYSTEM_PROGRAM and instruction.data == _ADVANCE_NONCE,
        "the first instruction is not the System program's AdvanceNonceAccount",
    )
    accounts = instruction.accounts
    require(len(accounts) == 3, f"AdvanceNonceAccount takes 3 accounts, got {len(accounts)}")
    require(accounts[1] == RECENT_BLOCKHASHES, "its second account is not the sysvar of recent blockhashes")
    require(accounts[2] == payer, "the nonce account's authority is not the account that pays")
    return accounts[0]


def _transfer(instruction: _Instruction, payer: bytes) -> tuple[bytes, int]:
    data = instruction.data
    require(
        instruction.program == SYSTEM_PROGRAM and data[:4] == _TRANSFER,
        "the second instruction is not the System program's Transfer",
    )
    require(len(data) == 12, f"Transfer has 12 bytes of data, got {len(data)}")
    require(len(instruction.accounts) == 2, f"Transfer takes 2 accounts, got {len(instruction.accounts)}")
    require(instruction.accounts[0] == payer, "the transfer is not from the account that signs")
    amount = int.from_bytes(data[4:], "little")
    require(amount > 0, "the amount is zero: there is nothing to transfer")
    return instruction.accounts[1], amount


def _check_keys(message: _Message, writable: tuple[bytes, ...]) -> None:
    """The payer signs and stands first; then what else is written, sorted; then what is read, sorted."""
    payer, *others = writable
    require(len(set(writable)) == len(writable), "payer, nonce account and recipient are not all different")
    require(
        message.keys == (payer, *sorted(others), SYSTEM_PROGRAM, RECENT_BLOCKHASHES),
        "the accounts are not just the needed ones: payer, then written, then read, each kind sorted",
    )


def _message(tx: bytes) -> _Message:
    require(len(tx) <= MESSAGE_BYTES_MAX, f"{len(tx)} bytes, at most {MESSAGE_BYTES_MAX} are decoded")
    reader = Reader(tx)
    signatures = reader.integer(1, "header")
    require(signatures < _VERSIONED, "it is a versioned message, only legacy ones are decoded")
    header = (signatures, reader.integer(1, "header"), reader.integer(1, "header"))
    require(header == _HEADER, f"the header is {header}, not {_HEADER}: one account signs and two are read")
    count = reader.compact_u16("accounts")
    keys = tuple(reader.take(SOLANA_KEY_BYTES, f"account {index}") for index in range(count))
    require(len(keys) > 0 and len(set(keys)) == count, "the list of accounts is empty, or one is there twice")
    blockhash = reader.take(32, "recent blockhash")
    instructions = tuple(_instruction(reader, keys) for _ in range(reader.compact_u16("instructions")))
    reader.done()
    return _Message(keys, blockhash, instructions)


def _instruction(reader: Reader, keys: tuple[bytes, ...]) -> _Instruction:
    program = _key(reader.integer(1, "program"), keys)
    accounts = reader.take(reader.compact_u16("accounts of an instruction"), "accounts of an instruction")
    data = reader.take(reader.compact_u16("data of an instruction"), "data of an instruction")
    return _Instruction(program, tuple(_key(index, keys) for index in accounts), data)


def _key(index: int, keys: tuple[bytes, ...]) -> bytes:
    require(index < len(keys), f"account {index} of {len(keys)} does not exist")
    return keys[index]
