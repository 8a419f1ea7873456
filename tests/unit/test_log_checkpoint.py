"""Checkpoints, notes and cosignatures: one encoding each, and no signature counts that should not."""

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from policy.encoding import statement
from policy.errors import CallerError, InvalidSignatureError, MalformedError
from policy.log.checkpoint import (
    TIME_MAX_S,
    TYPE_COSIGNATURE,
    TYPE_ED25519,
    Checkpoint,
    Note,
    NoteSignature,
    cosignature,
    cosignature_message,
    encode_vkey,
    key_id,
    log_signature,
    log_signature_message,
    parse_checkpoint,
    parse_note,
    parse_vkey,
    quorum,
    verify_cosignatures,
    verify_log_signature,
)
from policy.log.merkle import SIZE_MAX
from policy.log.note import decode_base64

VECTORS = Path(__file__).parents[1] / "vectors"
SPEC = json.loads((VECTORS / "log_notes.json").read_text())
ORIGIN = "example.com/quorumkeep"
CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(range(32)), bytes(32))
BODY = CHECKPOINT.body()
COSIGNERS = ("example.com/node-1", "example.com/node-2", "example.com/witness")
TIME_S = 1_700_000_000


def _private(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def _public(name: str) -> bytes:
    return _private(name).public_key().public_bytes_raw()


def _cosign(name: str, *, body: bytes = BODY, time_s: int = TIME_S) -> NoteSignature:
    signature = _private(name).sign(cosignature_message(body, time_s=time_s))
    return cosignature(name, _public(name), time_s=time_s, signature=signature)


def _log_sign(body: bytes = BODY) -> NoteSignature:
    return log_signature(
        ORIGIN, _public(ORIGIN), signature=_private(ORIGIN).sign(log_signature_message(body))
    )


KEYS = {name: _public(name) for name in COSIGNERS}
NOTE = Note(BODY, (_log_sign(), *(_cosign(name) for name in COSIGNERS)))
DATA = NOTE.to_bytes()


def test_the_example_of_the_specification_verifies() -> None:
    key = parse_vkey(SPEC["vkey"])
    note = parse_note(SPEC["note"].encode(), 1000)

    verify_log_signature(note, key.name, public_key=key.public_key)

    assert note.to_bytes().decode() == SPEC["note"]
    assert encode_vkey(key.name, key.key_type, public_key=key.public_key) == SPEC["vkey"]
    with pytest.raises(InvalidSignatureError):
        verify_log_signature(
            replace(note, body=b"This is another message.\n"), key.name, public_key=key.public_key
        )


def test_the_bytes_that_are_signed_are_those_of_the_specifications() -> None:
    root, state = base64.b64encode(bytes(range(32))).decode(), base64.b64encode(bytes(32)).decode()
    text = f"{ORIGIN}\n7\n{root}\nstate {state}\n"

    assert log_signature_message(BODY).decode() == text
    assert cosignature_message(BODY, time_s=TIME_S).decode() == f"cosignature/v1\ntime {TIME_S}\n{text}"
    line = _cosign(COSIGNERS[0])
    material = f"{COSIGNERS[0]}\n".encode() + b"\x04" + KEYS[COSIGNERS[0]]
    assert line.key_id == hashlib.sha256(material).digest()[:4]
    assert (len(line.payload), line.payload[:8]) == (72, TIME_S.to_bytes(8, "big"))


def test_no_signed_message_can_be_read_as_one_of_another_kind() -> None:
    messages = [log_signature_message(BODY), cosignature_message(BODY, time_s=1), statement("burn", {})]

    assert len({message.split(b"\n")[0].split(b" ")[0] for message in messages}) == 3
    for origin in ("cosignature/v1", "quorumkeep/v1 burn"):
        with pytest.raises(CallerError):
            Checkpoint(origin, 7, bytes(32), bytes(32))


@given(st.integers(1, SIZE_MAX), st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_survives_its_encoding(size: int, root: bytes, state: bytes) -> None:
    checkpoint = Checkpoint(ORIGIN, size, root, state)

    assert parse_checkpoint(checkpoint.body()) == checkpoint


ROOT, STATE = (line.encode() for line in BODY.decode().split("\n")[2:4])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        BODY[:-1],
        BODY + b"\n",
        BODY + b"more\n",
        BODY.replace(b"\n7\n", b"\n07\n"),
        BODY.replace(b"\n7\n", b"\n+7\n"),
        BODY.replace(b"\n7\n", b"\n-7\n"),
        BODY.replace(b"\n7\n", b"\n 7\n"),
        BODY.replace(b"\n7\n", "\n７\n".encode()),
        BODY.replace(b"\n7\n", b"\n\n"),
        BODY.replace(b"\n7\n", b"\n0\n"),
        BODY.replace(b"\n7\n", b"\n%d\n" % (SIZE_MAX + 1)),
        BODY.replace(b"\n7\n", b"\n" + b"9" * 3000 + b"\n"),
        BODY.replace(ROOT, ROOT.rstrip(b"=")),
        BODY.replace(ROOT, ROOT[:-2] + b"9="),
        BODY.replace(ROOT, ROOT + b"===="),
        BODY.replace(ROOT, base64.b64encode(bytes(31))),
        BODY.replace(ROOT, base64.b64encode(bytes(33))),
        BODY.replace(b"state ", b"state  "),
        BODY.replace(b"state ", b"State "),
        BODY.replace(STATE + b"\n", b""),
        BODY.replace(b"\n", b"\r\n"),
        BODY.replace(b"example.com/", b"example com/"),
        BODY.replace(b"example.com/", b"\xff"),
        BODY.replace(ORIGIN.encode(), b""),
        BODY.replace(ORIGIN.encode(), b"cosignature/v1"),
        BODY.replace(ORIGIN.encode(), b"o" * 5000),
    ],
)
def test_a_checkpoint_in_any_other_encoding_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_checkpoint(body)


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_a_changed_checkpoint_is_refused_or_another_checkpoint(at: int, flip: int) -> None:
    changed = bytes([*BODY[:at], BODY[at] ^ flip, *BODY[at + 1 :]])

    try:
        checkpoint = parse_checkpoint(changed)
    except MalformedError:
        return

    assert checkpoint != CHECKPOINT
    assert checkpoint.body() == changed


