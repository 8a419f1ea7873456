"""What a party keeps: one strict encoding, no secret in print, and a share that fits its key."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.errors import CallerError, InvariantError, MalformedError
from policy.suites import DKLS23_SECP256K1
from signer_nodes.mpc.curve import Q, base_mul
from signer_nodes.mpc.groups import SECP256K1_GROUP, lagrange
from signer_nodes.mpc.keyshare import KeyShare, PairState
from signer_nodes.mpc.sharing import Polynomial, interpolate

POLYNOMIAL = Polynomial(SECP256K1_GROUP, (11, 22, 33))


def key_share() -> KeyShare:
    points = tuple(base_mul(POLYNOMIAL.at(index)) for index in range(1, 6))
    names = ("n1", "n2", "n3", "n4", "n5")
    return KeyShare(
        DKLS23_SECP256K1, "hot-1", 7, 2, 3, names, POLYNOMIAL.at(2), points, base_mul(11), b"c" * 32
    )


def pair_state() -> PairState:
    mine = tuple(bytes([i]) * 32 for i in range(128))
    both = tuple((bytes([i]) * 32, bytes([255 - i]) * 32) for i in range(128))
    return PairState("hot-1", 7, 1, 3, bytes(range(16)), mine, both, b"z" * 32)


def test_the_encodings_give_back_what_they_were_made_of() -> None:
    assert KeyShare.from_bytes(key_share().to_bytes()) == key_share()
    assert PairState.from_bytes(pair_state().to_bytes()) == pair_state()


@pytest.mark.parametrize("kind", [KeyShare, PairState])
def test_an_encoding_cut_short_or_extended_is_refused(kind: type[KeyShare] | type[PairState]) -> None:
    data = (key_share() if kind is KeyShare else pair_state()).to_bytes()

    for length in (*range(0, min(len(data), 600), 7), len(data) - 1):
        with pytest.raises(MalformedError):
            kind.from_bytes(data[:length])
    with pytest.raises(MalformedError, match="1 bytes too many"):
        kind.from_bytes(data + b"\x00")


@given(st.integers(0, len(key_share().to_bytes()) - 1), st.integers(1, 255))
def test_no_two_encodings_give_the_same_share(position: int, mask: int) -> None:
    data = bytearray(key_share().to_bytes())
    data[position] ^= mask

    try:
        decoded = KeyShare.from_bytes(bytes(data))
    except MalformedError:
        return
    assert decoded != key_share()
    assert decoded.to_bytes() == data


def test_one_kind_is_not_read_as_the_other() -> None:
    with pytest.raises(MalformedError, match="another kind or version"):
        KeyShare.from_bytes(pair_state().to_bytes())
    with pytest.raises(MalformedError, match="another kind or version"):
        PairState.from_bytes(key_share().to_bytes())


@pytest.mark.parametrize("stored", [key_share(), pair_state()], ids=["share", "pair"])
def test_what_a_later_program_stored_is_named_as_such(stored: KeyShare | PairState) -> None:
    data = bytearray(stored.to_bytes())
    data[7] += 1

    with pytest.raises(MalformedError, match=r"version \d, this program knows \d: start the newer program"):
        type(stored).from_bytes(bytes(data))


def test_a_share_that_fits_its_key_passes() -> None:
    key_share().check()


def test_a_share_of_another_key_is_found() -> None:
    with pytest.raises(InvariantError, match="not behind its public share"):
        replace(key_share(), share=12345).check()
    with pytest.raises(InvariantError, match="another group key"):
        replace(key_share(), group_key=base_mul(12)).check()


@pytest.mark.parametrize("wrong", [1, 3, 4, 5])
def test_a_public_share_off_the_polynomial_is_found_at_any_index(wrong: int) -> None:
    points = list(key_share().public_shares)
    points[wrong - 1] = base_mul(4711)

    with pytest.raises(InvariantError, match="another group key"):
        replace(key_share(), public_shares=tuple(points)).check()


@pytest.mark.parametrize(
    "change",
    [
        {"key_id": ""},
        {"key_id": "Über"},
        {"epoch": -1},
        {"epoch": 2**32},
        {"index": 0},
        {"index": 6},
        {"min_signers": 1},
        {"min_signers": 6},
        {"participants": ("n1", "n2", "n3", "n4", "n4")},
        {"participants": ("n1", "n2", "n3", "n4", "N5")},
        {"participants": ("n1", "n2", "n3", "n4")},
        {"share": 0},
        {"share": Q},
        {"group_key": b"\x02"},
        {"chain_code": b""},
    ],
)
def test_impossible_shares_are_not_built(change: dict[str, object]) -> None:
    with pytest.raises(CallerError):
        replace(key_share(), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"peer": 1},
        {"peer": 10},
        {"me": 0},
        {"delta": bytes(15)},
        {"delta_seeds": pair_state().delta_seeds[1:]},
        {"receiver_seeds": pair_state().receiver_seeds[1:]},
        {"receiver_seeds": ((b"", b""), *pair_state().receiver_seeds[1:])},
        {"zero_seed": bytes(31)},
    ],
)
def test_impossible_pair_states_are_not_built(change: dict[str, object]) -> None:
    with pytest.raises(CallerError):
        replace(pair_state(), **change)  # type: ignore[arg-type]


def test_no_secret_is_printed() -> None:
    secret = 0x1234567890ABCDEF1234567890ABCDEF
    share = replace(key_share(), share=secret)
    text = repr(share) + repr(pair_state()) + repr(POLYNOMIAL)

    assert str(secret) not in text
    assert hex(secret)[2:] not in text
    assert "seed" not in text
    assert "delta" not in text
    assert "22" not in repr(POLYNOMIAL).replace(repr(SECP256K1_GROUP), "")  # which has a place in memory


@given(st.lists(st.integers(1, Q - 1), min_size=2, max_size=5), st.permutations(range(1, 10)))
def test_as_many_shares_as_terms_give_the_constant(coefficients: list[int], order: list[int]) -> None:
    polynomial = Polynomial(SECP256K1_GROUP, tuple(coefficients))
    chosen = order[: len(coefficients)]

    assert interpolate(SECP256K1_GROUP, {index: polynomial.at(index) for index in chosen}) == coefficients[0]
    assert (
        interpolate(SECP256K1_GROUP, {index: polynomial.at(index) for index in chosen[1:]}) != coefficients[0]
    )


@pytest.mark.parametrize(("index", "indices"), [(1, (2, 3)), (1, (1, 1)), (0, (0, 1))])
def test_coefficients_exist_for_distinct_positive_indices_only(index: int, indices: tuple[int, ...]) -> None:
    with pytest.raises(CallerError):
        lagrange(index, indices, order=Q)
