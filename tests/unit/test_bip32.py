"""Derived keys against BIP 32's own vectors, other libraries, and texts that must be refused."""

import json
from pathlib import Path

import pytest
from coincurve import PrivateKey, PublicKey
from eth_keys.datatypes import PrivateKey as EthereumKey
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from policy.bip32 import (
    LEVELS_MAX,
    ORDER,
    _add,
    checksum_address,
    derive,
    ethereum_address,
    parse_address,
    parse_path,
    path_text,
)
from policy.errors import CallerError, MalformedError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "bip32_public.json").read_text())["vectors"]
SECRET = PrivateKey(bytes([7] * 32))
GROUP_KEY = SECRET.public_key.format()
CHAIN_CODE = bytes(range(32))
steps = st.integers(0, 2**31 - 1)
# The examples of EIP-55.
CHECKSUMMED = (
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    "0x52908400098527886E0F7030069857D2E4169EE7",
)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['from']}: {vector['path']}")
def test_derived_keys_are_those_of_the_vectors(vector: dict[str, str]) -> None:
    group_key, chain_code = bytes.fromhex(vector["group_key"]), bytes.fromhex(vector["chain_code"])

    derived = derive(group_key, chain_code, path=parse_path(vector["path"]))

    assert derived.public_key.hex() == vector["child_key"]
    assert derived.chain_code.hex() == vector["child_chain_code"]


@given(st.lists(steps, max_size=LEVELS_MAX).map(tuple))
def test_the_derived_key_is_the_group_key_plus_the_tweak(path: tuple[int, ...]) -> None:
    derived = derive(GROUP_KEY, CHAIN_CODE, path=path)

    secret = (SECRET.to_int() + derived.tweak) % ORDER
    assert 0 <= derived.tweak < ORDER
    assert derived.public_key == PrivateKey.from_int(secret).public_key.format()


@given(st.lists(steps, min_size=1, max_size=4).map(tuple), steps)
def test_deriving_in_two_parts_leads_to_the_same_key(path: tuple[int, ...], last: int) -> None:
    parent = derive(GROUP_KEY, CHAIN_CODE, path=path)

    child = derive(parent.public_key, parent.chain_code, path=(last,))
    whole = derive(GROUP_KEY, CHAIN_CODE, path=(*path, last))

    assert (whole.public_key, whole.chain_code) == (child.public_key, child.chain_code)
    assert whole.tweak == (parent.tweak + child.tweak) % ORDER


def test_the_empty_path_is_the_group_key_itself() -> None:
    derived = derive(GROUP_KEY, CHAIN_CODE, path=parse_path("m"))

    assert (derived.public_key, derived.tweak, derived.chain_code) == (GROUP_KEY, 0, CHAIN_CODE)


@given(st.lists(steps, max_size=LEVELS_MAX).map(tuple))
def test_a_path_survives_its_text(path: tuple[int, ...]) -> None:
    assert parse_path(path_text(path)) == path


@pytest.mark.parametrize("text", ["m/0'", "m/44h/0", "m/44H", "m/2147483648", "m/1/4294967295"])
def test_hardened_steps_are_refused_with_the_reason(text: str) -> None:
    with pytest.raises(MalformedError, match="needs the private key"):
        parse_path(text)


@pytest.mark.parametrize(
    "text",
    ["", "M/0", "0/7", "/0", "m/", "m//0", "m/00", "m/-1", "m/+1", "m/ 1", "m/1\n", "m/x", "m/0''", "m/١"],
)
def test_any_other_text_is_no_path(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_path(text)


def test_a_path_is_bounded_in_steps_and_digits() -> None:
    assert len(parse_path("m" + "/2147483647" * 10)) == LEVELS_MAX
    for text in ("m" + "/0" * 11, "m/" + "9" * 200, "m/99999999999"):
        with pytest.raises(MalformedError):
            parse_path(text)


@pytest.mark.parametrize(
    ("group_key", "chain_code"),
    [
        (GROUP_KEY[:-1], CHAIN_CODE),
        (SECRET.public_key.format(compressed=False), CHAIN_CODE),
        (b"\x05" + GROUP_KEY[1:], CHAIN_CODE),
        (b"\x02" + (7).to_bytes(32, "big")[:-1] + b"\x05", CHAIN_CODE),
        (b"\x02" + b"\xff" * 32, CHAIN_CODE),
        (bytes(33), CHAIN_CODE),
        (GROUP_KEY, CHAIN_CODE[:-1]),
    ],
)
def test_only_points_and_whole_chain_codes_are_derived_from(group_key: bytes, chain_code: bytes) -> None:
    with pytest.raises(MalformedError):
        derive(group_key, chain_code, path=(0,))


def test_impossible_steps_are_the_callers_mistake() -> None:
    for path in [(-1,), (2**31,), (0,) * 11]:
        with pytest.raises(CallerError):
            derive(GROUP_KEY, CHAIN_CODE, path=path)


def test_a_step_without_a_key_is_refused() -> None:
    opposite = (ORDER - SECRET.to_int()).to_bytes(32, "big")

    for tweak in (opposite, ORDER.to_bytes(32, "big"), b"\xff" * 32):
        with pytest.raises(MalformedError, match="next index"):
            _add(GROUP_KEY, tweak, (0,))
    assert _add(GROUP_KEY, bytes(32), (0,)) == GROUP_KEY


@given(st.integers(1, ORDER - 1))
def test_addresses_are_those_of_another_library(secret: int) -> None:
    private = secret.to_bytes(32, "big")
    theirs = EthereumKey(private).public_key

    address = ethereum_address(PrivateKey(private).public_key.format())

    assert address == theirs.to_address()
    assert checksum_address(address) == theirs.to_checksum_address()


@given(st.binary(min_size=20, max_size=20))
def test_checksums_are_those_of_another_library(value: bytes) -> None:
    assert checksum_address("0x" + value.hex()) == to_checksum_address(value)


@pytest.mark.parametrize("text", CHECKSUMMED)
def test_a_right_checksum_or_none_is_accepted(text: str) -> None:
    assert parse_address(text) == text.lower()
    assert parse_address(text.lower()) == text.lower()
    assert checksum_address(text.lower()) == text


@pytest.mark.parametrize("text", CHECKSUMMED)
def test_a_wrong_checksum_is_refused(text: str) -> None:
    letters = [at for at in range(2, 42) if text[at].isalpha()]

    for at in letters:
        with pytest.raises(MalformedError, match="EIP-55"):
            parse_address(text[:at] + text[at].swapcase() + text[at + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        CHECKSUMMED[0][2:],
        CHECKSUMMED[0] + "0",
        CHECKSUMMED[0][:-1],
        "0X" + "00" * 20,
        "0x" + "g0" * 20,
        "0x" + "00" * 20 + "\n",
        " 0x" + "00" * 20,
        "0x" + "٠" * 40,
    ],
)
def test_any_other_text_is_no_address(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_address(text)


def test_only_a_compressed_point_has_an_address() -> None:
    for data in (bytes(33), GROUP_KEY[:-1], PublicKey(GROUP_KEY).format(compressed=False)):
        with pytest.raises(MalformedError):
            ethereum_address(data)
