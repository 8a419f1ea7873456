"""Structure-aware fuzzing: edits of valid bytes, chosen by a fuzzer's bytes.

A protocol machine is fed an honest run's messages with edits in them, so that the fuzzer gets past the
first length check; a JSON document is changed as a value and written canonically again.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from policy.encoding import Json, canonical
from policy.errors import CallerError, FaultyParticipant, UnknownFault
from signer_nodes.mpc.rounds import RunState
from tests.protocols.attack_model import Protocol
from tests.protocols.mutator import transcript

EDIT_BYTES = 6
EDITS_MAX = 32
VALUES: tuple[Json, ...] = (
    0,
    -1,
    1,
    2**53 - 1,
    True,
    "",
    "0",
    "-1",
    "00",
    "a" * 70,
    "evm:1",
    "\u202e",
    "é" * 40,
    [],
    {},
    [[]],
    "9" * 80,
    "ff" * 32,
)


@dataclass(frozen=True, slots=True)
class Edit:
    """One change: ``place`` says where, in a message or among messages, ``value`` what."""

    index: int
    kind: int
    place: int
    value: int


def edits(data: bytes) -> Iterator[Edit]:
    """The edits that a fuzzer's bytes choose."""
    for at in range(0, min(len(data), EDITS_MAX * EDIT_BYTES), EDIT_BYTES):
        part = data[at : at + EDIT_BYTES].ljust(EDIT_BYTES, b"\0")
        yield Edit(part[0], part[1] % 8, int.from_bytes(part[2:5], "big"), part[5])


def feed(protocol: Protocol, data: bytes) -> None:
    """Run one party of ``protocol`` on edited messages; only documented errors may come out of it."""
    me = next(party for party in protocol.parties if party not in protocol.attackers[:1])
    messages = [
        (sender, payload)
        for (_, sender, to), payload in sorted(transcript(protocol, 1).items(), key=lambda item: item[0][0])
        if to == me
    ]
    for edit in edits(data):
        _edit_messages(messages, edit)
    run = protocol.start(me, 1, 0)
    try:
        run.start()
        for sender, payload in messages:
            run.receive(sender, payload)
    except (FaultyParticipant, UnknownFault):
        if run.state is RunState.RUNNING and all(sender in run.peers for sender, _ in messages):
            raise AssertionError("a run went on after an error") from None


def _edit_messages(messages: list[tuple[int, bytes]], edit: Edit) -> None:
    if not messages:
        return
    index = edit.index % len(messages)
    sender, payload = messages[index]
    place = edit.place % (len(payload) + 1)
    match edit.kind:
        case 0:
            changed = bytes([payload[place] ^ edit.value]) if place < len(payload) else b""
            messages[index] = sender, payload[:place] + changed + payload[place + 1 :]
        case 1:
            messages[index] = sender, payload[:place]
        case 2:
            messages[index] = sender, payload[:place] + bytes([edit.value]) + payload[place:]
        case 3:
            messages.insert(index, messages[index])
        case 4:
            messages.append(messages.pop(index))
        case 5:
            del messages[index]
        case 6:
            messages[index] = edit.value % 8, payload
        case _:
            messages[index] = sender, payload[:place] + bytes([edit.value]) * min(64, len(payload) - place)


def edited_document(document: bytes, data: bytes) -> bytes:
    """A canonical document with edits of its values; the document itself where an edit has no encoding."""
    value: Json = json.loads(document)
    for edit in edits(data):
        value = _edit_value(value, edit)
    try:
        return canonical(value)
    except CallerError:
        return document


def _value(edit: Edit) -> Json:
    """One of the values, new: what is put into a document is changed there."""
    found: Json = json.loads(json.dumps(VALUES[edit.value % len(VALUES)]))
    return found


def _edit_value(root: Json, edit: Edit) -> Json:
    """Change one of all the values in a document, the root included."""
    spots: list[tuple[dict[str, Json] | list[Json], str | int]] = []

    def walk(value: Json) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                spots.append((value, key))
                walk(item)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                spots.append((value, number))
                walk(item)

    walk(root)
    if not spots:
        return _value(edit)
    box, key = spots[edit.place % len(spots)]
    new, old = _value(edit), json.loads(json.dumps(box[key]))  # type: ignore[index]
    match edit.kind:
        case 0 | 1:
            box[key] = new  # type: ignore[index]
        case 2:
            del box[key]  # type: ignore[arg-type]
        case 3 if isinstance(box, dict):
            box[f"x{edit.value}"] = new
        case 3 | 4 if isinstance(box, list):
            box.append(old)
        case 5 if isinstance(old, str):
            box[key] = old[:-1] if edit.value % 2 else old + old[:1]  # type: ignore[index]
        case 6 if isinstance(old, int):
            box[key] = old + edit.value - 128  # type: ignore[index]
        case _:
            other, name = spots[edit.index % len(spots)]
            box[key] = json.loads(json.dumps(other[name]))  # type: ignore[index]
    return root
