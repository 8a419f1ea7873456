"""Unsigned Solana messages: the transfers this system signs, of SOL and of tokens, and the cancellation.

What is accepted, and nothing else: a legacy message with one signature, that of the source, who pays the fee
and has the authority over the nonce account. Its instructions are, in this order,

1. the System program's AdvanceNonceAccount; the message's recent blockhash is the durable nonce's value;
2. perhaps the Compute Budget program's SetComputeUnitLimit and SetComputeUnitPrice, both: the priority fee;
3. the System program's Transfer; or the Associated Token Account program's CreateIdempotent for who gets it
   and the Token program's TransferChecked; or nothing, which cancels.

Exactly the accounts these need are listed, each once, each as writable as it has to be, sorted. What is
signed is the whole message.

A message does not say whether its value is a durable nonce or a recent blockhash. If it were the latter, the
chain would take each different message with it once, but never the same one twice. So the fold holds a
request to one message (``policy.reservations``). Nor does it name its cluster; that an account is of one
wallet on one of them is the policy's rule.
"""

from dataclasses import dataclass

from policy import base58
from policy.addresses import solana_address
from policy.approval import Slot
from policy.decode.decoded import Cancel, Refusal, Source, Transfer, Undecodable, require
from policy.decode.solana_message import Instruction, Message, check_accounts, parse_message
from policy.ed25519 import is_on_curve
from policy.ids import LAMPORTS_PER_SIGNATURE
from policy.token_accounts import TOKEN_ACCOUNTS_PROGRAM, TOKEN_PROGRAM, token_account

TOKEN_ACCOUNT_RENT = 2_039_280
COMPUTE_UNITS_MAX = 1_400_000
SYSTEM_PROGRAM = bytes(32)
COMPUTE_BUDGET = base58.decode("ComputeBudget111111111111111111111111111111")
RECENT_BLOCKHASHES = base58.decode("SysvarRecentB1ockHashes11111111111111111111")
_ADVANCE_NONCE = (4).to_bytes(4, "little")
_TRANSFER = (2).to_bytes(4, "little")
_UNIT_LIMIT, _UNIT_PRICE = b"\x02", b"\x03"
_CREATE_IDEMPOTENT, _TRANSFER_CHECKED = b"\x01", b"\x0c"
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class _Start:
    """What every message begins with; ``rest`` is what comes after it, ``read`` what it only reads."""

    payer: bytes
    message: Message
    nonce_account: bytes
    fee: int
    read: tuple[bytes, ...]
    rest: tuple[Instruction, ...]


def decode(tx: bytes, source: Source) -> Transfer | Undecodable:
    """Say what the unsigned message ``tx`` transfers, or why it is not a transfer we sign.

    Total: any bytes give an answer.
    """
    try:
        start = _start(tx, source)
        found = _tokens(start, tx, source) if len(start.rest) == 2 else _lamports(start, tx, source)
    except Refusal as refusal:
        return Undecodable(str(refusal))
    return found


def decode_cancel(tx: bytes, source: Source) -> Cancel | Undecodable:
    """Say which durable nonce the unsigned message ``tx`` uses up without moving anything."""
    try:
        start = _start(tx, source)
        require(not start.rest, f"a cancellation does nothing else, got {len(start.rest)} instructions more")
        check_accounts(start.message, start.payer, written=(start.nonce_account,), read=start.read)
    except Refusal as refusal:
        return Undecodable(str(refusal))
    return Cancel(_anchor(start, source), start.fee, (tx,))


def _start(tx: bytes, source: Source) -> _Start:
    require(len(source.accounts) == 1, f"one account signs, the reservation names {len(source.accounts)}")
    message, payer = parse_message(tx), source.accounts[0].public_key
    require(len(message.instructions) > 0, "it has no instructions")
    advance, *rest = message.instructions
    nonce_account = _nonce_account(advance, payer)
    fee, read = LAMPORTS_PER_SIGNATURE, [SYSTEM_PROGRAM, RECENT_BLOCKHASHES]
    if rest and rest[0].program == COMPUTE_BUDGET:
        fee += _priority_fee(rest[:2])
        read.append(COMPUTE_BUDGET)
        rest = rest[2:]
    return _Start(payer, message, nonce_account, fee, tuple(read), tuple(rest))


def _anchor(start: _Start, source: Source) -> Slot:
    value = int.from_bytes(start.message.blockhash, "big")
    return Slot(source.chain, solana_address(start.nonce_account), value)


def _nonce_account(instruction: Instruction, payer: bytes) -> bytes:
    require(
        instruction.program == SYSTEM_PROGRAM and instruction.data == _ADVANCE_NONCE,
        "the first instruction is not the System program's AdvanceNonceAccount",
    )
    accounts = instruction.accounts
    require(len(accounts) == 3, f"AdvanceNonceAccount takes 3 accounts, got {len(accounts)}")
    require(accounts[1] == RECENT_BLOCKHASHES, "its second account is not the sysvar of recent blockhashes")
    require(accounts[2] == payer, "the nonce account's authority is not the account that pays")
    return accounts[0]


