"""Verification against Wycheproof's edge cases: sums that meet a point twice, values at their limits."""

import json
from pathlib import Path
from typing import Any

import pytest

from policy.ecdsa import Signature, low_s, verify
from policy.errors import CallerError

FILE = json.loads((Path(__file__).parents[1] / "vectors" / "ecdsa_verify.json").read_text())
VALID = [case for case in FILE["vectors"] if case[5]]
INVALID = [case for case in FILE["vectors"] if not case[5]]


def verified(case: list[Any]) -> list[int]:
    """The recovery ids with which the signature, its s made low, verifies."""
    _, key, message, r, s, _ = case
    found = []
    for recovery_id in range(4):
        try:
            signature = low_s(int(r, 16), int(s, 16), recovery_id=recovery_id)
        except CallerError:  # r or s is out of range: no signature at all
            return []
        if verify(signature, bytes.fromhex(message), public_key=bytes.fromhex(key)):
            found.append(recovery_id)
    return found


def number(case: list[Any]) -> str:
    return str(case[0])


@pytest.mark.parametrize("case", VALID, ids=number)
def test_a_valid_signature_verifies_with_exactly_one_recovery_id(case: list[Any]) -> None:
    assert len(verified(case)) == 1


@pytest.mark.parametrize("case", INVALID, ids=number)
def test_an_invalid_signature_verifies_with_none(case: list[Any]) -> None:
    assert verified(case) == []


def test_the_cases_are_of_both_kinds_and_some_have_a_high_s() -> None:
    high = [case for case in VALID if int(case[4], 16) > 2**255]

    assert len(VALID) == 80
    assert len(INVALID) == 67
    assert high
    for case in high:
        with pytest.raises(CallerError, match="low s"):
            Signature(int(case[3], 16), int(case[4], 16), 0)