def test_a_note_survives_its_encoding_and_its_signatures_verify() -> None:
    note = parse_note(DATA, len(DATA))

    verify_log_signature(note, ORIGIN, public_key=_public(ORIGIN))

    assert note == NOTE
    assert verify_cosignatures(note, KEYS) == dict.fromkeys(COSIGNERS, TIME_S)


def test_the_text_of_a_note_may_have_empty_lines() -> None:
    for body in (b"\n", b"a\n\n", b"\n\nb\n", b"a\n\nb\n\n"):
        note = Note(body, (_cosign(COSIGNERS[0], body=body),))

        assert parse_note(note.to_bytes(), 1000) == note
        assert quorum(note, KEYS, w=1)


LINE = DATA.decode().split("\n")[6].encode()
PAYLOAD = LINE.rpartition(b" ")[2]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        BODY,
        BODY + b"\n",
        BODY + LINE + b"\n",
        DATA[:-1],
        DATA + b"\n",
        DATA + b"garbage\n",
        DATA + LINE + b"\n",
        b"\x00" + DATA,
        b"\t" + DATA,
        b"\xff" + DATA,
        DATA.replace(b"\n", b"\r\n"),
        DATA.replace("—".encode(), b"-"),
        DATA.replace(LINE, LINE + b" "),
        DATA.replace(LINE, LINE.replace(b" ", b"  ", 1)),
        DATA.replace(LINE, LINE.replace(b"node-1", b"node+1")),
        DATA.replace(LINE, LINE.replace(b"node-1", b"node 1")),
        DATA.replace(LINE, LINE.replace(b"node-1", "node\u20281".encode())),
        DATA.replace(LINE, LINE.replace(b"node-1", b"n" * 300)),
        DATA.replace(LINE, "—  ".encode() + PAYLOAD),
        DATA.replace(PAYLOAD, PAYLOAD + b"="),
        DATA.replace(PAYLOAD, PAYLOAD[:-1]),
        DATA.replace(PAYLOAD, base64.b64encode(bytes(4))),
        DATA.replace(PAYLOAD, base64.b64encode(bytes(3))),
        DATA.replace(PAYLOAD, base64.b64encode(bytes(8197))),
        DATA.replace(PAYLOAD, base64.urlsafe_b64encode(b"\xff" * 76)),
    ],
)
def test_a_note_in_any_other_encoding_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_note(data, 1 << 20)


