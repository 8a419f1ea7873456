"""Tokens and priority fees on Solana: what is decoded of them, and that nothing near it is."""

from hashlib import sha256
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.compute_budget import (
    request_heap_frame,
    set_compute_unit_limit,
    set_compute_unit_price,
    set_loaded_accounts_data_size_limit,
)
from solders.instruction import AccountMeta, Instruction
from solders.message import Message
from solders.pubkey import Pubkey

from policy.accounts import Account
from policy.addresses import solana_address
from policy.approval import Slot
from policy.decode.decoded import Cancel, Source, Transfer, Undecodable
from policy.decode.solana import COMPUTE_UNITS_MAX, TOKEN_ACCOUNT_RENT, decode, decode_cancel
from policy.token_accounts import token_account
from policy.values import replace
from tests.unit.solana_house import create_account, move_tokens, pay_tokens, priority
from tests.unit.test_decode_solana import (
    CHAIN,
    NONCE,
    NONCE_ACCOUNT,
    OTHER,
    PAYER,
    SOURCE,
    TO,
    advance,
    message,
    pay,
)

MINT = bytes([0x22]) * 32
TOKEN_2022 = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
KEYS = st.binary(min_size=32, max_size=32)
CREATE, MOVE = pay_tokens(PAYER, TO, MINT, amount=7)
PAIR = priority(1_000, 5)
EXACT = priority(10**6, 10**6)
"""Of which each change of a byte changes the fee."""
SHAPES = {
    "lamports": message(advance(), pay()),
    "lamports at a price": message(advance(), *EXACT, pay()),
    "tokens": message(advance(), CREATE, MOVE),
    "tokens at a price": message(advance(), *EXACT, CREATE, MOVE),
    "cancellation": message(advance()),
    "cancellation at a price": message(advance(), *EXACT),
}


def read(tx: bytes, source: Source = SOURCE) -> Transfer | Cancel | Undecodable:
    """What the bytes do, as a payment or as a cancellation; never both."""
    paid, cancelled = decode(tx, source), decode_cancel(tx, source)
    assert isinstance(paid, Undecodable) or isinstance(cancelled, Undecodable)
    return cancelled if isinstance(cancelled, Cancel) else paid


def refused(*instructions: Instruction) -> str:
    """Why a message is refused, as a payment."""
    tx = message(*instructions)
    assert isinstance(decode_cancel(tx, SOURCE), Undecodable)
    result = decode(tx, SOURCE)
    assert isinstance(result, Undecodable), result
    return result.reason


def on_curve(key: bytes) -> bytes:
    """The first point of the curve that hashes lead to."""
    while not Pubkey(key).is_on_curve():
        key = sha256(key).digest()
    return key


def instruction(
    one: Instruction, *, program: Pubkey | None = None, data: bytes | None = None, **changed: AccountMeta
) -> Instruction:
    """The instruction with something else in it; ``changed`` are accounts by their place, as in ``at2``."""
    accounts = list(one.accounts)
    for place, other in changed.items():
        accounts[int(place.removeprefix("at"))] = other
    return Instruction(program or one.program_id, one.data if data is None else data, accounts)


def meta(key: bytes | Pubkey, *, signs: bool = False, writes: bool = False) -> AccountMeta:
    return AccountMeta(key if isinstance(key, Pubkey) else Pubkey(key), is_signer=signs, is_writable=writes)


# The priority fee.


