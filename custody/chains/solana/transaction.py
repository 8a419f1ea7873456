"""Solana messages as bytes: a payment or nothing under a durable nonce, and the signature put in. Pure.

Legacy messages of one signer, who pays the fee and has the authority over the nonce account. The layout is
the one that nodes sign, byte for byte: see ``policy.decode.solana``.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from policy import base58
from policy.addresses import SOLANA_KEY_BYTES
from policy.approval import Slot
from policy.decode.solana import (
    COMPUTE_BUDGET,
    RECENT_BLOCKHASHES,
    SYSTEM_PROGRAM,
)
from policy.errors import CallerError, MalformedError
from policy.ids import LAMPORTS_PER_SIGNATURE
from policy.intent import Intent
from policy.model import Wallet
from policy.state import Job, KeyRecord
from policy.token_accounts import TOKEN_ACCOUNTS_PROGRAM, TOKEN_PROGRAM, token_account

RENT_SYSVAR = base58.decode("SysvarRent111111111111111111111111111111111")
NONCE_BYTES = 80
SIGNATURE_BYTES = 64
PAYMENT_UNITS, TOKEN_UNITS = 1_000, 80_000
"""Compute units: a payment of SOL takes 600; one of tokens some 40,000, and 1,500 for each step by which an
address of the programs is looked for, of which there are more than 25 once in 2**25 wallets.
"""
_MICRO = 1_000_000
_KEYS_FROM = 4
_ONE_BYTE_MAX = 127
_TRANSFER, _CREATE_WITH_SEED, _ADVANCE_NONCE, _INITIALIZE_NONCE = 2, 3, 4, 6
_CREATE_IDEMPOTENT, _TRANSFER_CHECKED = b"\x01", b"\x0c"
_SET_UNIT_LIMIT, _SET_UNIT_PRICE = b"\x02", b"\x03"


@dataclass(frozen=True, slots=True)
class Instruction:
    """What a program does with accounts, each of them named with whether it is written."""

    program: bytes
    accounts: tuple[tuple[bytes, bool], ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Priority:
    """What is offered beside the fixed fee: so many micro-lamports for each of so many compute units."""

    units: int
    price: int

    @property
    def lamports(self) -> int:
        """What the network takes for it."""
        return -(-self.units * self.price // _MICRO)


@dataclass(frozen=True, slots=True)
class Nonce:
    """A durable nonce of a wallet: who may use it, the account that keeps it, and its value."""

    authority: bytes
    account: bytes
    value: bytes

    @classmethod
    def of_slot(cls, slot: Slot, *, authority: bytes) -> "Nonce":
        """The nonce that a conflict slot names."""
        return cls(authority, base58.decode(slot.account), slot.nonce.to_bytes(32, "big"))

    def slot(self, chain: str) -> Slot:
        """The place on its chain."""
        return Slot(chain, base58.encode(self.account), int.from_bytes(self.value, "big"))


def payment(nonce: Nonce, intent: Intent, *, priority: Priority | None = None) -> bytes:
    """The message that pays SOL."""
    to = base58.decode(intent.destination)
    data = _TRANSFER.to_bytes(4, "little") + intent.amount.to_bytes(8, "little")
    transfer = Instruction(SYSTEM_PROGRAM, ((nonce.authority, True), (to, True)), data)
    return _under(nonce, priority, transfer)


def token_payment(
    nonce: Nonce, intent: Intent, *, mint: bytes, decimals: int, priority: Priority | None = None
) -> bytes:
    """The message that pays tokens to their owner's token account, which it makes where there is none."""
    payer, owner = nonce.authority, base58.decode(intent.destination)
    source, target = token_account(payer, mint), token_account(owner, mint)
    read = ((owner, False), (mint, False), (SYSTEM_PROGRAM, False), (TOKEN_PROGRAM, False))
    create = Instruction(TOKEN_ACCOUNTS_PROGRAM, ((payer, True), (target, True), *read), _CREATE_IDEMPOTENT)
    data = _TRANSFER_CHECKED + intent.amount.to_bytes(8, "little") + bytes([decimals])
    moved = ((source, True), (mint, False), (target, True), (payer, True))
    return _under(nonce, priority, create, Instruction(TOKEN_PROGRAM, moved, data))


def cancellation(nonce: Nonce, priority: Priority | None = None) -> bytes:
    """The message that uses up the nonce and moves nothing."""
    return _under(nonce, priority)


def nonce_creation(payer: bytes, authority: bytes, *, seed: str, rent: int, blockhash: bytes) -> bytes:
    """The message of an outside payer that makes a nonce account of ``authority`` at ``nonce_address``."""
    account, text = nonce_address(payer, seed), seed.encode("ascii")
    data = b"".join(
        (
            _CREATE_WITH_SEED.to_bytes(4, "little"),
            payer,
            len(text).to_bytes(8, "little") + text,
            rent.to_bytes(8, "little") + NONCE_BYTES.to_bytes(8, "little"),
            SYSTEM_PROGRAM,
        )
    )
    read = ((RECENT_BLOCKHASHES, False), (RENT_SYSVAR, False))
    create = Instruction(SYSTEM_PROGRAM, ((payer, True), (account, True)), data)
    initialize = Instruction(
        SYSTEM_PROGRAM, ((account, True), *read), _INITIALIZE_NONCE.to_bytes(4, "little") + authority
    )
    return message(payer, blockhash, instructions=[create, initialize])


