"""Addresses that programs derive on Solana: where another library has them."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from policy.ed25519 import is_on_curve
from policy.errors import CallerError
from policy.token_accounts import SEEDS_MAX, program_address, token_account
from tests.unit.solana_house import account_of

P = 2**255 - 19
ODD = [*range(64), *range(P - 64, 2**255), *(sign + 2**255 for sign in (0, 1, P - 1, P, P + 1, 2**255 - 1))]
"""Values of y and of its sign at the borders: small orders, not reduced, negative zeros."""
NAMES = [sha256(bytes([count])).digest() for count in range(200)]


@pytest.mark.parametrize("keys", [[y.to_bytes(32, "little") for y in ODD], NAMES], ids=["odd", "any"])
def test_what_is_on_the_curve_is_what_the_network_says(keys: list[bytes]) -> None:
    found = [is_on_curve(key) for key in keys]

    assert found == [Pubkey(key).is_on_curve() for key in keys]
    assert set(found) == {True, False}


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_point_has_32_bytes(size: int) -> None:
    with pytest.raises(CallerError):
        is_on_curve(bytes(size))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=32), max_size=SEEDS_MAX), st.binary(min_size=32, max_size=32))
def test_a_program_address_is_where_the_network_has_it(seeds: list[bytes], program: bytes) -> None:
    address, bump = Pubkey.find_program_address(seeds, Pubkey(program))

    assert program_address(seeds, program) == (bytes(address), bump)


def test_a_bump_below_the_greatest_is_found_where_greater_ones_give_points() -> None:
    bumps = {program_address((name,), name)[1] for name in NAMES[:50]}

    assert len(bumps) > 3


@pytest.mark.parametrize("seeds", [(bytes(33),), (b"",) * (SEEDS_MAX + 1)])
def test_seeds_that_no_program_takes_are_refused(seeds: tuple[bytes, ...]) -> None:
    with pytest.raises(CallerError, match="at most 15 seeds of 32 bytes"):
        program_address(seeds, bytes(32))


@pytest.mark.parametrize("name", NAMES[:30], ids=range(30))
def test_a_token_account_is_where_another_library_has_it(name: bytes) -> None:
    owner, mint = sha256(name).digest(), name

    assert token_account(owner, mint) == bytes(account_of(owner, mint))
    assert not is_on_curve(token_account(owner, mint))