@settings(max_examples=100, deadline=None)
@given(st.integers(1, COMPUTE_UNITS_MAX), st.integers(0, 2**64 - 1), st.sampled_from(["sol", "tok", ""]))
def test_the_priority_fee_is_the_limit_at_its_price_rounded_up(units: int, price: int, asset: str) -> None:
    paid = {"sol": [pay()], "tok": [CREATE, MOVE], "": []}[asset]
    result = read(message(advance(), *priority(units, price), *paid))

    assert isinstance(result, Cancel if asset == "" else Transfer)
    micro_lamports = (result.fee_max - 5_000 - (TOKEN_ACCOUNT_RENT if asset == "tok" else 0)) * 10**6
    assert units * price <= micro_lamports < units * price + 10**6


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (PAIR[:1], "not SetComputeUnitLimit and then"),
        (PAIR[1:], "not SetComputeUnitLimit and then"),
        (PAIR[::-1], "not SetComputeUnitLimit and then"),
        ([PAIR[0], PAIR[0]], "not SetComputeUnitLimit and then"),
        ([PAIR[1], PAIR[1]], "not SetComputeUnitLimit and then"),
        ([PAIR[0], request_heap_frame(1024)], "not SetComputeUnitLimit and then"),
        ([set_loaded_accounts_data_size_limit(1), PAIR[1]], "not SetComputeUnitLimit and then"),
        ([*PAIR, PAIR[0]], "there is not the Associated Token Account program's"),
        ([*PAIR, *PAIR], "need 1 or 2 instructions that pay, got 3"),
        ([instruction(PAIR[0], data=PAIR[0].data + b"\0"), PAIR[1]], "has 5 bytes of data, got 6"),
        ([instruction(PAIR[0], data=PAIR[0].data[:-1]), PAIR[1]], "has 5 bytes of data, got 4"),
        ([PAIR[0], instruction(PAIR[1], data=PAIR[1].data[:5])], "has 9 bytes of data, got 5"),
        ([PAIR[0], instruction(PAIR[1], data=PAIR[1].data + b"\0")], "has 9 bytes of data, got 10"),
        ([PAIR[0], instruction(PAIR[1], data=b"")], "not SetComputeUnitLimit and then"),
        (
            [Instruction(PAIR[0].program_id, PAIR[0].data, [meta(PAYER, signs=True)]), PAIR[1]],
            "takes no accounts",
        ),
        ([PAIR[0], Instruction(PAIR[1].program_id, PAIR[1].data, [meta(TO)])], "takes no accounts"),
        (priority(0, 5), "0 compute units, from 1 to 1400000"),
        (priority(COMPUTE_UNITS_MAX + 1, 5), "1400001 compute units"),
        ([PAIR[0], instruction(PAIR[1], program=Pubkey(OTHER))], "not SetComputeUnitLimit and then"),
    ],
)
def test_a_priority_fee_of_another_form_is_refused(pair: list[Instruction], reason: str) -> None:
    found = refused(advance(), *pair, pay())

    assert reason in found, found


def test_a_priority_fee_stands_between_the_nonce_and_what_is_paid() -> None:
    refused(*PAIR, advance(), pay())
    refused(advance(), pay(), *PAIR)
    refused(advance(), PAIR[0], pay(), PAIR[1])
    refused(advance(), CREATE, *PAIR, MOVE)
    refused(*PAIR, pay())


# Tokens.


@settings(max_examples=50, deadline=None)
@given(KEYS, KEYS, KEYS, st.integers(1, 2**64 - 1), st.integers(0, 255), st.booleans())
def test_a_token_payment_of_another_library_is_read_as_it_means(
    payer: bytes, owner: bytes, mint: bytes, amount: int, decimals: int, priced: bool
) -> None:
    owner = on_curve(owner)
    source = Source(CHAIN, (Account("m", solana_address(payer), payer, 0, None),), lambda _: False)
    made = [
        advance(authority=payer),
        *(PAIR if priced else []),
        *pay_tokens(payer, owner, mint, amount=amount, decimals=decimals),
    ]
    tx = message(*made, payer=payer)

    if owner in (payer, mint) or payer == mint:
        assert isinstance(read(tx, source), Undecodable)
        return
    assert read(tx, source) == Transfer(
        anchor=Slot(CHAIN, str(Pubkey(NONCE_ACCOUNT)), int.from_bytes(NONCE, "big")),
        contract=str(Pubkey(mint)),
        recipient=str(Pubkey(owner)),
        amount=amount,
        fee_max=5_000 + priced + TOKEN_ACCOUNT_RENT,
        messages=(tx,),
        decimals=decimals,
    )