def nonce_address(payer: bytes, seed: str) -> bytes:
    """The account that ``payer`` makes by a seed of at most 32 letters, without a key of its own."""
    return hashlib.sha256(payer + seed.encode("ascii") + SYSTEM_PROGRAM).digest()


def message(payer: bytes, blockhash: bytes, *, instructions: Sequence[Instruction]) -> bytes:
    """A legacy message that ``payer`` alone signs: written accounts, then read ones, each kind sorted."""
    written = {key for one in instructions for key, writes in one.accounts if writes} - {payer}
    named = {key for one in instructions for key in (one.program, *(key for key, _ in one.accounts))}
    keys = (payer, *sorted(written), *sorted(named - written - {payer}))
    place = {key: bytes([index]) for index, key in enumerate(keys)}
    parts = [bytes([1, 0, len(keys) - 1 - len(written)]), _counted(keys), blockhash]
    parts.append(bytes([len(instructions)]))
    for one in instructions:
        parts += [place[one.program], _counted([place[key] for key, _ in one.accounts])]
        parts += [bytes([len(one.data)]), one.data]
    return b"".join(parts)


def paths(tx: bytes, *, key: KeyRecord, wallet: Wallet, path: str) -> tuple[str, ...]:
    """One signature, that of the only account."""
    return (path,)


def finished(job: Job) -> tuple[bytes, bytes]:
    """The transaction of a signed job, and its name: the signature."""
    (signature,) = job.signatures
    return with_signature(job.tx, signature), signature


def with_signature(tx: bytes, signature: bytes = bytes(SIGNATURE_BYTES)) -> bytes:
    """A message as the network takes it; without a signature, for a simulation."""
    return b"\x01" + signature + tx


def value_of(raw: bytes) -> bytes:
    """The nonce of a sent transaction of one signature, if it has one."""
    message = raw[1 + SIGNATURE_BYTES :]
    if raw[:1] != b"\x01" or len(message) < _KEYS_FROM:
        return b""
    return message[_KEYS_FROM + SOLANA_KEY_BYTES * message[_KEYS_FROM - 1] :][:SOLANA_KEY_BYTES]


def payer_of(tx: bytes) -> bytes:
    """Who pays for a message of ours. Raises ``MalformedError``."""
    payer = tx[_KEYS_FROM : _KEYS_FROM + SOLANA_KEY_BYTES]
    if len(payer) != SOLANA_KEY_BYTES:
        raise MalformedError(f"a message of {len(tx)} bytes names no payer")
    return payer


def instructions_of(tx: bytes) -> list[Instruction]:
    """What a message of ours does; whether accounts are written is not told. Raises ``MalformedError``."""
    try:
        return list(_read(tx))
    except IndexError as error:
        raise MalformedError(f"a message of {len(tx)} bytes is cut off") from error


def priority_of(tx: bytes) -> Priority | None:
    """What a message of ours offers beside the fixed fee."""
    told = {one.data[:1]: one.data[1:] for one in instructions_of(tx) if one.program == COMPUTE_BUDGET}
    if not told:
        return None
    units, price = (
        int.from_bytes(told.get(kind, b""), "little") for kind in (_SET_UNIT_LIMIT, _SET_UNIT_PRICE)
    )
    return Priority(units, price)


def fee_of(priority: Priority | None) -> int:
    """What a message takes of its payer at most, in lamports, beside what it pays."""
    return LAMPORTS_PER_SIGNATURE + (priority.lamports if priority is not None else 0)


def pays(tx: bytes) -> bool:
    """Whether a message of ours does more than use up its nonce."""
    return any(one.program != COMPUTE_BUDGET for one in instructions_of(tx)[1:])


def _under(nonce: Nonce, priority: Priority | None, *instructions: Instruction) -> bytes:
    accounts = ((nonce.account, True), (RECENT_BLOCKHASHES, False), (nonce.authority, False))
    advance = Instruction(SYSTEM_PROGRAM, accounts, _ADVANCE_NONCE.to_bytes(4, "little"))
    return message(nonce.authority, nonce.value, instructions=[advance, *_offer(priority), *instructions])


def _offer(priority: Priority | None) -> Iterable[Instruction]:
    if priority is None:
        return ()
    limit = _SET_UNIT_LIMIT + priority.units.to_bytes(4, "little")
    price = _SET_UNIT_PRICE + priority.price.to_bytes(8, "little")
    return (Instruction(COMPUTE_BUDGET, (), limit), Instruction(COMPUTE_BUDGET, (), price))


def _counted(parts: Sequence[bytes]) -> bytes:
    if len(parts) > _ONE_BYTE_MAX:
        raise CallerError(f"{len(parts)} accounts in a message, at most {_ONE_BYTE_MAX} are written")
    return bytes([len(parts)]) + b"".join(parts)


def _read(tx: bytes) -> Iterable[Instruction]:
    count = tx[_KEYS_FROM - 1]
    keys = [tx[_KEYS_FROM + SOLANA_KEY_BYTES * index :][:SOLANA_KEY_BYTES] for index in range(count)]
    at = _KEYS_FROM + SOLANA_KEY_BYTES * (count + 1)
    left, at = tx[at], at + 1
    for _ in range(left):
        program, named = keys[tx[at]], tx[at + 1]
        accounts = tuple((keys[place], False) for place in tx[at + 2 : at + 2 + named])
        at += 2 + named
        data = tx[at + 1 : at + 1 + tx[at]]
        at += 1 + len(data)
        yield Instruction(program, accounts, data)
