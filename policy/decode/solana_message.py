"""Legacy messages of Solana as bytes: accounts with what the header lets be done, and instructions by key."""

from dataclasses import dataclass

from policy.addresses import SOLANA_KEY_BYTES
from policy.decode.decoded import require
from policy.decode.reader import Reader

MESSAGE_BYTES_MAX = 1232
_VERSIONED = 128


@dataclass(frozen=True, slots=True)
class Instruction:
    """What a program is told to do with which accounts."""

    program: bytes
    accounts: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """``header`` counts signatures, and among the accounts read only: those that sign, those that do not."""

    header: tuple[int, int, int]
    keys: tuple[bytes, ...]
    blockhash: bytes
    instructions: tuple[Instruction, ...]


def parse_message(tx: bytes) -> Message:
    """Read a legacy message strictly: each length in its shortest form, nothing after the end."""
    require(len(tx) <= MESSAGE_BYTES_MAX, f"{len(tx)} bytes, at most {MESSAGE_BYTES_MAX} are decoded")
    reader = Reader(tx)
    signatures = reader.integer(1, "header")
    require(signatures < _VERSIONED, "it is a versioned message, only legacy ones are decoded")
    header = (signatures, reader.integer(1, "header"), reader.integer(1, "header"))
    count = reader.compact_u16("accounts")
    keys = tuple(reader.take(SOLANA_KEY_BYTES, f"account {index}") for index in range(count))
    require(len(keys) > 0 and len(set(keys)) == count, "the list of accounts is empty, or one is there twice")
    blockhash = reader.take(32, "recent blockhash")
    instructions = tuple(_instruction(reader, keys) for _ in range(reader.compact_u16("instructions")))
    reader.done()
    return Message(header, keys, blockhash, instructions)


def check_accounts(
    message: Message, payer: bytes, *, written: tuple[bytes, ...], read: tuple[bytes, ...]
) -> None:
    """The payer signs and stands first; then what else is written, sorted; then what is only read, sorted.

    So each account is there once, may be written only if it has to be, and none is there that nobody needs.
    """
    every = (payer, *sorted(written), *sorted(read))
    require(
        len(set(every)) == len(every),
        "payer, nonce account, who is paid and the programs are not all different",
    )
    header = (1, 0, len(read))
    require(message.header == header, f"the header is {message.header}, and for what it does {header}")
    require(
        message.keys == every,
        "the accounts are not just the needed ones: payer, then written, then read, each kind sorted",
    )


def _instruction(reader: Reader, keys: tuple[bytes, ...]) -> Instruction:
    program = _key(reader.integer(1, "program"), keys)
    accounts = reader.take(reader.compact_u16("accounts of an instruction"), "accounts of an instruction")
    data = reader.take(reader.compact_u16("data of an instruction"), "data of an instruction")
    return Instruction(program, tuple(_key(index, keys) for index in accounts), data)


def _key(index: int, keys: tuple[bytes, ...]) -> bytes:
    require(index < len(keys), f"account {index} of {len(keys)} does not exist")
    return keys[index]