@pytest.mark.parametrize(
    ("paid", "reason"),
    [
        ([MOVE], "not the System program's Transfer"),
        ([CREATE], "not the System program's Transfer"),
        ([MOVE, CREATE], "not the Associated Token Account program's CreateIdempotent"),
        ([CREATE, CREATE], "not the Token program's TransferChecked"),
        ([MOVE, MOVE], "not the Associated Token Account program's CreateIdempotent"),
        ([CREATE, pay()], "not the Token program's TransferChecked"),
        ([CREATE, MOVE, MOVE], "need 1 or 2 instructions that pay, got 3"),
        ([CREATE, MOVE, pay()], "need 1 or 2 instructions that pay, got 3"),
        ([pay(), MOVE], "not the Associated Token Account program's CreateIdempotent"),
        # Another instruction of the programs: Create, which fails if the account is there; RecoverNested.
        ([instruction(CREATE, data=b""), MOVE], "CreateIdempotent"),
        ([instruction(CREATE, data=b"\0"), MOVE], "CreateIdempotent"),
        ([instruction(CREATE, data=b"\2"), MOVE], "CreateIdempotent"),
        ([instruction(CREATE, data=b"\1\0"), MOVE], "CreateIdempotent"),
        # Transfer without its check, Approve, SetAuthority, Burn and CloseAccount.
        *(
            ([CREATE, instruction(MOVE, data=kind + MOVE.data[1:])], "TransferChecked")
            for kind in (b"\3", b"\4", b"\6", b"\x0f", b"\x09")
        ),
        ([CREATE, instruction(MOVE, data=MOVE.data[:-1])], "10 bytes"),
        ([CREATE, instruction(MOVE, data=MOVE.data + b"\0")], "10 bytes"),
        ([CREATE, instruction(MOVE, data=b"\x0c" + bytes(8) + b"\6")], "the amount is zero"),
        # Another program.
        ([instruction(CREATE, program=Pubkey(OTHER)), MOVE], "CreateIdempotent"),
        ([CREATE, instruction(MOVE, program=TOKEN_2022)], "TransferChecked"),
        ([instruction(CREATE, at5=meta(TOKEN_2022)), MOVE], "first Token program"),
        (
            [instruction(CREATE, at5=meta(TOKEN_2022)), instruction(MOVE, program=TOKEN_2022)],
            "first Token program",
        ),
        ([instruction(CREATE, at4=meta(OTHER)), MOVE], "first Token program"),
        # Accounts of others.
        ([instruction(CREATE, at1=meta(OTHER, writes=True)), MOVE], "owner's token account"),
        ([CREATE, instruction(MOVE, at2=meta(OTHER, writes=True))], "of one mint, by the payer"),
        ([CREATE, instruction(MOVE, at0=meta(OTHER, writes=True))], "of one mint, by the payer"),
        ([CREATE, instruction(MOVE, at1=meta(OTHER))], "of one mint, by the payer"),
        ([CREATE, move_tokens(PAYER, OTHER, MINT, amount=7, decimals=6)], "of one mint"),
        ([CREATE, move_tokens(PAYER, TO, OTHER, amount=7, decimals=6)], "of one mint"),
        ([create_account(PAYER, OTHER, MINT), MOVE], "of one mint"),
        ([create_account(PAYER, TO, OTHER), MOVE], "of one mint"),
        ([CREATE, instruction(MOVE, at3=meta(TO))], "of one mint, by the payer"),
        ([create_account(OTHER, TO, MINT), MOVE], "owner's token account"),
        ([CREATE, move_tokens(OTHER, TO, MINT, amount=7, decimals=6)], "of one mint"),
        (pay_tokens(PAYER, PAYER, MINT, amount=7), "back to the account that signs"),
        (pay_tokens(PAYER, MINT, MINT, amount=7), "not all different"),
        (pay_tokens(PAYER, NONCE_ACCOUNT, MINT, amount=7), "not all different"),
        # Signers of a multisig, and accounts that a program would not look at.
        (
            [CREATE, Instruction(MOVE.program_id, MOVE.data, [*MOVE.accounts, meta(OTHER)])],
            "TransferC",
        ),
        ([CREATE, Instruction(MOVE.program_id, MOVE.data, MOVE.accounts[:3])], "TransferChecked"),
        (
            [Instruction(CREATE.program_id, CREATE.data, [*CREATE.accounts, meta(OTHER)]), MOVE],
            "takes 6 accounts, got 7",
        ),
        (
            [Instruction(CREATE.program_id, CREATE.data, CREATE.accounts[:5]), MOVE],
            "takes 6 accounts, got 5",
        ),
        # More rights than are needed.
        ([instruction(CREATE, at2=meta(TO, writes=True)), MOVE], "the header is"),
        ([instruction(CREATE, at3=meta(MINT, writes=True)), MOVE], "the header is"),
        ([instruction(CREATE, at2=meta(TO, signs=True)), MOVE], "the header is"),
    ],
)
@pytest.mark.parametrize("pair", [[], PAIR], ids=["unpriced", "priced"])
def test_what_is_near_a_token_payment_is_refused(
    paid: list[Instruction], reason: str, pair: list[Instruction]
) -> None:
    found = refused(advance(), *pair, *paid)

    assert reason in found, found


