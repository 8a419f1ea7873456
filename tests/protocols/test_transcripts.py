"""The transcripts in tests/vectors are what the protocols send, to the byte, and what they say is true."""

import json
from functools import cache
from typing import Any

import ecdsa as independent
import pytest

from tests.vectors import make_transcripts

NAMES = list(make_transcripts.COMMITTEES)


@cache
def made() -> dict[str, str]:
    return make_transcripts.files()


@cache
def stored(name: str) -> Any:
    return json.loads((make_transcripts.FOLDER / name).read_text())


@pytest.mark.parametrize("name", NAMES)
def test_a_transcript_is_made_again_to_the_byte(name: str) -> None:
    """When the wire format is meant to change: ``make vectors``, and a line in the change log."""
    assert made()[name] == (make_transcripts.FOLDER / name).read_text()


def test_every_transcript_in_the_folder_is_made() -> None:
    assert {path.name for path in make_transcripts.FOLDER.glob("transcript_*")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_its_signatures_verify_with_a_library_that_is_not_ours(name: str) -> None:
    for signed in stored(name)["sign"]:
        key = independent.VerifyingKey.from_string(
            bytes.fromhex(signed["derived_key"]), curve=independent.SECP256k1
        )
        assert key.verify_digest(bytes.fromhex(signed["signature"]), bytes.fromhex(signed["message_hash"]))


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_message_from_everybody_to_everybody_in_every_round(name: str) -> None:
    for part, rounds in (("keygen", 3), ("presign", 2)):
        run = stored(name)[part]
        parties = [int(party) for party in run["randomness"]]
        expected = [(r, a, b) for r in range(1, rounds + 1) for a in parties for b in parties if a != b]
        assert [(m["round"], m["from"], m["to"]) for m in run["messages"]] == expected
