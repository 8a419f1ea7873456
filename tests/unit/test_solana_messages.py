"""Messages that the coordinator writes are, byte for byte, those that another library writes."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import (
    ID,
    AdvanceNonceAccountParams,
    TransferParams,
    advance_nonce_account,
    create_nonce_account_with_seed,
    transfer,
)
from solders.token import ID as TOKEN
from solders.token.associated import get_associated_token_address

from custody.chains.solana.agreement import SolanaNodes
from custody.chains.solana.chain import Options, SolanaChain
from custody.chains.solana.rpc import Account as SolanaAccount
from custody.chains.solana.rpc import SolanaRpc, Status
from custody.chains.solana.transaction import (
    Nonce,
    Priority,
    cancellation,
    fee_of,
    nonce_address,
    nonce_creation,
    payer_of,
    payment,
    pays,
    priority_of,
    token_payment,
    with_signature,
)
from policy.accounts import Account
from policy.addresses import solana_address
from policy.decode.decoded import Cancel, Source, Transfer
from policy.decode.solana import decode, decode_cancel
from policy.errors import MalformedError
from policy.intent import Intent
from policy.state import CANCEL

CHAIN = "solana:localnet"
NONCE = Nonce(b"\x11" * 32, b"\x55" * 32, bytes(range(32)))
PAYER, ACCOUNT = Pubkey(NONCE.authority), Pubkey(NONCE.account)
OWNER = Pubkey.from_string("9B5XszUGdMaxCZ7uSQhPzdks5ZQSmWxrmzCSvtJ6Ns6g")
MINT = Pubkey(b"\x66" * 32)
SOURCE = Source(
    CHAIN, (Account("m", solana_address(NONCE.authority), NONCE.authority, 0, None),), lambda _: False
)
AMOUNTS = st.integers(1, 2**64 - 1)
PRIORITIES = st.none() | st.builds(Priority, st.integers(1, 1_400_000), st.integers(0, 2**50))


def by_solders(priority: Priority | None, *instructions: Instruction) -> bytes:
    """The message of another library."""
    made = [advance_nonce_account(AdvanceNonceAccountParams(nonce_pubkey=ACCOUNT, authorized_pubkey=PAYER))]
    if priority is not None:
        made += [set_compute_unit_limit(priority.units), set_compute_unit_price(priority.price)]
    return bytes(Message.new_with_blockhash([*made, *instructions], PAYER, Hash(NONCE.value)))


def intent(asset: str, amount: int) -> Intent:
    return Intent(CHAIN, "wallet", asset, amount, str(OWNER))


@settings(max_examples=25, deadline=None)
@given(AMOUNTS, PRIORITIES)
def test_a_payment_is_anothers_and_means_what_was_asked(amount: int, priority: Priority | None) -> None:
    tx = payment(NONCE, intent("sol", amount), priority=priority)
    moved = transfer(TransferParams(from_pubkey=PAYER, to_pubkey=OWNER, lamports=amount))

    assert tx == by_solders(priority, moved)
    found = decode(tx, SOURCE)
    assert isinstance(found, Transfer)
    assert (found.recipient, found.amount, found.fee_max) == (str(OWNER), amount, fee_of(priority))
    assert found.anchor == NONCE.slot(CHAIN) and Nonce.of_slot(found.anchor, authority=payer_of(tx)) == NONCE
    assert (priority_of(tx), pays(tx)) == (priority, True)


@settings(max_examples=25, deadline=None)
@given(PRIORITIES)
def test_a_cancellation_is_anothers_and_moves_nothing(priority: Priority | None) -> None:
    tx = cancellation(NONCE, priority)

    assert tx == by_solders(priority)
    assert decode_cancel(tx, SOURCE) == Cancel(NONCE.slot(CHAIN), fee_of(priority), (tx,))
    assert (priority_of(tx), pays(tx)) == (priority, False)


@settings(max_examples=25, deadline=None)
@given(AMOUNTS, st.integers(0, 255), PRIORITIES)
def test_a_payment_of_tokens_is_anothers(amount: int, decimals: int, priority: Priority | None) -> None:
    tx = token_payment(NONCE, intent("tok", amount), mint=bytes(MINT), decimals=decimals, priority=priority)
    source, target = (get_associated_token_address(owner, MINT, TOKEN) for owner in (PAYER, OWNER))
    programs = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
    read = [AccountMeta(key, False, False) for key in (OWNER, MINT, ID, TOKEN)]
    create = [AccountMeta(PAYER, True, True), AccountMeta(target, False, True), *read]
    move = [
        AccountMeta(source, False, True),
        AccountMeta(MINT, False, False),
        AccountMeta(target, False, True),
        AccountMeta(PAYER, True, False),
    ]
    data = b"\x0c" + amount.to_bytes(8, "little") + bytes([decimals])

    assert tx == by_solders(priority, Instruction(programs, b"\x01", create), Instruction(TOKEN, data, move))
    found = decode(tx, SOURCE)
    assert isinstance(found, Transfer)
    assert (found.recipient, found.contract, found.amount) == (str(OWNER), str(MINT), amount)
    assert (priority_of(tx), pays(tx)) == (priority, True)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 2**40), st.text("abc-123", min_size=1, max_size=32))
def test_a_nonce_account_is_made_as_another_library_makes_it(rent: int, seed: str) -> None:
    account = Pubkey.create_with_seed(PAYER, seed, ID)
    made = create_nonce_account_with_seed(PAYER, account, PAYER, seed, OWNER, rent)
    tx = nonce_creation(bytes(PAYER), bytes(OWNER), seed=seed, rent=rent, blockhash=NONCE.value)

    assert nonce_address(bytes(PAYER), seed) == bytes(account)
    assert tx == bytes(Message.new_with_blockhash(made, PAYER, Hash(NONCE.value)))


@pytest.mark.parametrize("length", [0, 3, 40, 150])
def test_a_message_that_is_cut_off_is_no_message(length: int) -> None:
    tx = cancellation(NONCE, Priority(1, 1))[:length]

    with pytest.raises(MalformedError):
        priority_of(tx)


@pytest.mark.parametrize(("ceiling", "room"), [(8_749, False), (8_750, True)])
def test_a_dearer_cancellation_has_room_in_what_others_have_left_of_the_ceiling(
    ceiling: int, room: bool
) -> None:
    rpc = SolanaRpc("solana:localnet", "http://127.0.0.1:1")
    chain = SolanaChain(SolanaNodes(rpc.name, {"node": rpc}), Options((), 100_000))
    before = cancellation(Nonce(b"\x01" * 32, b"\x02" * 32, b"\x03" * 32), Priority(1_000, 3_000_000))

    assert fee_of(priority_of(before)) == 8_000  # and a quarter more of what it offers is 8,750
    assert chain.can_be_dearer(before, purpose=CANCEL, ceiling=ceiling) is room


class Used(SolanaRpc):
    """A node whose nonce account was advanced by the last of some transactions, newest first."""

    sent: tuple[bytes, ...] = ()

    async def accounts(self, addresses: Sequence[str]) -> list[SolanaAccount | None]:
        data = b"\x01\0\0\0" * 2 + NONCE.authority + b"\x99" * 32 + bytes(8)
        return [SolanaAccount(1, bytes(32), False, data)]

    async def uses(self, address: str) -> list[tuple[bytes, Status]]:
        return [(raw[1:65], Status(7, 2, True)) for raw in self.sent]

    async def raw(self, signature: bytes) -> bytes:
        return next(raw for raw in self.sent if raw[1:65] == signature)


async def test_what_others_do_with_the_same_value_of_their_own_nonce_account_used_up_no_place() -> None:
    rpc = Used(CHAIN, "http://127.0.0.1:1")
    theirs = Nonce(b"\x77" * 32, b"\x88" * 32, NONCE.value)
    rpc.sent = (
        with_signature(cancellation(theirs), b"\1" * 64),
        with_signature(cancellation(NONCE), b"\2" * 64),
    )
    chain = SolanaChain(SolanaNodes(CHAIN, {"node": rpc}), Options((), 100_000))
    landed = await chain.landed(NONCE.slot(CHAIN), ())

    assert landed is not None and landed.signatures == (b"\2" * 64,)
    assert landed.tx == cancellation(NONCE)
