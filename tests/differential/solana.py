"""Solana: messages read by solders, which builds the plain ones and says what message it would have built.

Cases are durable-nonce transfers and cancellations, made by hand so that every index, key and length can be
wrong, beside messages of other programs, with more instructions, and of version 0 with lookup tables.
"""

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from random import Random

from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.compute_budget import ID as BUDGET
from solders.compute_budget import (
    request_heap_frame,
    set_compute_unit_limit,
    set_compute_unit_price,
)
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.message import Message, MessageV0, MessageV1, from_bytes_versioned, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.system_program import (
    ID,
    AdvanceNonceAccountParams,
    AssignParams,
    TransferParams,
    WithdrawNonceAccountParams,
    advance_nonce_account,
    assign,
    decode_advance_nonce_account,
    decode_transfer,
    transfer,
    withdraw_nonce_account,
)
from solders.sysvar import RECENT_BLOCKHASHES

from policy.accounts import Account
from policy.approval import Slot
from policy.decode import solana
from policy.decode.decoded import Source
from tests.differential.comparing import Case, Comparison, Other, Payment, Reading
from tests.differential.spoiling import chance, spoiled
from tests.unit.solana_house import pay_tokens, priority

FEE_PER_SIGNATURE, RENT = 5000, 2_039_280
SEVEN_BITS = 127


def payment(tx: bytes, source: Source) -> Reading:
    """What solders reads as transferred after the nonce has been advanced."""
    return _read(tx, source, pays=True)


def cancellation(tx: bytes, source: Source) -> Reading:
    """Whether solders reads nothing but the advance of a nonce."""
    return _read(tx, source, pays=False)


def _read(tx: bytes, source: Source, *, pays: bool) -> Reading:
    try:
        return _parsed(tx, source, pays)
    except Exception as error:  # noqa: BLE001 - solders raises its own errors, and indices that do not exist
        return Other(f"solders does not read it: {error!r}")


def _parsed(tx: bytes, source: Source, pays: bool) -> Reading:
    message = from_bytes_versioned(tx)
    keys = list(message.account_keys)
    signers = keys[: message.header.num_required_signatures]
    found = [_instruction(message, index) for index in range(len(message.instructions))]
    if len(set(keys)) < len(keys) or [len(one.accounts) for one in found[:1]] != [3]:
        return Other("a key is there twice, or the nonce is not just advanced")
    nonce = decode_advance_nonce_account(found[0])
    expected = [advance_nonce_account(nonce)]
    fee, expected = _with_priority(found, expected)
    moved = _moved(found[len(expected) :], keys[0]) if pays else Moved(keys[0], None, 0, None, ())
    if isinstance(moved, Other):
        return moved
    expected += moved.expected
    if len(found) != len(expected) or nonce["authorized_pubkey"] != keys[0]:
        return Other("there are other instructions, or another authority of the nonce")
    if not all(len(one.accounts) == len(need.accounts) for one, need in zip(found, expected, strict=True)):
        return Other("an instruction takes more accounts or fewer")
    if not all(map(_may, found, expected)):
        return Other("an instruction is another one, or may not do what it does")
    if pays and len({keys[0], nonce["nonce_pubkey"], moved.recipient}) < 3:
        return Other("it is not a transfer from the payer to somebody else")
    again = Message.new_with_blockhash(expected, keys[0], message.recent_blockhash)
    return Payment(
        signers=tuple(str(key) for key in signers),
        anchor=Slot(
            source.chain, str(nonce["nonce_pubkey"]), int.from_bytes(bytes(message.recent_blockhash))
        ),
        contract=moved.contract,
        recipient=str(moved.recipient),
        amount=moved.amount,
        fee=FEE_PER_SIGNATURE * len(signers) + fee + (RENT if moved.contract else 0),
        messages=(bytes(again),),
        decimals=moved.decimals,
    )


@dataclass(frozen=True, slots=True)
class Moved:
    """What is paid, and by which instructions anybody would pay that."""

    recipient: Pubkey
    contract: str | None
    amount: int
    decimals: int | None
    expected: tuple[Instruction, ...]


