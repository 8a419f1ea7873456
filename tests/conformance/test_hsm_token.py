"""One token through log-in, loss, threads and forks, and its identity keys."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pkcs11
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pkcs11 import exceptions

from policy.encoding import statement
from policy.errors import CallerError
from signer_nodes.hsm import keys
from signer_nodes.hsm.context import SealContext
from signer_nodes.hsm.device import Pkcs11Hsm
from signer_nodes.hsm.errors import HsmError, KeyMissingError, PinRejectedError, TokenMissingError
from signer_nodes.hsm.records import read_record
from signer_nodes.hsm.token import Token, reinitialize

if TYPE_CHECKING:
    from tests.fixtures_softhsm import SoftHsm, TokenPlace

pytest_plugins = ("tests.fixtures_softhsm",)

WRONG_PIN = "a-wrong-pin-9f3c"
CONTEXT = SealContext(
    suite="frost-ed25519",
    key_id="k1",
    group_key=bytes(32),
    node="node-1",
    min_signers=2,
    participants=3,
    epoch=0,
)
in_one_token = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class CountingModule:
    """The real module; counts log-ins and can fail the first searches for a token."""

    def __init__(self, *, searches_that_fail: int = 0) -> None:
        self.log_ins = 0
        self.searches_that_fail = searches_that_fail
        self._real: Any = None

    def load(self, path: str) -> "CountingModule":
        self._real = pkcs11.lib(path)
        return self

    def finalize(self) -> None:
        self._real.finalize()

    def get_token(self, *, token_label: str) -> "CountingToken":
        if self.searches_that_fail:
            self.searches_that_fail -= 1
            raise exceptions.GeneralError
        return CountingToken(self._real.get_token(token_label=token_label), self)


class CountingToken:
    def __init__(self, real: Any, module: CountingModule) -> None:
        self._real = real
        self._module = module

    def open(self, **arguments: Any) -> Any:
        self._module.log_ins += 1
        return self._real.open(**arguments)


def token_folder(softhsm: "SoftHsm", label: str) -> Path:
    for folder in (softhsm.folder / "tokens").iterdir():
        if label.encode() in (folder / "token.object").read_bytes():
            return folder
    raise LookupError(label)


@pytest.fixture
def place(softhsm: "SoftHsm") -> "TokenPlace":
    return softhsm.token()


@pytest.fixture
def removable(softhsm: "SoftHsm", place: "TokenPlace") -> Iterator[tuple[Pkcs11Hsm, Path, Path]]:
    """An HSM, its folder, and a place to move the folder to: a token pulled from its slot."""
    hsm = place.open_hsm()
    hsm.make_identity_keys()
    inserted = token_folder(softhsm, place.label)
    removed = softhsm.folder / "removed"
    yield hsm, inserted, removed
    if removed.exists():
        removed.rename(inserted)
    reinitialize(place.module_path)
    hsm.close()


# --- log-in -----------------------------------------------------------------------------------------


def test_a_wrong_pin_is_tried_exactly_once(place: "TokenPlace") -> None:
    module = CountingModule()
    asked: list[str] = []

    def wrong_pin() -> str:
        asked.append("asked")
        return WRONG_PIN

    with pytest.raises(PinRejectedError, match="not retried"):
        Token.open(place.module_path, place.label, pin=wrong_pin, load=module.load)

    assert module.log_ins == 1
    assert asked == ["asked"]


def test_no_error_or_repr_shows_a_pin(place: "TokenPlace") -> None:
    with pytest.raises(PinRejectedError) as caught:
        Token.open(place.module_path, place.label, pin=lambda: WRONG_PIN)
    hsm = place.open_hsm()
    shown = [str(caught.value), repr(caught.value), repr(caught.value.__cause__), repr(hsm), repr(place)]
    hsm.close()

    assert not any(WRONG_PIN in text or place.user_pin in text for text in shown)


def test_after_a_wrong_pin_the_right_one_still_opens(place: "TokenPlace") -> None:
    with pytest.raises(PinRejectedError):
        Token.open(place.module_path, place.label, pin=lambda: WRONG_PIN)
    token = place.open()

    assert len(keys.random_bytes(token, 8)) == 8
    token.close()


def test_a_pin_rejected_at_a_reconnect_ends_the_token(place: "TokenPlace") -> None:
    module = CountingModule()
    pins = iter((place.user_pin, WRONG_PIN, place.user_pin))
    token = Token.open(place.module_path, place.label, pin=lambda: next(pins), load=module.load)
    reinitialize(place.module_path)

    with pytest.raises(PinRejectedError):
        keys.random_bytes(token, 8)
    with pytest.raises(HsmError, match="is not tried again"):
        keys.random_bytes(token, 8)
    assert module.log_ins == 2
    token.close()


def test_a_missing_token_is_named(softhsm: "SoftHsm") -> None:
    with pytest.raises(TokenMissingError, match="has no token 'not-there'"):
        Token.open(softhsm.module_path, "not-there", pin=lambda: WRONG_PIN)


def test_a_missing_module_is_named() -> None:
    with pytest.raises(TokenMissingError, match=r"/not/there\.so cannot be initialised"):
        Token.open("/not/there.so", "any", pin=lambda: WRONG_PIN)


@pytest.mark.parametrize(("failures", "opens"), [(1, True), (2, False)])
def test_start_up_is_retried_once(place: "TokenPlace", failures: int, opens: bool) -> None:
    module = CountingModule(searches_that_fail=failures)

    def start() -> Token:
        return Token.open(place.module_path, place.label, pin=lambda: place.user_pin, load=module.load)

    if opens:
        start().close()
    else:
        with pytest.raises(TokenMissingError):
            start()
    assert module.log_ins == (1 if opens else 0)


def test_a_token_is_opened_once_in_a_process(place: "TokenPlace") -> None:
    token = place.open()

    with pytest.raises(CallerError, match="already open"):
        place.open()
    token.close()
    place.open().close()


def test_a_closed_token_says_so(place: "TokenPlace") -> None:
    token = place.open()
    token.close()
    token.close()

    with pytest.raises(HsmError, match="was closed"):
        keys.random_bytes(token, 8)


# --- a token that goes away --------------------------------------------------------------------------


def test_a_removed_token_is_an_error_and_never_an_empty_token(
    removable: tuple[Pkcs11Hsm, Path, Path],
) -> None:
    hsm, inserted, removed = removable
    hsm.write_record("head", b"head")
    hsm.create_sealing_key(CONTEXT.key_id, CONTEXT.epoch)
    wrapped = hsm.seal_file_key(CONTEXT, bytes(32))
    inserted.rename(removed)

    with pytest.raises(TokenMissingError):
        hsm.read_record("head")
    with pytest.raises(TokenMissingError):
        hsm.list_blobs("")
    with pytest.raises(TokenMissingError):
        hsm.sign_statement(b"x")
    with pytest.raises(TokenMissingError):
        hsm.unseal_file_key(CONTEXT, wrapped)


def test_a_record_that_is_not_written_is_trouble_until_the_next_that_is(
    removable: tuple[Pkcs11Hsm, Path, Path],
) -> None:
    hsm, inserted, removed = removable
    hsm.write_record("head", b"one")
    told = [hsm.trouble]
    inserted.rename(removed)
    with pytest.raises(TokenMissingError) as refused:
        hsm.write_record("head", b"two")
    told.append(hsm.trouble)
    removed.rename(inserted)
    hsm.read_record("head")
    told.append(hsm.trouble)
    hsm.write_record("head", b"two")

    assert [*told, hsm.trouble] == ["", str(refused.value), str(refused.value), ""]


def test_a_token_removed_before_its_first_use_is_not_taken_for_an_empty_one(
    softhsm: "SoftHsm", place: "TokenPlace"
) -> None:
    token = place.open()
    inserted, removed = token_folder(softhsm, place.label), softhsm.folder / "removed"
    inserted.rename(removed)
    try:
        with pytest.raises(TokenMissingError):
            read_record(token, "head")
    finally:
        removed.rename(inserted)

    assert read_record(token, "head") is None
    token.close()


def test_a_token_put_back_works_again_with_fresh_handles(removable: tuple[Pkcs11Hsm, Path, Path]) -> None:
    hsm, inserted, removed = removable
    hsm.create_sealing_key(CONTEXT.key_id, CONTEXT.epoch)
    wrapped = hsm.seal_file_key(CONTEXT, bytes(32))
    hsm.write_record("head", b"head")
    inserted.rename(removed)
    with pytest.raises(TokenMissingError):
        hsm.write_record("head", b"lost")
    removed.rename(inserted)

    assert hsm.read_record("head") == (1, b"head")
    assert hsm.unseal_file_key(CONTEXT, wrapped) == bytes(32)
    assert len(hsm.sign_statement(b"x")) == 64


def test_a_reinitialised_module_is_noticed_by_every_open_token(softhsm: "SoftHsm") -> None:
    tokens = [softhsm.token().open() for _ in range(2)]
    reinitialize(softhsm.module_path)

    assert [len(keys.random_bytes(token, 8)) for token in tokens] == [8, 8]
    for token in tokens:
        token.close()


def test_a_second_object_under_a_keys_label_is_refused(hsm: Pkcs11Hsm) -> None:
    def plant(connection: Any) -> None:
        keys.make_key(connection, keys.PRF, label=keys.PRF_LABEL)

    hsm._token.run("plant a key", plant)

    with pytest.raises(HsmError, match="2 objects labelled 'prf'"):
        hsm.prf("label", b"data")


# --- threads and forks -------------------------------------------------------------------------------


def test_four_threads_of_two_hundred_operations_agree(hsm: Pkcs11Hsm) -> None:
    hsm.create_sealing_key(CONTEXT.key_id, CONTEXT.epoch)
    identity = Ed25519PublicKey.from_public_bytes(hsm.identity_public_key())

    def two_hundred_operations(thread: int) -> int:
        for number in range(50):
            message = bytes([thread, number])
            file_key = hsm.random(32)
            assert hsm.unseal_file_key(CONTEXT, hsm.seal_file_key(CONTEXT, file_key)) == file_key
            identity.verify(hsm.sign_statement(message), message)
        return 4 * 50

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(two_hundred_operations, range(4))) == 800


def test_a_forked_child_is_refused(token: Token) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            keys.random_bytes(token, 8)
            os.write(writing, b"drew random bytes")
        except CallerError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)

    assert b"before a fork" in os.read(reading, 200)
    assert len(keys.random_bytes(token, 8)) == 8
    os.close(reading)


# --- identity, PRF, random -----------------------------------------------------------------------------


@in_one_token
@given(message=st.binary(min_size=1, max_size=300))
def test_the_identity_signs_exactly_the_message(hsm: Pkcs11Hsm, message: bytes) -> None:
    identity = Ed25519PublicKey.from_public_bytes(hsm.identity_public_key())
    signature = hsm.sign_statement(message)

    identity.verify(signature, message)
    with pytest.raises(InvalidSignature):
        identity.verify(signature, message + b"\0")


def test_a_tagged_statement_verifies_under_the_identity(hsm: Pkcs11Hsm) -> None:
    message = statement("boot", {"counter": 1})

    Ed25519PublicKey.from_public_bytes(hsm.identity_public_key()).verify(hsm.sign_statement(message), message)


def test_an_empty_message_is_never_signed(hsm: Pkcs11Hsm) -> None:
    with pytest.raises(CallerError):
        hsm.sign_statement(b"")


def test_an_unprovisioned_token_has_no_identity_and_makes_none(place: "TokenPlace") -> None:
    hsm = place.open_hsm()

    with pytest.raises(KeyMissingError, match="provision"):
        hsm.identity_public_key()
    with pytest.raises(KeyMissingError):
        hsm.sign_statement(b"x")
    hsm.close()


def test_an_identity_is_never_replaced(hsm: Pkcs11Hsm) -> None:
    identity = hsm.identity_public_key()

    with pytest.raises(HsmError, match="already has a key"):
        hsm.make_identity_keys()
    assert hsm.identity_public_key() == identity


def test_the_prf_is_a_function_of_label_and_data_apart(hsm: Pkcs11Hsm) -> None:
    value = hsm.prf("nonce", b"data")

    assert len(value) == 32
    assert hsm.prf("nonce", b"data") == value
    assert hsm.prf("nonced", b"ata") != value
    assert hsm.prf("nonce", b"data2") != value


def test_two_tokens_compute_different_prfs(softhsm: "SoftHsm", hsm: Pkcs11Hsm) -> None:
    other = softhsm.token().open_hsm()
    other.make_identity_keys()

    assert other.prf("nonce", b"data") != hsm.prf("nonce", b"data")
    other.close()


@pytest.mark.parametrize("count", [0, 65537, -1])
def test_an_impossible_count_of_random_bytes_is_refused(hsm: Pkcs11Hsm, count: int) -> None:
    with pytest.raises(CallerError):
        hsm.random(count)


def test_random_bytes_have_the_length_and_differ(hsm: Pkcs11Hsm) -> None:
    drawn = [hsm.random(33) for _ in range(20)]

    assert {len(value) for value in drawn} == {33}
    assert len(set(drawn)) == 20
