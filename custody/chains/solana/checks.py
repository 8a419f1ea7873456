"""What the cluster would refuse, said in words before anything is reserved; and what accounts say. Pure."""

from dataclasses import dataclass

from custody.chains.solana.rpc import Account
from policy.addresses import solana_address
from policy.decode.solana import SYSTEM_PROGRAM, TOKEN_ACCOUNT_RENT
from policy.ed25519 import is_on_curve
from policy.errors import OperationalError
from policy.token_accounts import TOKEN_PROGRAM

TOKEN_ACCOUNT_BYTES, MINT_BYTES = 165, 82
_STATE_AT, _INITIALIZED = 108, 1
_DECIMALS_AT, _MINT_INITIALIZED_AT = 44, 45


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays: the address, what it has, and what an account without data has to keep."""

    address: str
    lamports: int
    rent: int

    def check(self, needed: int) -> None:
        """That so many lamports leave it empty, or with its rent. Raises ``OperationalError``."""
        left = self.lamports - needed
        if left < 0:
            raise OperationalError(
                f"{self.address} has {self.lamports} lamports, {needed} are needed: fund it"
            )
        if 0 < left < self.rent:
            raise OperationalError(
                f"{self.address} would be left with {left} lamports, less than its rent of {self.rent}: "
                "pay less, or fund it"
            )


def check_target(target: Account | None, amount: int, *, address: str, rent: int) -> None:
    """That an address can be paid SOL. Raises ``OperationalError``."""
    if target is not None and target.executable:
        raise OperationalError(
            f"{address} is a program, which takes no payment: ask anew for another address"
        )
    if target is not None and target.owner != SYSTEM_PROGRAM:
        raise OperationalError(
            f"{address} is kept by program {solana_address(target.owner)}, which may not give SOL back: "
            "ask anew for another"
        )
    if lamports_of(target) + amount < rent:
        raise OperationalError(
            f"{amount} lamports are less than the {rent} that a new account {address} has to have: pay more"
        )


def check_owner(owner: bytes) -> None:
    """That tokens can be paid to who owns a token account. Raises ``OperationalError``."""
    if not is_on_curve(owner):
        raise OperationalError(
            f"{solana_address(owner)} is no key, but perhaps a token account: ask anew for its owner"
        )


def decimals_of(mint: str, account: Account | None) -> int:
    """The decimals of a token of the first Token program. Raises ``OperationalError``."""
    if account is None or account.owner != TOKEN_PROGRAM or len(account.data) != MINT_BYTES:
        raise OperationalError(f"{mint} is no mint of the first Token program, and no other one's are paid")
    if account.data[_MINT_INITIALIZED_AT] != _INITIALIZED:
        raise OperationalError(f"the mint {mint} is not initialized: look at the policy's contract")
    return account.data[_DECIMALS_AT]


def check_tokens(source: Account | None, amount: int, *, mint: bytes, owner: bytes) -> None:
    """That a wallet's token account has the amount. Raises ``OperationalError``."""
    has = tokens_of(source, mint=mint, owner=owner)
    if has < amount:
        raise OperationalError(
            f"{has} of {amount} are in the token account of {solana_address(owner)}: fund it"
        )
    _check_moving(source, owner)


def check_token_target(target: Account | None, *, mint: bytes, owner: bytes) -> int:
    """What making the token account of who is paid costs, 0 if it is there. Raises ``OperationalError``."""
    if target is None or target.owner != TOKEN_PROGRAM:
        return max(0, TOKEN_ACCOUNT_RENT - lamports_of(target))
    if target.data[:64] != mint + owner:
        raise OperationalError(f"the token account of {solana_address(owner)} is somebody else's by now")
    _check_moving(target, owner)
    return 0


def tokens_of(account: Account | None, *, mint: bytes, owner: bytes) -> int:
    """What is in a token account, 0 where there is none of that owner."""
    if account is None or account.owner != TOKEN_PROGRAM or len(account.data) != TOKEN_ACCOUNT_BYTES:
        return 0
    return int.from_bytes(account.data[64:72], "little") if account.data[:64] == mint + owner else 0


def lamports_of(account: Account | None) -> int:
    """What is at an address, in lamports."""
    return 0 if account is None else account.lamports


def _check_moving(account: Account | None, owner: bytes) -> None:
    if account is not None and account.data[_STATE_AT : _STATE_AT + 1] != bytes([_INITIALIZED]):
        raise OperationalError(
            f"the token account of {solana_address(owner)} is frozen: ask who issues the token"
        )
