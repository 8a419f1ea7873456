"""FROST against numbers that others published: RFC 9591, BIP 340, BIP 341, BIP 86, Wycheproof."""

import json
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import VerifyKey

from policy.bip32 import derive, parse_path
from policy.ciphersuites import ciphersuite, verify
from policy.schnorr import SchnorrTask, binding_inputs, combine, output_key, public_key, signing_view
from policy.secp256k1 import Q, base_mul
from policy.suites import FROST_ED25519, FROST_TAPROOT
from signer_nodes.mpc.frost import partial_signature
from signer_nodes.mpc.groups import group_of
from signer_nodes.mpc.nonces import NoncePair, nonce_from
from tests.protocols.frost_house import SUITES, deal, public_shares

VECTORS = Path(__file__).resolve().parents[1] / "vectors"


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


def task_of(group_key: bytes, *, tweak: int = 0, merkle_root: bytes | None = None) -> SchnorrTask:
    return SchnorrTask(FROST_TAPROOT, b"", group_key, tweak, merkle_root, bytes(32), 0)


class Published:
    """One set of ``frost.json``: the key dealt from its coefficients, its signers, its task."""

    def __init__(self, numbers: Any) -> None:
        self.numbers = numbers
        self.suite = ciphersuite(numbers["suite"])
        scalar_of = group_of(numbers["suite"]).scalar_of
        coefficients = [numbers["group_secret_key"], *numbers["coefficients"]]
        self.shares = deal(self.suite.name, [scalar_of(bytes.fromhex(c)) for c in coefficients], n=3)
        self.signers = {signer["identifier"]: signer for signer in numbers["signers"]}
        self.openings = {
            i: self.bytes(i, "hiding_nonce_commitment") + self.bytes(i, "binding_nonce_commitment")
            for i in self.signers
        }
        message = bytes.fromhex(numbers["message"])
        self.task = SchnorrTask(self.suite.name, message, self.shares[1].group_key, 0, None, bytes(32), 0)

    def bytes(self, signer: int, name: str) -> bytes:
        return bytes.fromhex(self.signers[signer][name])

    def nonces(self, signer: int) -> NoncePair:
        """The pair that the published randomness gives."""
        d, e = (
            nonce_from(
                self.suite, self.bytes(signer, f"{kind}_nonce_randomness"), share=self.shares[signer].share
            )
            for kind in ("hiding", "binding")
        )
        place = (bytes(32), 0, tuple(self.signers), signer, self.shares[signer].group_key)
        opening = self.suite.group.base_mul(d) + self.suite.group.base_mul(e)
        return NoncePair(self.suite.name, *place, opening, (d, e))


@pytest.fixture(params=load("frost.json")["sets"], ids=lambda numbers: numbers["suite"])
def published(request: pytest.FixtureRequest) -> Published:
    return Published(request.param)


def test_there_are_numbers_for_every_suite() -> None:
    assert {numbers["suite"] for numbers in load("frost.json")["sets"]} == set(SUITES)


def test_the_dealt_key_is_the_published_one(published: Published) -> None:
    encode = published.suite.group.scalar_bytes
    found = {str(i): encode(share.share).hex() for i, share in published.shares.items()}

    assert found == published.numbers["shares"]
    assert output_key(published.task).point.hex() == published.numbers["group_public_key"]
    published.shares[1].check()


def test_nonces_and_commitments_come_from_the_randomness(published: Published) -> None:
    for i in published.signers:
        pair = published.nonces(i)
        hiding, binding = (published.suite.group.scalar_bytes(nonce) for nonce in pair.take())

        assert hiding == published.bytes(i, "hiding_nonce")
        assert binding == published.bytes(i, "binding_nonce")
        assert pair.opening == published.openings[i]


def test_binding_factors_and_their_inputs(published: Published) -> None:
    key = output_key(published.task)
    inputs = binding_inputs(
        published.suite, published.task.message, key_point=key.point, openings=published.openings
    )
    view = signing_view(published.task, published.openings)

    for i in published.signers:
        factor = published.suite.group.scalar_bytes(view.binding_factors[i])
        assert inputs[i] == published.bytes(i, "binding_factor_input")
        assert factor == published.bytes(i, "binding_factor")


