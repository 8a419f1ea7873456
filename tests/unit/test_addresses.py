"""An address has one form on each chain, and libraries that are not ours read and write the same ones."""

import pytest
from embit import bech32 as embit_bech32
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey
from solders.signature import Signature

from policy import base58, bech32
from policy.addresses import PREFIXES, is_address, is_address_somewhere, is_slot_account, segwit_address
from policy.errors import CallerError, MalformedError
from policy.ids import SOLANA, family, transaction_name

SOLANA_CHAIN = "solana:localnet"
PROGRAMS = st.one_of(
    st.tuples(st.just(0), st.binary(min_size=20, max_size=20)),
    st.tuples(st.just(0), st.binary(min_size=32, max_size=32)),
    st.tuples(st.just(1), st.binary(min_size=32, max_size=32)),
)
KEYS = st.one_of(st.binary(min_size=32, max_size=32), st.just(bytes(32)), st.just(bytes(31) + b"\1"))
FORMS = {
    "evm:1": ("0x" + "ab" * 20, "0x" + "AB" * 20),
    SOLANA_CHAIN: (str(Pubkey(b"\x07" * 32)), base58.encode(b"\x07" * 31)),
    "bitcoin:regtest": (
        segwit_address("bitcoin:regtest", 1, program=b"\x07" * 32),
        segwit_address("bitcoin:mainnet", 1, program=b"\x07" * 32),
    ),
}


@given(KEYS)
def test_a_solana_address_is_what_another_library_writes(key: bytes) -> None:
    text = base58.encode(key)

    assert text == str(Pubkey(key))
    assert base58.decode(text) == key
    assert is_address(SOLANA_CHAIN, text)


@given(st.text(base58.ALPHABET + "0OIl", max_size=50))
def test_base58_is_read_as_another_library_reads_it(text: str) -> None:
    try:
        theirs: bytes | None = bytes(Pubkey.from_string(text))
    except ValueError:
        theirs = None

    assert is_address(SOLANA_CHAIN, text) == (theirs is not None)
    if theirs is not None:
        assert base58.decode(text) == theirs


@given(st.sampled_from(sorted(PREFIXES)), PROGRAMS)
def test_a_segwit_address_is_what_another_library_writes(chain: str, program: tuple[int, bytes]) -> None:
    version, data = program
    text = segwit_address(chain, version, program=data)

    assert text == embit_bech32.encode(PREFIXES[chain], version, data)
    assert bech32.decode(PREFIXES[chain], text) == program


@given(PROGRAMS, st.data())
def test_no_character_of_a_segwit_address_can_change(program: tuple[int, bytes], draw: st.DataObject) -> None:
    text = segwit_address("bitcoin:testnet", program[0], program=program[1])
    place = draw.draw(st.integers(0, len(text) - 1))
    other = draw.draw(st.sampled_from([c for c in bech32.ALPHABET + "1bioX" if c != text[place]]))

    assert not is_address("bitcoin:testnet", text[:place] + other + text[place + 1 :])


# Valid and invalid addresses of BIP 173 and BIP 350.
@pytest.mark.parametrize(
    "text",
    [
        "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
    ],
)
def test_the_bips_addresses_are_read(text: str) -> None:
    assert is_address("bitcoin:mainnet", text)
    assert not is_address("bitcoin:mainnet", text.upper())
    assert not is_address("bitcoin:testnet", text)


@pytest.mark.parametrize(
    "text",
    [
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd",  # Bech32 instead of Bech32m
        "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y",  # 40 bytes
        "bc1sw50qgdz25j",  # version 16
        "bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs",  # version 2
        "bc1gmk9yu",
        "bc1",
        "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5md",
        "1BoatSLRHtKNngkdXEeobR76b53LETtpyT",
        "",
    ],
)
def test_other_addresses_of_bitcoin_are_refused(text: str) -> None:
    assert not is_address("bitcoin:mainnet", text)


@pytest.mark.parametrize("chain", FORMS)
def test_an_address_is_of_one_family_and_in_one_form(chain: str) -> None:
    good, bad = FORMS[chain]

    assert [name for name in FORMS if is_address(name, good)] == [chain]
    assert is_address_somewhere(good)
    assert not is_address(chain, bad)
    for broken in (good + " ", " " + good, good + "\n", good[:-1]):
        assert not is_address(chain, broken)


def test_every_solana_address_has_32_bytes() -> None:
    assert is_address(SOLANA_CHAIN, "1" * 32)
    assert not is_address(SOLANA_CHAIN, "1" * 33)
    assert not is_address(SOLANA_CHAIN, "1" * 31)


@pytest.mark.parametrize(
    ("chain", "text", "valid"),
    [
        ("evm:1", "0x" + "ab" * 20, True),
        (SOLANA_CHAIN, "1" * 32, True),
        ("bitcoin:mainnet", "ab" * 32 + ":0", True),
        ("bitcoin:mainnet", "ab" * 32 + ":4294967295", True),
        ("bitcoin:mainnet", "ab" * 32 + ":4294967296", False),
        ("bitcoin:mainnet", "ab" * 32 + ":00", False),
        ("bitcoin:mainnet", "AB" * 32 + ":0", False),
        ("bitcoin:mainnet", "ab" * 31 + ":0", False),
        ("bitcoin:mainnet", "ab" * 32, False),
    ],
)
def test_a_slot_names_what_conflicts_on_its_chain(chain: str, text: str, valid: bool) -> None:
    assert is_slot_account(chain, text) is valid


def test_what_has_no_canonical_form_is_not_written() -> None:
    for version, length in ((0, 33), (1, 20), (2, 32)):
        with pytest.raises(CallerError):
            bech32.encode("bc", version, program=bytes(length))


@pytest.mark.parametrize("text", ["0" * 10, "I", "1" * 129, "é"])
def test_other_characters_are_no_base58(text: str) -> None:
    with pytest.raises(MalformedError):
        base58.decode(text)


@pytest.mark.parametrize("chain", ["solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "solana:localnet"])
def test_a_cluster_is_a_hash_or_a_name(chain: str) -> None:
    assert family(chain) == SOLANA


@pytest.mark.parametrize(
    "chain",
    ["solana:", "solana:a b", "solana:" + "a" * 33, "bitcoin:main", "bitcoin:", "btc:mainnet", "evm:0"],
)
def test_other_words_are_no_chain(chain: str) -> None:
    with pytest.raises(CallerError):
        family(chain)


@pytest.mark.parametrize(
    ("chain", "tx_hash", "name"),
    [
        ("evm:1", b"\x0a" * 32, "0x" + "0a" * 32),
        ("bitcoin:mainnet", b"\x0a" * 32, "0a" * 32),
        (SOLANA_CHAIN, b"\x0a" * 64, str(Signature(b"\x0a" * 64))),
    ],
)
def test_a_transaction_is_named_as_explorers_of_its_chain_name_it(
    chain: str, tx_hash: bytes, name: str
) -> None:
    assert transaction_name(chain, tx_hash) == name