def test_a_note_is_bounded_in_bytes_and_signatures() -> None:
    lines = tuple(NoteSignature("example.com/k", number.to_bytes(4, "big"), b"s") for number in range(64))
    full = Note(BODY, lines).to_bytes()
    extra = "— example.com/k /////3M=\n".encode()

    assert len(parse_note(full, len(full)).signatures) == 64
    with pytest.raises(MalformedError, match="65 signatures"):
        parse_note(full + extra, 1 << 20)
    with pytest.raises(MalformedError, match="at most"):
        parse_note(full, len(full) - 1)


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_a_changed_note_never_keeps_its_quorum(at: int, flip: int) -> None:
    changed = bytes([*DATA[:at], DATA[at] ^ flip, *DATA[at + 1 :]])

    try:
        note = parse_note(changed, len(changed))
        verify_log_signature(note, ORIGIN, public_key=_public(ORIGIN))
        whole = quorum(note, KEYS, w=len(KEYS))
    except (MalformedError, InvalidSignatureError):
        whole = False

    assert not whole


def test_a_note_without_signatures_is_not_published() -> None:
    with pytest.raises(CallerError):
        Note(BODY).to_bytes()


def test_a_new_signature_of_a_key_takes_the_place_of_its_earlier_one() -> None:
    later = _cosign(COSIGNERS[0], time_s=TIME_S + 60)

    note = NOTE.with_signatures(later)

    assert len(note.signatures) == len(NOTE.signatures)
    assert verify_cosignatures(note, KEYS)[COSIGNERS[0]] == TIME_S + 60


def test_a_quorum_needs_w_different_known_cosigners() -> None:
    stranger = _cosign("example.com/stranger")
    note = Note(BODY, (_log_sign(), _cosign(COSIGNERS[0]), stranger, _cosign(COSIGNERS[1])))

    assert quorum(note, KEYS, w=2)
    assert not quorum(note, KEYS, w=3)
    assert not quorum(note, {}, w=1)
    with pytest.raises(CallerError):
        quorum(note, KEYS, w=0)


def test_one_key_under_two_names_does_not_count_twice() -> None:
    keys = {**KEYS, "example.com/alias": KEYS[COSIGNERS[0]]}

    with pytest.raises(CallerError, match="share one public key"):
        quorum(NOTE, keys, w=3)


def test_lines_that_share_only_a_name_or_only_an_id_with_a_known_key_are_ignored() -> None:
    good = _cosign(COSIGNERS[0])
    same_name = replace(good, key_id=bytes(4))
    same_id = replace(good, name="example.com/other")

    assert verify_cosignatures(Note(BODY, (same_name, same_id)), KEYS) == {}
    assert verify_cosignatures(Note(BODY, (same_name, good, same_id)), KEYS) == {COSIGNERS[0]: TIME_S}


