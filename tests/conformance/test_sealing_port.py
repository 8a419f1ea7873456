"""What key sessions rely on of a token, checked on a real one and on the one in memory that tests use."""

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from policy.errors import OperationalError
from signer_nodes.hsm.context import SealContext
from signer_nodes.ports import SealingHsm
from tests.simulation.memory_token import MemoryToken

pytest_plugins = ("tests.fixtures_softhsm",)

KEY = "main"
CONTEXT = SealContext("dkls23-secp256k1", KEY, b"\x02" + bytes(32), "node-1", 2, 3, 4)
FILE_KEY = bytes(range(32))


@pytest.fixture(params=["pkcs11", "memory"])
def token(request: pytest.FixtureRequest) -> SealingHsm:
    if request.param == "memory":
        return MemoryToken("node-1")
    real: SealingHsm = request.getfixturevalue("hsm")
    return real


def test_an_epochs_key_is_made_once_and_destroyed_once(token: SealingHsm) -> None:
    made = [token.create_sealing_key(KEY, epoch) for epoch in (4, 5, 4)]
    token.create_sealing_key("other", 9)

    before = token.sealing_epochs(KEY)
    destroyed = [token.destroy_sealing_key(KEY, 4) for _ in range(2)]

    assert made == [True, True, False]
    assert destroyed == [True, False]
    assert (before, token.sealing_epochs(KEY)) == ((4, 5), (5,))


@pytest.mark.parametrize(
    "changed",
    [{"node": "node-2"}, {"epoch": 5}, {"participants": 4}, {"key_id": "other"}, {"group_key": bytes(32)}],
)
def test_a_file_key_opens_in_its_own_context_only(token: SealingHsm, changed: dict[str, object]) -> None:
    other = dataclasses.replace(CONTEXT, **changed)  # type: ignore[arg-type]
    for context in (CONTEXT, other):
        token.create_sealing_key(context.key_id, context.epoch)

    wrapped = token.seal_file_key(CONTEXT, FILE_KEY)

    assert token.unseal_file_key(CONTEXT, wrapped) == FILE_KEY
    assert FILE_KEY not in wrapped
    with pytest.raises(OperationalError):
        token.unseal_file_key(other, wrapped)


def test_nothing_opens_once_the_epochs_key_is_destroyed(token: SealingHsm) -> None:
    token.create_sealing_key(KEY, 4)
    wrapped = token.seal_file_key(CONTEXT, FILE_KEY)
    token.destroy_sealing_key(KEY, 4)

    for _ in range(2):
        with pytest.raises(OperationalError):
            token.unseal_file_key(CONTEXT, wrapped)
        token.create_sealing_key(KEY, 4)  # another key under the same name

    token.destroy_sealing_key(KEY, 4)
    with pytest.raises(OperationalError):
        token.seal_file_key(CONTEXT, FILE_KEY)


def test_a_record_is_the_last_one_written(token: SealingHsm) -> None:
    assert token.read_record("head") is None

    first, second = token.write_record("head", b"one"), token.write_record("head", b"two")

    assert first < second
    assert token.read_record("head") == (second, b"two")


def test_statements_are_signed_by_the_identity(token: SealingHsm) -> None:
    key = Ed25519PublicKey.from_public_bytes(token.identity_public_key())

    key.verify(token.sign_statement(b"a statement"), b"a statement")


def test_a_prf_repeats_itself_and_random_bytes_do_not(token: SealingHsm) -> None:
    values = [token.prf(label, data) for label, data in (("a", b"b"), ("a", b"b"), ("ab", b""), ("a", b"c"))]
    drawn = [token.random(32) for _ in range(2)]

    assert values[0] == values[1]
    assert len(set(values)) == 3
    assert [len(data) for data in (*values, *drawn)] == [32] * 6
    assert drawn[0] != drawn[1]