def _with_priority(found: list[Instruction], expected: list[Instruction]) -> tuple[int, list[Instruction]]:
    """The priority fee in lamports as the network takes it, and the instructions that offer it."""
    pair = found[1:3]
    if [one.program_id for one in pair] != [BUDGET, BUDGET]:
        return 0, expected
    units, price = (int.from_bytes(bytes(one.data)[1:], "little") for one in pair)
    fee = Fraction(min(units, 1_400_000) * price, 10**6)
    return math.ceil(fee), [*expected, set_compute_unit_limit(units), set_compute_unit_price(price)]


def _moved(found: list[Instruction], payer: Pubkey) -> Moved | Other:
    if [len(one.accounts) for one in found] not in ([2], [6, 4]):
        return Other("it pays by other instructions")
    if len(found) == 1:
        lamports = decode_transfer(found[0])
        if lamports["from_pubkey"] != payer or lamports["lamports"] == 0:
            return Other("the payer pays nothing")
        return Moved(lamports["to_pubkey"], None, lamports["lamports"], None, (transfer(lamports),))
    create, move = found
    owner, mint = (create.accounts[place].pubkey for place in (2, 3))
    _, amount, decimals = struct.unpack("<BQB", bytes(move.data))
    expected = pay_tokens(bytes(payer), bytes(owner), bytes(mint), amount=amount, decimals=decimals)
    if not owner.is_on_curve() or amount == 0 or owner == payer:
        return Other("nobody else is paid")
    return Moved(owner, str(mint), amount, decimals, tuple(expected))


def _may(found: Instruction, expected: Instruction) -> bool:
    """Whether it is the expected instruction, on accounts that sign and are written at least as it needs."""
    return (found.program_id, found.data) == (expected.program_id, expected.data) and all(
        (have.pubkey, have.is_signer or not need.is_signer, have.is_writable or not need.is_writable)
        == (need.pubkey, True, True)
        for have, need in zip(found.accounts, expected.accounts, strict=True)
    )


def _instruction(message: Message | MessageV0 | MessageV1, index: int) -> Instruction:
    """An instruction with its accounts by key, and what the header lets it do with them."""
    compiled, keys, header = message.instructions[index], message.account_keys, message.header
    count, signers = len(keys), header.num_required_signatures
    metas = [
        AccountMeta(
            keys[place],
            is_signer=place < signers,
            is_writable=place < signers - header.num_readonly_signed_accounts
            or signers <= place < count - header.num_readonly_unsigned_accounts,
        )
        for place in compiled.accounts
    ]
    return Instruction(keys[compiled.program_id_index], bytes(compiled.data), metas)


# --- cases ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Parts:
    """A message to be: indices into ``keys``; ``instructions`` are (program, accounts, data)."""

    header: list[int]
    keys: list[bytes]
    blockhash: bytes
    instructions: list[tuple[int, list[int], bytes]]

    def encode(self, wide: Random | None) -> bytes:
        """The message's bytes; with a generator, some lengths are not the shortest."""
        parts = [bytes(self.header), _length(len(self.keys), wide), *self.keys, self.blockhash]
        parts.append(_length(len(self.instructions), wide))
        for program, accounts, data in self.instructions:
            parts += [bytes([program]), _length(len(accounts), wide), bytes(accounts)]
            parts += [_length(len(data), wide), data]
        return b"".join(parts)