@pytest.mark.parametrize(
    "line",
    [
        _cosign(COSIGNERS[1], body=replace(CHECKPOINT, size=8).body()),
        _cosign(COSIGNERS[1], body=replace(CHECKPOINT, root=bytes(32)).body()),
        _cosign(COSIGNERS[1], body=replace(CHECKPOINT, state=bytes(range(32))).body()),
        _cosign(COSIGNERS[1], body=replace(CHECKPOINT, origin="example.com/other").body()),
        replace(
            _cosign(COSIGNERS[1]), payload=(TIME_S + 1).to_bytes(8, "big") + _cosign(COSIGNERS[1]).payload[8:]
        ),
        replace(_cosign(COSIGNERS[1]), payload=_cosign(COSIGNERS[1]).payload[8:]),
        replace(_cosign(COSIGNERS[1]), payload=_cosign(COSIGNERS[1]).payload + b"\x00"),
        replace(_cosign(COSIGNERS[1]), payload=b"\xff" * 72),
        replace(_cosign(COSIGNERS[0]), name=COSIGNERS[1], key_id=_cosign(COSIGNERS[1]).key_id),
        replace(_cosign(COSIGNERS[1]), payload=TIME_S.to_bytes(8, "big") + _private(COSIGNERS[1]).sign(BODY)),
    ],
)
def test_a_false_cosignature_of_a_known_cosigner_refuses_the_note_and_names_it(line: NoteSignature) -> None:
    note = Note(BODY, (_cosign(COSIGNERS[0]), line))

    with pytest.raises(InvalidSignatureError, match=COSIGNERS[1]):
        verify_cosignatures(note, KEYS)


def test_a_cosignature_is_no_log_signature_and_a_log_signature_no_cosignature() -> None:
    name, public_key = COSIGNERS[0], KEYS[COSIGNERS[0]]
    as_log = log_signature(name, public_key, signature=_cosign(name).payload[8:])

    with pytest.raises(InvalidSignatureError, match="does not verify"):
        verify_log_signature(Note(BODY, (as_log,)), name, public_key=public_key)
    with pytest.raises(InvalidSignatureError, match="carries no signature"):
        verify_log_signature(Note(BODY, (_cosign(name),)), name, public_key=public_key)
    assert verify_cosignatures(Note(BODY, (as_log,)), KEYS) == {}


def test_times_and_keys_out_of_range_are_the_callers_mistake() -> None:
    for time_s in (-1, TIME_MAX_S + 1):
        with pytest.raises(CallerError):
            cosignature_message(BODY, time_s=time_s)
    with pytest.raises(CallerError):
        cosignature_message(BODY[:-1], time_s=1)
    with pytest.raises(CallerError):
        verify_cosignatures(NOTE, {COSIGNERS[0]: bytes(31)})
    with pytest.raises(CallerError):
        cosignature(COSIGNERS[0], KEYS[COSIGNERS[0]], time_s=1, signature=bytes(63))


def test_base64_has_one_text_for_each_value() -> None:
    assert decode_base64("AAE=", "value") == b"\x00\x01"
    for text in ("AAF=", "AAE", "AAE==", "AAE=\n", "A-E=", "AAÉ="):
        with pytest.raises(MalformedError):
            decode_base64(text, "value")


@pytest.mark.parametrize("key_type", [TYPE_ED25519, TYPE_COSIGNATURE])
def test_a_verifier_key_survives_its_encoding(key_type: int) -> None:
    key = parse_vkey(encode_vkey(ORIGIN, key_type, public_key=_public(ORIGIN)))

    assert (key.name, key.key_type, key.public_key) == (ORIGIN, key_type, _public(ORIGIN))
    assert key_id(ORIGIN, key_type, public_key=_public(ORIGIN)).hex() in encode_vkey(
        ORIGIN, key_type, public_key=_public(ORIGIN)
    )


VKEY = encode_vkey(ORIGIN, TYPE_COSIGNATURE, public_key=_public(ORIGIN))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "++",
        ORIGIN,
        VKEY.replace("example.com", "example.org"),
        VKEY.replace("/", " ", 1),
        VKEY.upper(),
        VKEY + "=",
        VKEY + "\n",
        VKEY[:-4],
        VKEY.replace("+", "+0", 1),
        encode_vkey(ORIGIN, 2, public_key=_public(ORIGIN)),
        VKEY.replace("o", "ö", 1),
    ],
)
def test_any_other_text_is_no_verifier_key(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_vkey(text)