@pytest.mark.parametrize(
    "owner", [token_account(TO, MINT), token_account(PAYER, MINT), sha256(b"none").digest()], ids=str
)
def test_tokens_are_not_sent_to_what_has_no_key(owner: bytes) -> None:
    """Who names a token account as the destination would have them locked away under it for ever."""
    assert not Pubkey(owner).is_on_curve()
    assert "name the wallet that owns it" in refused(advance(), *pay_tokens(PAYER, owner, MINT, amount=7))


@pytest.mark.parametrize("name", SHAPES)
def test_another_order_of_the_accounts_is_refused(name: str) -> None:
    """It would be another message that does the same."""
    made = Message.from_bytes(SHAPES[name])
    keys = [bytes(key) for key in made.account_keys]
    for one, other in combinations(range(len(keys)), 2):
        order = list(range(len(keys)))
        order[one], order[other] = order[other], order[one]
        header = made.header
        counts = (
            header.num_required_signatures,
            header.num_readonly_signed_accounts,
            header.num_readonly_unsigned_accounts,
        )
        parts = [bytes(counts), bytes([len(keys)]), *(keys[place] for place in order), NONCE]
        parts.append(bytes([len(made.instructions)]))
        for each in made.instructions:
            accounts = bytes(order.index(place) for place in each.accounts)
            parts += [bytes([order.index(each.program_id_index), len(accounts)]), accounts]
            parts += [bytes([len(each.data)]), bytes(each.data)]

        assert isinstance(read(b"".join(parts)), Undecodable)


@pytest.mark.parametrize("name", SHAPES)
def test_one_more_account_of_any_kind_is_refused(name: str) -> None:
    tx = SHAPES[name]
    count, (signed, locked, read_only) = tx[3], tx[:3]
    for place in range(count + 1):
        keys = tx[4 : 4 + 32 * place] + OTHER + tx[4 + 32 * place : 4 + 32 * count]
        for header in ((signed, locked, read_only), (signed, locked, read_only + 1)):
            longer = bytes([*header, count + 1]) + keys + tx[4 + 32 * count :]

            assert isinstance(read(longer), Undecodable)


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_byte_is_without_meaning(name: str, data: st.DataObject) -> None:
    tx = bytearray(SHAPES[name])
    tx[data.draw(st.integers(0, len(tx) - 1))] ^= data.draw(st.integers(1, 255))
    result, honest = read(bytes(tx)), read(SHAPES[name])

    assert not isinstance(honest, Undecodable)
    if not isinstance(result, Undecodable):
        assert replace(result, messages=()) != replace(honest, messages=())


@pytest.mark.parametrize("name", SHAPES)
def test_a_message_that_is_cut_off_is_refused(name: str) -> None:
    for size in range(len(SHAPES[name])):
        assert isinstance(read(SHAPES[name][:size]), Undecodable)


def test_the_rent_is_the_networks_for_a_token_account_of_165_bytes() -> None:
    """Two years at 3480 lamports a byte, and 128 bytes that each account costs beside its own."""
    assert TOKEN_ACCOUNT_RENT == (165 + 128) * 3_480 * 2


def test_unit_limit_and_price_are_written_as_another_library_writes_them() -> None:
    assert [one.data for one in PAIR] == [
        bytes(set_compute_unit_limit(1_000).data),
        bytes(set_compute_unit_price(5).data),
    ]
