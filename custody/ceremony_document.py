"""How ceremonies are kept between two steps: one document, so that a coordinator that was killed goes on.

Nothing in it is secret beyond what the coordinator's database holds anyway: what goes to the machines is
sealed to them, the key that opens what they answer is derived from the coordinator's identity, and an answer
has openings and partial signatures, of which the log gets the sum. Of a ceremony that is over only the report
is kept.
"""

import json
import zlib
from typing import Final

from google.protobuf.message import DecodeError

from custody.ceremonies import Ceremonies, Ceremony, Purpose, Stage
from policy.encoding import Json
from policy.entries import JOB_SIGNATURES_MAX
from policy.errors import MalformedError
from policy.fields import Fields
from policy.ids import KEY_CHANGES
from policy.state import CANCEL, PAYMENT
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.desk import Desk, Outgoing, Seat
from signer_nodes.api.hello import HELLO_BYTES_MAX, unverified_hello
from signer_nodes.api.letters import KINDS, LETTER_BYTES_MAX, PAYLOAD_BYTES_MAX, Frame, Sign

DOCUMENT_BYTES_MAX: Final = 1024 * 1024 * 1024
COUNT_MAX: Final = 1_000_000
OUTCOME_BYTES_MAX: Final = 4096
TX_BYTES_MAX: Final = 1024 * 1024
_COMPRESSION: Final = 1
_KINDS: Final = tuple(sorted(kind.decode() for kind in KINDS))


def kept(ceremonies: Ceremonies) -> bytes:
    """All of it, to be kept."""
    current = ceremonies.current
    document: Json = {
        "hellos": [raw.hex() for _, raw in ceremonies.hellos.values()],
        "spent": [{"name": name, "counter": counter} for name, counter in ceremonies.spent.items()],
        "burned": [
            {"job": job.hex(), "name": name, "signature": signature.hex()}
            for (job, name), signature in ceremonies.burned.items()
        ],
        "current": [] if current is None else [_ceremony(current)],
    }
    return zlib.compress(json.dumps(document).encode(), _COMPRESSION)


def restored(data: bytes, sign: Sign) -> Ceremonies:
    """What was kept; nothing for no bytes. Raises ``MalformedError``."""
    if not data:
        return Ceremonies(sign)
    try:
        return _restored(data, sign)
    except (zlib.error, ValueError, DecodeError) as error:
        raise MalformedError(f"what was kept of cold ceremonies cannot be read: {error}") from error


def _restored(data: bytes, sign: Sign) -> Ceremonies:
    ceremonies = Ceremonies(sign)
    fields = Fields(json.loads(zlib.decompressobj().decompress(data, DOCUMENT_BYTES_MAX)), "ceremonies")
    for raw in fields.items("hellos", _bytes, count_max=COUNT_MAX):
        hello = unverified_hello(raw)
        ceremonies.hellos[hello.name] = (hello, raw)
    ceremonies.spent = dict(fields.objects("spent", _read_spent, count_max=COUNT_MAX))
    ceremonies.burned = dict(fields.objects("burned", _read_burned, count_max=COUNT_MAX))
    found = fields.objects("current", lambda one: _read_ceremony(one, sign), count_max=1)
    ceremonies.current = found[0] if found else None
    fields.done()
    return ceremonies


def _ceremony(one: Ceremony) -> Json:
    desk, wanted = one.desk, one.wanted
    seats: list[Json] = [_seat(name, seat, one) for name, seat in desk.seats.items()]
    burning: list[Json] = [
        {"name": name, "call": call, "job": job.hex()} for (name, call), job in one.burning.items()
    ]
    return {
        "origin": desk.inbox.origin,
        "ceremony": desk.id.hex(),
        "passes": desk.passes,
        "seats": seats,
        "key": wanted.key,
        "request": wanted.request.hex(),
        "purpose": wanted.purpose,
        "change": wanted.change,
        "stage": one.stage.value,
        "began_ms": one.began_ms,
        "ended_ms": one.ended_ms,
        "due": one.is_due,
        "epoch": one.epoch,
        "holders": [*one.holders],
        "tx": one.tx.hex(),
        "presignatures": [name.hex() for name in one.presignatures],
        "job": one.job.hex(),
        "outcome": one.outcome.encode().hex(),
        "burning": burning,
    }