def _priority_fee(pair: list[Instruction]) -> int:
    """The lamports that the limit of compute units costs at the price of each, rounded up."""
    require(
        [(one.program, one.data[:1]) for one in pair]
        == [(COMPUTE_BUDGET, _UNIT_LIMIT), (COMPUTE_BUDGET, _UNIT_PRICE)],
        "the priority fee is not SetComputeUnitLimit and then SetComputeUnitPrice",
    )
    limit, price = pair
    require(not limit.accounts and not price.accounts, "the priority fee takes no accounts")
    require(len(limit.data) == 5, f"SetComputeUnitLimit has 5 bytes of data, got {len(limit.data)}")
    require(len(price.data) == 9, f"SetComputeUnitPrice has 9 bytes of data, got {len(price.data)}")
    units, each = (int.from_bytes(one.data[1:], "little") for one in pair)
    require(0 < units <= COMPUTE_UNITS_MAX, f"{units} compute units, from 1 to {COMPUTE_UNITS_MAX} are taken")
    return -(-units * each // _MICRO)


def _lamports(start: _Start, tx: bytes, source: Source) -> Transfer:
    require(len(start.rest) == 1, f"need 1 or 2 instructions that pay, got {len(start.rest)}")
    (instruction,) = start.rest
    data, accounts = instruction.data, instruction.accounts
    require(
        instruction.program == SYSTEM_PROGRAM and data[:4] == _TRANSFER,
        "the instruction that pays is not the System program's Transfer",
    )
    require(len(data) == 12, f"Transfer has 12 bytes of data, got {len(data)}")
    require(len(accounts) == 2, f"Transfer takes 2 accounts, got {len(accounts)}")
    require(accounts[0] == start.payer, "the transfer is not from the account that signs")
    check_accounts(start.message, start.payer, written=(start.nonce_account, accounts[1]), read=start.read)
    return Transfer(
        anchor=_anchor(start, source),
        contract=None,
        recipient=solana_address(accounts[1]),
        amount=_amount(data[4:]),
        fee_max=start.fee,
        messages=(tx,),
    )


def _tokens(start: _Start, tx: bytes, source: Source) -> Transfer:
    """A transfer of tokens to ``owner``, whose account for them is made if there is none.

    CreateIdempotent fails when that account has another owner by now. TransferChecked fails when the mint has
    other ``decimals``, which the fold compares with the policy's.
    """
    create, move = start.rest
    owner, mint = _created_for(create, start.payer)
    source_account, account = token_account(start.payer, mint), token_account(owner, mint)
    require(
        create.accounts == (start.payer, account, owner, mint, SYSTEM_PROGRAM, TOKEN_PROGRAM),
        "CreateIdempotent is not for the owner's token account of that mint, under the first Token program",
    )
    require(
        move.program == TOKEN_PROGRAM and move.data[:1] == _TRANSFER_CHECKED and len(move.data) == 10,
        "the last instruction is not the Token program's TransferChecked with 10 bytes of data",
    )
    require(
        move.accounts == (source_account, mint, account, start.payer),
        "TransferChecked is not from the payer's token account to the owner's, of one mint, by the payer",
    )
    check_accounts(
        start.message,
        start.payer,
        written=(start.nonce_account, source_account, account),
        read=(*start.read, owner, mint, TOKEN_PROGRAM, TOKEN_ACCOUNTS_PROGRAM),
    )
    return Transfer(
        anchor=_anchor(start, source),
        contract=solana_address(mint),
        recipient=solana_address(owner),
        amount=_amount(move.data[1:9]),
        fee_max=start.fee + TOKEN_ACCOUNT_RENT,
        messages=(tx,),
        decimals=move.data[9],
    )


def _created_for(create: Instruction, payer: bytes) -> tuple[bytes, bytes]:
    """The owner and the mint of the token account that is paid to."""
    require(
        create.program == TOKEN_ACCOUNTS_PROGRAM and create.data == _CREATE_IDEMPOTENT,
        "before a token's transfer there is not the Associated Token Account program's CreateIdempotent",
    )
    require(len(create.accounts) == 6, f"CreateIdempotent takes 6 accounts, got {len(create.accounts)}")
    owner, mint = create.accounts[2:4]
    require(owner != payer, "the tokens would go back to the account that signs")
    require(
        is_on_curve(owner),
        "who gets the tokens is no key, but perhaps a token account: name the wallet that owns it",
    )
    return owner, mint


def _amount(data: bytes) -> int:
    amount = int.from_bytes(data, "little")
    require(amount > 0, "the amount is zero: there is nothing to transfer")
    return amount
