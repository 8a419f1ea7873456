"""Solana messages as another library builds them."""

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM
from solders.system_program import (
    AdvanceNonceAccountParams,
    TransferParams,
    advance_nonce_account,
    transfer,
)
from solders.token import ID as TOKENS
from solders.token.associated import get_associated_token_address

TOKEN_ACCOUNTS = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")


def advance(nonce: bytes, authority: bytes) -> Instruction:
    """The nonce moves on."""
    return advance_nonce_account(
        AdvanceNonceAccountParams(nonce_pubkey=Pubkey(nonce), authorized_pubkey=Pubkey(authority))
    )


def pay(sender: bytes, to: bytes, lamports: int) -> Instruction:
    """SOL moves."""
    return transfer(TransferParams(from_pubkey=Pubkey(sender), to_pubkey=Pubkey(to), lamports=lamports))


def priority(units: int, price: int) -> list[Instruction]:
    """A limit of compute units and a price of each in micro-lamports."""
    return [set_compute_unit_limit(units), set_compute_unit_price(price)]


def create_account(payer: bytes, owner: bytes, mint: bytes) -> Instruction:
    """The owner has an account for tokens of the mint from now on, if there was none."""
    metas = [
        AccountMeta(Pubkey(payer), is_signer=True, is_writable=True),
        AccountMeta(account_of(owner, mint), is_signer=False, is_writable=True),
        *_read(Pubkey(owner), Pubkey(mint), SYSTEM, TOKENS),
    ]
    return Instruction(TOKEN_ACCOUNTS, b"\x01", metas)


def move_tokens(sender: bytes, owner: bytes, mint: bytes, *, amount: int, decimals: int) -> Instruction:
    """Tokens move from account to account."""
    metas = [
        AccountMeta(account_of(sender, mint), is_signer=False, is_writable=True),
        *_read(Pubkey(mint)),
        AccountMeta(account_of(owner, mint), is_signer=False, is_writable=True),
        AccountMeta(Pubkey(sender), is_signer=True, is_writable=False),
    ]
    return Instruction(TOKENS, b"\x0c" + amount.to_bytes(8, "little") + bytes([decimals]), metas)


def pay_tokens(
    sender: bytes, owner: bytes, mint: bytes, *, amount: int, decimals: int = 6
) -> list[Instruction]:
    """Both instructions that pay tokens."""
    moved = move_tokens(sender, owner, mint, amount=amount, decimals=decimals)
    return [create_account(sender, owner, mint), moved]


def message(payer: bytes, nonce: bytes, *instructions: Instruction) -> bytes:
    """The message that does all this."""
    return bytes(Message.new_with_blockhash(list(instructions), Pubkey(payer), Hash(nonce)))


def account_of(owner: bytes, mint: bytes) -> Pubkey:
    """Where the owner has tokens of the mint."""
    return get_associated_token_address(Pubkey(owner), Pubkey(mint))


def _read(*keys: Pubkey) -> list[AccountMeta]:
    return [AccountMeta(key, is_signer=False, is_writable=False) for key in keys]
