"""A letter is taken in once, whole, by whom it is for; all else is refused by name and changes nothing."""

import secrets
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from policy.errors import MalformedError
from signer_nodes.api.letters import (
    CALL,
    CLOCK_SKEW_MS_MAX,
    LETTER,
    LIFE_MS,
    Header,
    Inbox,
    LetterRefused,
    read_header,
    write_letter,
)

NOW_MS = 1_790_000_000_000
COORDINATOR, PEER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
KEYS = {
    "coordinator": COORDINATOR.public_key().public_bytes_raw(),
    "cold-b": PEER.public_key().public_bytes_raw(),
}
BOOT, CEREMONY = b"\x01" * 32, b"\x02" * 32
FRAMES = [(CALL, b"first"), (LETTER, b""), (CALL, b"second")]
HEADER = Header(
    origin="log.example.com/test",
    ceremony=CEREMONY,
    sender="coordinator",
    recipient="cold-a",
    boot=BOOT,
    number=1,
    made_ms=NOW_MS,
    expires_ms=NOW_MS + LIFE_MS,
    reply_key=bytes(range(32)),
)


def inbox() -> Inbox:
    return Inbox("cold-a", HEADER.origin, BOOT, X25519PrivateKey.generate(), "coordinator")


def written(box: Inbox, *, by: Ed25519PrivateKey = COORDINATOR, **changed: Any) -> bytes:
    return write_letter(replace(HEADER, **changed), FRAMES, key=box.public_key, sign=by.sign)


def refusal(box: Inbox, letter: bytes, *, now_ms: int = NOW_MS) -> str:
    before = (box.ceremony, dict(box.taken))
    with pytest.raises(LetterRefused) as caught:
        box.open(letter, KEYS, now_ms=now_ms)
    assert (box.ceremony, box.taken) == before, "what is refused changes nothing"
    return caught.value.code


def test_a_letter_brings_its_frames_in_their_order() -> None:
    box = inbox()

    opened = box.open(written(box), KEYS, now_ms=NOW_MS)

    assert opened.header == HEADER
    assert opened.frames == tuple(FRAMES)
    assert opened.of(CALL) == [b"first", b"second"]
    assert read_header(written(box)) == HEADER


def test_a_letter_is_taken_in_once_and_in_turn() -> None:
    box = inbox()
    first, third = written(box), written(box, number=3)

    assert refusal(box, third) == "missing"
    box.open(first, KEYS, now_ms=NOW_MS)
    assert refusal(box, first) == "replayed"
    assert refusal(box, written(box, number=1)) == "replayed"
    assert refusal(box, third) == "missing"
    box.open(written(box, number=2), KEYS, now_ms=NOW_MS)
    assert box.open(third, KEYS, now_ms=NOW_MS).header.number == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"origin": "log.example.com/other"},
        {"recipient": "cold-b"},
        {"boot": b"\x09" * 32},
        {"sender": "mallory"},
    ],
)
def test_a_foreign_letter_is_refused(changed: dict[str, Any]) -> None:
    box = inbox()

    assert refusal(box, written(box, **changed)) == "foreign"


def test_one_start_takes_part_in_one_ceremony() -> None:
    box = inbox()
    box.open(written(box), KEYS, now_ms=NOW_MS)

    assert refusal(box, written(box, ceremony=b"\x08" * 32, number=2)) == "foreign"


def test_only_the_coordinator_begins_a_ceremony() -> None:
    box = inbox()
    letter = written(box, by=PEER, sender="cold-b")

    assert refusal(box, letter) == "foreign"
    box.open(written(box), KEYS, now_ms=NOW_MS)
    assert box.open(letter, KEYS, now_ms=NOW_MS).header.sender == "cold-b"


def test_what_was_sealed_to_an_earlier_start_opens_nowhere() -> None:
    earlier, now = inbox(), inbox()

    assert refusal(now, written(earlier)) == "foreign"


def test_another_signature_than_the_senders_is_refused() -> None:
    box = inbox()

    assert refusal(box, written(box, by=PEER)) == "altered"


def test_a_letter_expires_and_none_says_that_it_never_does() -> None:
    box = inbox()

    assert refusal(box, written(box), now_ms=NOW_MS + LIFE_MS) == "expired"
    assert refusal(box, written(box, expires_ms=NOW_MS + LIFE_MS + 1)) == "expired"
    assert refusal(box, written(box), now_ms=NOW_MS - CLOCK_SKEW_MS_MAX - 1) == "clock"
    box.open(written(box), KEYS, now_ms=NOW_MS + LIFE_MS - 1)


@given(data=st.data())
def test_a_truncated_letter_is_refused_at_any_length(data: st.DataObject) -> None:
    box = inbox()
    letter = written(box)
    length = data.draw(st.integers(0, len(letter) - 1))

    assert refusal(box, letter[:length]) == "truncated"


@given(data=st.data())
def test_a_letter_with_any_bit_flipped_is_refused(data: st.DataObject) -> None:
    box = inbox()
    letter = bytearray(written(box))
    letter[data.draw(st.integers(0, len(letter) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    assert refusal(box, bytes(letter)) in {"altered", "foreign", "truncated", "malformed", "missing"}


@given(junk=st.binary(max_size=300))
def test_junk_is_no_letter(junk: bytes) -> None:
    assert refusal(inbox(), junk) in {"truncated", "malformed"}


def test_more_than_a_letter_holds_is_not_written() -> None:
    box = inbox()
    with pytest.raises(MalformedError, match="the limit is"):
        write_letter(
            HEADER, [(CALL, secrets.token_bytes(17 << 20))], key=box.public_key, sign=COORDINATOR.sign
        )


def test_an_inbox_shows_no_key() -> None:
    assert "private_key" not in repr(inbox())
