"""Broken before by others, in the protocols themselves. docs/spec/pitfalls.md says by whom and how."""

import ast
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policy.ecdsa import delta, nonce_point
from policy.errors import FaultyParticipant
from signer_nodes.mpc import proofs, vole
from signer_nodes.mpc.curve import Q, base_mul
from signer_nodes.mpc.groups import SECP256K1_GROUP
from signer_nodes.mpc.ot import extension
from signer_nodes.mpc.ot.extension import Direction
from signer_nodes.mpc.stream import RandomStream
from tests.protocols import adapters_ecdsa as ecdsa
from tests.protocols import dealer
from tests.protocols.lockstep import run_all
from tests.protocols.mutator import transcript

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = ("ecdsa.py", "schnorr.py", "ciphersuites.py", "groups.py", "secp256k1.py", "ed25519.py")
DIRECTION = Direction(b"s" * 32, sender=1, receiver=2, batch=4)


def test_a_copied_commitment_of_presigning_cannot_be_opened() -> None:
    """A party that waits for the other's commitment and opening and sends them as its own."""
    protocol = ecdsa.presign_protocol(2, 3)
    victim, copier = protocol.parties
    sent = transcript(protocol, 1)
    commitment = slice(1, 33)
    opening = slice(33, 65 + 4 * 164)  # salt, and all R, pk, Γ and ψ

    def copy(sender: int, to: int, payload: bytes) -> bytes:
        place = commitment if payload[0] == 1 else opening
        if sender != copier:
            return payload
        return payload[: place.start] + sent[payload[0], victim, copier][place] + payload[place.stop :]

    outcome = run_all({party: protocol.start(party, 1, 0) for party in protocol.parties}, copy)

    error = outcome.errors[victim]
    assert isinstance(error, FaultyParticipant)
    assert (error.participant, error.ban) == (copier, False)
    assert "commitment" in error.reason


def test_two_signatures_from_one_presignature_give_the_key_away() -> None:
    """Also re-randomised ones: δ is public. It is single use alone that keeps the key."""
    dealt = dealer.deal(min_signers=2, n=2)
    shares = {party: result.presignatures[0] for party, result in dealer.presign(dealt, (1, 2)).items()}
    rhos, R = {party: share.rho for party, share in shares.items()}, shares[1].R
    rows = []
    for seed in (1, 2):
        task = replace(
            ecdsa.task_for(dealt.shares[1].group_key, seed=seed),
            tweak=0,
            derived_key=dealt.shares[1].group_key,
        )
        signature = ecdsa.sign(shares, task)
        factor = delta(task, R=R, rhos=rhos)
        r, parity = nonce_point(R, factor)
        s = signature.s if signature.recovery_id == parity else Q - signature.s
        rows.append((s * factor % Q, r, int.from_bytes(task.message_hash, "big")))

    (a, r, m), (b, other_r, other_m) = rows  # a·k = m + r·x and b·k = m' + r'·x
    secret = (b * m - a * other_m) * pow(a * other_r - b * r, -1, Q) % Q

    assert secret == dealt.secret


def bool_parameters() -> set[str]:
    """Every parameter of the engine that is a switch."""
    return {
        argument.arg
        for path in (*(ROOT / "signer_nodes/mpc").rglob("*.py"), *(ROOT / "policy" / n for n in PUBLIC))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        if argument.annotation is not None and ast.unparse(argument.annotation) == "bool"
    }


def test_no_check_of_the_engine_can_be_switched_off() -> None:
    """``nonzero`` asks for more; ``x_only`` says which standard a suite follows."""
    assert bool_parameters() == {"nonzero", "x_only"}


def schnorr() -> list[int]:
    point, other, context = base_mul(7), base_mul(8), b"context"
    return [
        proofs._challenge(SECP256K1_GROUP, context, point, other),
        proofs._challenge(SECP256K1_GROUP, b"other", point, other),
        proofs._challenge(SECP256K1_GROUP, context, other, other),
        proofs._challenge(SECP256K1_GROUP, context, point, point),
    ]


def extension_check() -> list[bytes]:
    """The key of the consistency check: who, in which session, how many, the matrix."""
    others = [replace(DIRECTION, session=b"t" * 32), replace(DIRECTION, sender=2, receiver=1)]
    others += [replace(DIRECTION, batch=8), replace(DIRECTION, receiver=3)]
    found = [extension._challenge(direction, b"matrix") for direction in (DIRECTION, *others)]
    return [*found, extension._challenge(DIRECTION, b"Matrix")]


def multiplication() -> list[tuple[int, int]]:
    """θ: who, in which session, after which extension message, all ã, which instance."""
    other, same = np.zeros(8, np.uint8), np.ones(8, np.uint8)
    digests = [
        vole._digest(DIRECTION, b"transcript", same),
        vole._digest(replace(DIRECTION, session=b"t" * 32), b"transcript", same),
        vole._digest(replace(DIRECTION, sender=2, receiver=1), b"transcript", same),
        vole._digest(DIRECTION, b"Transcript", same),
        vole._digest(DIRECTION, b"transcript", other),
    ]
    return [*(vole._theta(digest, 0) for digest in digests), vole._theta(digests[0], 1)]


@pytest.mark.parametrize("challenges", [schnorr, extension_check, multiplication])
def test_a_challenge_covers_all_that_its_check_depends_on(challenges: Callable[[], list[object]]) -> None:
    found = challenges()

    assert len(set(found)) == len(found)


def test_every_choice_and_every_mask_bit_is_drawn() -> None:
    """An implementation that fills one bit of each byte passes every other test: its sums still hold."""
    ones = zeros = 0
    for seed in range(64):
        stream = RandomStream(random.Random(seed).randbytes(32)).fork("choices/2")
        choices = int.from_bytes(stream.bytes(DIRECTION.column_bytes), "little")
        ones, zeros = ones | choices, zeros | ~choices

    every = 2 ** (8 * DIRECTION.column_bytes) - 1
    assert ones & every == every
    assert zeros & every == every