def _read_ceremony(fields: Fields, sign: Sign) -> Ceremony:
    origin, ceremony = fields.origin("origin"), fields.hex("ceremony", length=32)
    seats = fields.objects("seats", _read_seat, count_max=COUNT_MAX)
    hellos = {seat.hello.name: (seat.hello, seat.raw) for seat, _ in seats}
    desk = Desk(origin, ceremony, sign=sign, hellos=hellos)
    desk.passes = fields.integer("passes")
    desk.seats = {seat.hello.name: seat for seat, _ in seats}
    desk.inbox.taken = {seat.hello.name: taken for seat, taken in seats}
    wanted = Purpose(
        fields.name("key"),
        fields.hex("request", length_max=32),
        fields.choice("purpose", PAYMENT, CANCEL),
        fields.choice("change", "", *KEY_CHANGES),
    )
    one = Ceremony(desk, wanted, Stage(fields.choice("stage", *map(str, Stage))), fields.integer("began_ms"))
    one.ended_ms, one.epoch = fields.integer("ended_ms"), fields.integer("epoch")
    one.is_due = fields.boolean("due")
    one.holders = fields.names("holders", count_max=COUNT_MAX)
    one.tx = fields.hex("tx", length_max=TX_BYTES_MAX)
    one.presignatures = tuple(fields.items("presignatures", _bytes, count_max=JOB_SIGNATURES_MAX))
    one.job = fields.hex("job", length_max=32)
    one.outcome = fields.hex("outcome", length_max=OUTCOME_BYTES_MAX).decode()
    one.burning = dict(fields.objects("burning", _read_burning, count_max=COUNT_MAX))
    return one


def _seat(name: str, seat: Seat, of: Ceremony) -> Json:
    out: list[Json] = [] if seat.out is None or of.is_over else [_outgoing(seat.out)]
    optional: list[Json] = [*sorted(seat.optional)]
    return {
        "hello": seat.raw.hex(),
        "taken": of.desk.inbox.taken.get(name, 0),
        "size": seat.size,
        "number": seat.number,
        "asked": seat.asked,
        "optional": optional,
        "frames": [] if of.is_over else _frames(seat.frames),
        "out": out,
        "replies": [] if of.is_over else [reply.SerializeToString().hex() for reply in seat.replies],
    }


def _read_seat(fields: Fields) -> tuple[Seat, int]:
    raw, taken = fields.hex("hello", length_max=HELLO_BYTES_MAX), fields.integer("taken")
    seat = Seat(unverified_hello(raw), raw, fields.integer("size"), fields.integer("number"))
    seat.asked = fields.integer("asked")
    seat.optional = set(fields.items("optional", _number, count_max=COUNT_MAX))
    seat.frames = _read_frames(fields)
    out = fields.objects("out", _read_outgoing, count_max=1)
    seat.out = out[0] if out else None
    replies = fields.items("replies", _bytes, count_max=COUNT_MAX)
    seat.replies = [pb.Reply.FromString(reply) for reply in replies]
    return seat, taken


def _outgoing(out: Outgoing) -> Json:
    return {"made_ms": out.made_ms, "frames": _frames(out.frames), "data": out.data.hex()}


def _read_outgoing(fields: Fields) -> Outgoing:
    made_ms, frames = fields.integer("made_ms"), _read_frames(fields)
    return Outgoing(made_ms, frames, fields.hex("data", length_max=LETTER_BYTES_MAX))


def _frames(frames: list[Frame]) -> list[Json]:
    return [{"kind": kind.decode(), "data": data.hex()} for kind, data in frames]


def _read_frames(fields: Fields) -> list[Frame]:
    return list(fields.objects("frames", _read_frame, count_max=COUNT_MAX))


def _read_frame(fields: Fields) -> Frame:
    return fields.choice("kind", *_KINDS).encode(), fields.hex("data", length_max=PAYLOAD_BYTES_MAX)


def _read_spent(fields: Fields) -> tuple[str, int]:
    return fields.name("name"), fields.integer("counter")


def _read_burned(fields: Fields) -> tuple[tuple[bytes, str], bytes]:
    job, name = fields.hex("job", length=32), fields.name("name")
    signature = fields.hex("signature", length=64)
    return (job, name), signature


def _read_burning(fields: Fields) -> tuple[tuple[str, int], bytes]:
    return (fields.name("name"), fields.integer("call")), fields.hex("job", length=32)


def _bytes(value: Json) -> bytes:
    if not isinstance(value, str):
        raise MalformedError("hex is a string")
    return bytes.fromhex(value)


def _number(value: Json) -> int:
    if not isinstance(value, int):
        raise MalformedError("a call's number is an integer")
    return value