def generate(random: Random) -> Case:
    """A transfer or a cancellation, in half of the cases with something wrong."""
    payer, nonce_account, recipient = (Pubkey(random.randbytes(32)) for _ in range(3))
    source = Source("solana:localnet", (Account("m", str(payer), bytes(payer), 0, None),), lambda _: False)
    paid = _paid(random, payer, recipient)
    instructions = [
        advance_nonce_account(AdvanceNonceAccountParams(nonce_pubkey=nonce_account, authorized_pubkey=payer)),
        *(_priority(random) if chance(random, 0.4) else []),
        *paid,
    ]
    blockhash = Hash(random.randbytes(32))
    if random.random() < 0.5:
        message = Message.new_with_blockhash(instructions, payer, blockhash)
        has_key = len(paid) == 1 or recipient.is_on_curve()
        return Case(bytes(message), source, plain=bool(paid) and has_key)
    if chance(random, 0.5):
        instructions = _other_instructions(random, instructions, (payer, nonce_account, recipient))
        message = Message.new_with_blockhash(instructions, payer, blockhash)
        return Case(
            bytes(message) if chance(random, 0.8) else _versioned(random, message, instructions), source
        )
    parts = _parts(Message.new_with_blockhash(instructions, payer, blockhash))
    for _ in range(random.choice((0, 1, 1, 2))):
        _spoil(random, parts)
    tx = parts.encode(random if chance(random, 0.15) else None)
    return Case(spoiled(random, tx) if chance(random, 0.2) else tx, source)


def _paid(random: Random, payer: Pubkey, recipient: Pubkey) -> list[Instruction]:
    """Lamports, tokens or nothing."""
    amount = 1 + random.getrandbits(random.choice((1, 32, 63)))
    which = random.random()
    if which < 0.4:
        return [transfer(TransferParams(from_pubkey=payer, to_pubkey=recipient, lamports=amount))]
    if which < 0.8:
        decimals = random.choice((0, 6, 9, 255))
        mint = random.randbytes(32)
        return pay_tokens(bytes(payer), bytes(recipient), mint, amount=amount, decimals=decimals)
    return []


def _priority(random: Random) -> list[Instruction]:
    return priority(random.randint(1, 1_400_000), random.getrandbits(random.choice((1, 20, 64))))


def _parts(message: Message) -> Parts:
    header = message.header
    return Parts(
        header=[
            header.num_required_signatures,
            header.num_readonly_signed_accounts,
            header.num_readonly_unsigned_accounts,
        ],
        keys=[bytes(key) for key in message.account_keys],
        blockhash=bytes(message.recent_blockhash),
        instructions=[
            (one.program_id_index, list(one.accounts), bytes(one.data)) for one in message.instructions
        ],
    )


def _other_instructions(
    random: Random, instructions: list[Instruction], keys: tuple[Pubkey, Pubkey, Pubkey]
) -> list[Instruction]:
    """Whole instructions that are others, more, fewer or in another order."""
    payer, nonce_account, recipient = keys
    other = random.choice((Pubkey(random.randbytes(32)), payer, nonce_account, recipient))
    meta = AccountMeta(other, is_signer=chance(random, 0.2), is_writable=chance(random, 0.5))
    own = TransferParams(from_pubkey=payer, to_pubkey=other, lamports=random.choice((0, 1, 2**64 - 1)))
    extra = random.choice(
        (
            transfer(own),
            transfer({**own, "from_pubkey": other}),
            advance_nonce_account(AdvanceNonceAccountParams(nonce_pubkey=other, authorized_pubkey=payer)),
            advance_nonce_account(
                AdvanceNonceAccountParams(nonce_pubkey=nonce_account, authorized_pubkey=other)
            ),
            withdraw_nonce_account(
                WithdrawNonceAccountParams(
                    nonce_pubkey=nonce_account, authorized_pubkey=payer, to_pubkey=other, lamports=1
                )
            ),
            assign(AssignParams(pubkey=payer, owner=other)),
            Instruction(other, random.randbytes(random.randrange(13)), [meta]),
            Instruction(
                instructions[-1].program_id, instructions[-1].data, [*instructions[-1].accounts, meta]
            ),
            Instruction(other, instructions[-1].data, instructions[-1].accounts),
            Instruction(ID, instructions[-1].data + random.randbytes(1), instructions[-1].accounts),
            request_heap_frame(1024 * random.randrange(300)),
            *priority(random.getrandbits(32), random.getrandbits(64)),
            *pay_tokens(bytes(payer), bytes(other), random.randbytes(32), amount=random.randrange(3)),
            *pay_tokens(bytes(other), bytes(recipient), bytes(other), amount=1),
        )
    )
    place = random.randrange(len(instructions) + 1)
    if chance(random, 0.5):
        return _with_another_account(random, instructions)
    return random.choice(
        (
            [*instructions[:place], *instructions[place + 1 :]],
            [*instructions[:place], extra, *instructions[place:]],
            [*instructions[:-1], extra],
            [extra, *instructions[1:]],
            instructions[::-1],
            [*instructions[:place], *instructions[place : place + 2][::-1], *instructions[place + 2 :]],
            instructions[1:],
            [*instructions, instructions[-1]],
        )
    )


