"""The Solana decoder signs nothing it does not wholly understand; one transfer has one message."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.message import Message, MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.system_program import WithdrawNonceAccountParams as WithdrawParams
from solders.system_program import withdraw_nonce_account

from policy.accounts import Account
from policy.addresses import solana_address
from policy.approval import Slot
from policy.decode.decoded import Cancel, Source, Transfer, Undecodable
from policy.decode.solana import (
    RECENT_BLOCKHASHES,
    SYSTEM_PROGRAM,
    decode,
    decode_cancel,
)
from policy.decode.solana_message import MESSAGE_BYTES_MAX
from policy.ids import LAMPORTS_PER_SIGNATURE
from policy.values import replace
from tests.unit import solana_house as house

CHAIN = "solana:localnet"
PAYER, NONCE_ACCOUNT, TO, OTHER = (bytes([mark]) * 32 for mark in (0x11, 0x55, 0x33, 0x77))
NONCE = bytes(range(32))
SOURCE = Source(CHAIN, (Account("m", solana_address(PAYER), PAYER, 0, None),), lambda _: False)
KEYS = st.binary(min_size=32, max_size=32)


def advance(*, nonce: bytes = NONCE_ACCOUNT, authority: bytes = PAYER) -> Instruction:
    return house.advance(nonce, authority)


def pay(*, to: bytes = TO, lamports: int = 7, sender: bytes = PAYER) -> Instruction:
    return house.pay(sender, to, lamports)


def message(*instructions: Instruction, payer: bytes = PAYER, nonce: bytes = NONCE) -> bytes:
    return house.message(payer, nonce, *instructions)


PAYMENT, CANCELLATION = message(advance(), pay()), message(advance())


def decoded(tx: bytes) -> Transfer:
    result = decode(tx, SOURCE)
    assert isinstance(result, Transfer), result
    return result


def by_hand(
    keys: tuple[bytes, ...],
    instructions: tuple[tuple[int, tuple[int, ...], bytes], ...],
    *,
    header: tuple[int, int, int] = (1, 0, 2),
) -> bytes:
    """A message of any keys and instructions, each (program, accounts, data), by index."""
    parts = [bytes(header), bytes([len(keys)]), *keys, NONCE, bytes([len(instructions)])]
    for program, accounts, data in instructions:
        parts += [bytes([program, len(accounts), *accounts]), bytes([len(data)]), data]
    return b"".join(parts)


def as_made(**changed: int) -> bytes:
    """The payment made by hand, with indices into payer, recipient, nonce account, program, sysvar."""
    at = {"nonce": 2, "sysvar": 4, "authority": 0, "sender": 0, "to": 1, "first": 3, "second": 3, **changed}
    return by_hand(
        (PAYER, TO, NONCE_ACCOUNT, SYSTEM_PROGRAM, RECENT_BLOCKHASHES),
        (
            (at["first"], (at["nonce"], at["sysvar"], at["authority"]), b"\4\0\0\0"),
            (at["second"], (at["sender"], at["to"]), b"\2\0\0\0" + (7).to_bytes(8, "little")),
        ),
    )


@settings(max_examples=100, deadline=None)
@given(KEYS, KEYS, KEYS, KEYS, st.integers(1, 2**64 - 1))
def test_a_payment_of_another_library_is_read_as_it_means(
    payer: bytes, nonce_account: bytes, to: bytes, nonce: bytes, lamports: int
) -> None:
    source = Source(CHAIN, (Account("m", solana_address(payer), payer, 0, None),), lambda _: False)
    instructions = (
        advance(nonce=nonce_account, authority=payer),
        pay(to=to, lamports=lamports, sender=payer),
    )
    tx = message(*instructions, payer=payer, nonce=nonce)
    result = decode(tx, source)

    if len({payer, nonce_account, to, SYSTEM_PROGRAM, RECENT_BLOCKHASHES}) < 5:
        assert isinstance(result, Undecodable)
        return
    assert result == Transfer(
        anchor=Slot(CHAIN, str(Pubkey(nonce_account)), int.from_bytes(nonce, "big")),
        contract=None,
        recipient=str(Pubkey(to)),
        amount=lamports,
        fee_max=LAMPORTS_PER_SIGNATURE,
        messages=(tx,),
    )


def test_the_fee_is_what_the_network_charges_for_one_signature() -> None:
    assert Message.from_bytes(PAYMENT).header.num_required_signatures * 5000 == decoded(PAYMENT).fee_max


def test_advancing_the_nonce_alone_is_a_cancellation_and_no_payment() -> None:
    result = decode_cancel(CANCELLATION, SOURCE)

    assert result == Cancel(decoded(PAYMENT).anchor, LAMPORTS_PER_SIGNATURE, (CANCELLATION,))
    assert isinstance(decode(CANCELLATION, SOURCE), Undecodable)
    assert isinstance(decode_cancel(PAYMENT, SOURCE), Undecodable)


@pytest.mark.parametrize("order", list(itertools.permutations(range(5)))[1:])
def test_a_transfer_has_one_message(order: tuple[int, ...]) -> None:
    """Another order of the accounts would be another transaction that does the same: paid twice."""
    keys = (PAYER, TO, NONCE_ACCOUNT, SYSTEM_PROGRAM, RECENT_BLOCKHASHES)
    assert as_made() == PAYMENT
    at = {key: order.index(place) for place, key in enumerate(keys)}
    tx = by_hand(
        tuple(keys[place] for place in order),
        (
            (at[SYSTEM_PROGRAM], (at[NONCE_ACCOUNT], at[RECENT_BLOCKHASHES], at[PAYER]), b"\4\0\0\0"),
            (at[SYSTEM_PROGRAM], (at[PAYER], at[TO]), b"\2\0\0\0" + (7).to_bytes(8, "little")),
        ),
    )

    assert isinstance(decode(tx, SOURCE), Undecodable)


@pytest.mark.parametrize(
    "tx",
    [
        b"",
        message(pay()),
        message(pay(), advance()),
        message(advance(), pay(), pay(to=OTHER)),
        message(advance(), advance()),
        message(advance(), pay(lamports=0)),
        message(advance(), pay(to=PAYER)),
        message(advance(), pay(to=NONCE_ACCOUNT)),
        message(advance(), pay(sender=OTHER)),
        message(advance(authority=OTHER), pay()),
        message(advance(nonce=PAYER), pay()),
        message(advance(), pay(), payer=OTHER),
        message(advance(authority=OTHER), pay(sender=OTHER), payer=OTHER),
        message(
            withdraw_nonce_account(
                WithdrawParams(
                    nonce_pubkey=Pubkey(NONCE_ACCOUNT),
                    authorized_pubkey=Pubkey(PAYER),
                    to_pubkey=Pubkey(TO),
                    lamports=7,
                )
            ),
            pay(),
        ),
        message(
            advance(),
            Instruction(Pubkey(OTHER), b"", [AccountMeta(Pubkey(PAYER), is_signer=True, is_writable=True)]),
        ),
        message(
            advance(),
            Instruction(
                Pubkey(SYSTEM_PROGRAM),
                pay().data + b"\0",
                [*pay().accounts],
            ),
        ),
        PAYMENT + b"\0",
        PAYMENT[:-1],
        bytes(MESSAGE_BYTES_MAX + 1),
        as_made(authority=1),
        as_made(sysvar=3),
        as_made(sender=1),
        as_made(nonce=1),
        as_made(first=4),
        as_made(second=2),
        as_made(to=5),
        b"\x01\x00\x01" + PAYMENT[3:],
        b"\x01\x01\x02" + PAYMENT[3:],
        b"\x02\x00\x02" + PAYMENT[3:],
        PAYMENT[:3] + b"\x85\x00" + PAYMENT[4:],
        PAYMENT[:3] + b"\x85\x80\x00" + PAYMENT[4:],
        PAYMENT[:3] + b"\x80\x80\x80\x00" + PAYMENT[4:],
    ],
)
def test_messages_that_do_anything_else_are_refused(tx: bytes) -> None:
    assert isinstance(decode(tx, SOURCE), Undecodable)
    assert isinstance(decode_cancel(tx, SOURCE), Undecodable)


def test_a_versioned_message_is_refused() -> None:
    made = MessageV0.try_compile(Pubkey(PAYER), [advance(), pay()], [], Hash(NONCE))
    result = decode(to_bytes_versioned(made), SOURCE)

    assert isinstance(result, Undecodable)
    assert "versioned" in result.reason


def test_an_account_that_nobody_needs_is_refused() -> None:
    keys = (PAYER, TO, NONCE_ACCOUNT, OTHER, SYSTEM_PROGRAM, RECENT_BLOCKHASHES)
    advanced = (4, (2, 5, 0), b"\4\0\0\0")
    tx = by_hand(keys, (advanced, (4, (0, 1), b"\2\0\0\0" + (7).to_bytes(8, "little"))))

    assert isinstance(decode(tx, SOURCE), Undecodable)


@pytest.mark.parametrize("count", [0, 2])
def test_one_account_signs(count: int) -> None:
    source = replace(SOURCE, accounts=SOURCE.accounts * count)

    assert isinstance(decode(PAYMENT, source), Undecodable)
    assert isinstance(decode_cancel(CANCELLATION, source), Undecodable)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"\x01\x00\x02", PAYMENT[:100], PAYMENT[:200]]))
def test_any_bytes_get_an_answer(tail: bytes, head: bytes) -> None:
    assert isinstance(decode(head + tail, SOURCE), Transfer | Undecodable)
    assert isinstance(decode_cancel(head + tail, SOURCE), Cancel | Undecodable)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(PAYMENT) - 1), st.integers(1, 255))
def test_no_byte_is_without_meaning(place: int, flip: int) -> None:
    changed = bytearray(PAYMENT)
    changed[place] ^= flip
    result = decode(bytes(changed), SOURCE)

    if isinstance(result, Transfer):
        assert replace(result, messages=()) != replace(decoded(PAYMENT), messages=())