def test_partial_signatures_and_the_signature(published: Published) -> None:
    partials = {
        i: partial_signature(
            published.shares[i], published.nonces(i), openings=published.openings, task=published.task
        )
        for i in published.signers
    }
    signature = combine(
        partials,
        openings=published.openings,
        public_shares=public_shares(published.shares),
        task=published.task,
    )

    assert partials == {i: published.bytes(i, "signature_share") for i in published.signers}
    assert signature.hex() == published.numbers["signature"]


@pytest.mark.parametrize("vector", load("bip340.json")["vectors"], ids=lambda vector: vector["index"])
def test_bip_340_signatures_are_valid_or_not(vector: Any) -> None:
    signature, message, key = (bytes.fromhex(vector[name]) for name in ("signature", "message", "public_key"))

    assert verify(FROST_TAPROOT, signature, message=message, public_key=key) is vector["valid"]


@pytest.mark.parametrize(
    "vector", load("taproot.json")["outputs"], ids=lambda vector: vector["internal_key"][:8]
)
@pytest.mark.parametrize("parity", [b"\x02", b"\x03"])
def test_output_keys_are_those_of_bip_341(vector: Any, parity: bytes) -> None:
    internal, root = bytes.fromhex(vector["internal_key"]), bytes.fromhex(vector["merkle_root"])

    assert public_key(task_of(parity + internal, merkle_root=root)).hex() == vector["output_key"]


@pytest.mark.parametrize(
    "vector", load("taproot.json")["key_path_spends"], ids=lambda vector: vector["message"][:8]
)
def test_the_output_key_has_the_private_key_of_bip_341(vector: Any) -> None:
    secret, output, root = (
        bytes.fromhex(vector[name]) for name in ("private_key", "output_private_key", "merkle_root")
    )
    private = int.from_bytes(secret, "big")
    task = task_of(base_mul(private), merkle_root=root)
    key = output_key(task)

    found = (key.sign * private + key.addend) % Q

    assert found in (int.from_bytes(output, "big"), Q - int.from_bytes(output, "big"))
    assert base_mul(found) == key.point
    signature, message = bytes.fromhex(vector["witness"])[:64], bytes.fromhex(vector["message"])
    assert verify(FROST_TAPROOT, signature, message=message, public_key=public_key(task))


@pytest.mark.parametrize(
    "address", load("taproot.json")["bip86"]["addresses"], ids=lambda address: address["path"]
)
def test_a_path_below_the_taproot_tweak_gives_the_keys_of_bip_86(address: Any) -> None:
    account = load("taproot.json")["bip86"]
    group_key, chain_code = bytes.fromhex(account["group_key"]), bytes.fromhex(account["chain_code"])
    tweak = derive(group_key, chain_code, path=parse_path(address["path"])).tweak

    internal = public_key(task_of(group_key, tweak=tweak))
    output = public_key(task_of(group_key, tweak=tweak, merkle_root=b""))

    assert (internal.hex(), output.hex()) == (address["internal_key"], address["output_key"])


@pytest.mark.parametrize("case", range(12))
def test_ed25519_verification_is_strict(case: int) -> None:
    vector = load("ed25519_strict.json")["cases"][case]
    signature, message, key = (bytes.fromhex(vector[name]) for name in ("signature", "message", "pub_key"))

    assert not verify(FROST_ED25519, signature, message=message, public_key=key)


@pytest.mark.parametrize(
    "vector", load("ed25519_wycheproof.json")["vectors"], ids=lambda vector: vector["id"]
)
def test_ed25519_signatures_are_valid_or_not(vector: Any) -> None:
    signature, message, key = (bytes.fromhex(vector[name]) for name in ("signature", "message", "public_key"))

    assert verify(FROST_ED25519, signature, message=message, public_key=key) is vector["valid"]


def test_libsodium_alone_would_take_a_key_of_mixed_order() -> None:
    """So our own check of the key is what refuses case 3."""
    vector = load("ed25519_strict.json")["cases"][3]
    signature, message, key = (bytes.fromhex(vector[name]) for name in ("signature", "message", "pub_key"))

    assert VerifyKey(key).verify(message, signature) == message