def _with_another_account(random: Random, instructions: list[Instruction]) -> list[Instruction]:
    """The same, with one account of one instruction exchanged, perhaps with more rights than it needs."""
    which = max(0, len(instructions) - random.choice((1, 1, 2, 2, 3)))
    one, known = instructions[which], [meta for each in instructions for meta in each.accounts]
    accounts = list(one.accounts)
    if not accounts:
        return instructions
    place = random.randrange(len(accounts))
    old, more = accounts[place], chance(random, 0.3)
    key = old.pubkey if more else random.choice(known).pubkey
    accounts[place] = AccountMeta(key, is_signer=old.is_signer, is_writable=old.is_writable or more)
    changed = Instruction(one.program_id, one.data, accounts)
    return [*instructions[:which], changed, *instructions[which + 1 :]]


def _versioned(random: Random, message: Message, instructions: list[Instruction]) -> bytes:
    """The same as a message of version 0, with or without a lookup table."""
    table = AddressLookupTableAccount(Pubkey(random.randbytes(32)), list(message.account_keys[1:]))
    tables = [table] if chance(random, 0.5) else []
    payer = message.account_keys[0]
    made = MessageV0.try_compile(payer, instructions, tables, message.recent_blockhash)
    return to_bytes_versioned(made)


def _spoil(random: Random, parts: Parts) -> None:
    """One thing wrong."""
    place, other = (random.randrange(len(parts.keys)) for _ in range(2))
    which = random.randrange(len(parts.instructions))
    program, accounts, data = parts.instructions[which]
    match random.randrange(9):
        case 0:
            parts.header[random.randrange(3)] = random.randrange(5)
        case 1:
            parts.keys[place], parts.keys[other] = parts.keys[other], parts.keys[place]
        case 2:
            parts.keys[place] = random.choice(
                (random.randbytes(32), parts.keys[other], bytes(RECENT_BLOCKHASHES))
            )
        case 3:
            parts.keys.insert(place, random.randbytes(32))
        case 4:
            _swap_everywhere(parts, place, other)
        case 5 if accounts:
            accounts[random.randrange(len(accounts))] = random.randrange(len(parts.keys) + 1)
        case 6:
            accounts.append(place)
        case 7:
            parts.instructions[which] = (place, accounts, data)
        case _:
            changed = random.choice(
                (data + b"\0", data[:-1], data[:4], b"\2\0\0\0" + bytes(8), spoiled(random, data))
            )
            parts.instructions[which] = (program, accounts, changed)


def _swap_everywhere(parts: Parts, place: int, other: int) -> None:
    """Two keys change places, and so do all indices: the same transaction in other bytes."""
    parts.keys[place], parts.keys[other] = parts.keys[other], parts.keys[place]
    swap = {place: other, other: place}
    parts.instructions[:] = [
        (swap.get(program, program), [swap.get(index, index) for index in accounts], data)
        for program, accounts, data in parts.instructions
    ]


def _length(value: int, wide: Random | None) -> bytes:
    """A compact-u16."""
    if wide is not None and chance(wide, 0.2):
        return bytes([value & SEVEN_BITS | 128, value >> 7 & SEVEN_BITS | 128 * (wide.random() < 0.2)])
    return bytes([value]) if value < 128 else bytes([value & SEVEN_BITS | 128, value >> 7])


COMPARISON = Comparison("solana", generate, solana, payment, cancellation)
