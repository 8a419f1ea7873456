"""Calls and replies in and out of their numbered envelopes, for both ends of the wire."""

from typing import Final, TypeAlias, TypeVar

from google.protobuf.message import DecodeError, Message

from policy.errors import CallerError, MalformedError
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.errors import REASON_CHARACTERS_MAX, Refused

SERVICE: Final = "quorumkeep.node.v1.Node"
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
ENVELOPE_BYTES_MAX: Final = 64
CALLS_IN_FLIGHT_MAX: Final = 64

What: TypeAlias = (
    pb.Hello
    | pb.HeadQuery
    | pb.EntriesQuery
    | pb.Append
    | pb.Finish
    | pb.ChangeKey
    | pb.ImportOffer
    | pb.Presign
    | pb.Burn
    | pb.Status
    | pb.Protocol
    | pb.Abandon
    | pb.Leave
    | pb.Quorum
    | pb.Read
)
ReplyT = TypeVar("ReplyT", bound=Message)


def envelope(message: What) -> pb.Call:
    """``message`` in its envelope, still without a number. Raises ``CallerError`` when it is too long."""
    kind = _KINDS[message.DESCRIPTOR.full_name]
    if message.ByteSize() > MESSAGE_BYTES_MAX - ENVELOPE_BYTES_MAX:
        raise CallerError(
            f"a {kind} of {message.ByteSize()} bytes, the limit is {MESSAGE_BYTES_MAX - ENVELOPE_BYTES_MAX}"
        )
    call = pb.Call()
    part: Message = getattr(call, kind)
    part.CopyFrom(message)
    part.SetInParent()  # an empty message is present all the same
    return call


def parse_reply(received: bytes) -> pb.Reply:
    """Read a reply from the wire; raises ``MalformedError``."""
    try:
        return pb.Reply.FromString(received)
    except DecodeError as error:
        raise MalformedError(f"a reply of {len(received)} bytes is not one") from error


def unwrap(reply: pb.Reply, kind: type[ReplyT], *, name: str) -> ReplyT:
    """The answer of node ``name``. Raises ``Refused``, or ``MalformedError`` for another kind of answer."""
    what = reply.WhichOneof("what")
    if what == "refusal":
        raise Refused(reply.refusal.code, reply.refusal.reason)
    answer = getattr(reply, what) if what is not None else None
    if not isinstance(answer, kind):
        raise MalformedError(f"{name} answered with {what}, expected {kind.__name__}")
    return answer


def parse_call(received: bytes) -> pb.Call:
    """Read a call from the wire; raises ``MalformedError``. Its kind may be one we do not know."""
    try:
        return pb.Call.FromString(received)
    except DecodeError as error:
        raise MalformedError(f"a call of {len(received)} bytes is not one") from error


def reply_envelope(number: int, kind: str, *, answer: Message) -> pb.Reply:
    """``answer`` to the call ``number`` of ``kind``."""
    reply = pb.Reply(call=number)
    part: Message = getattr(reply, kind)
    part.CopyFrom(answer)
    part.SetInParent()
    if reply.ByteSize() > MESSAGE_BYTES_MAX:
        raise CallerError(f"an answer to {kind} of {reply.ByteSize()} bytes, limit {MESSAGE_BYTES_MAX}")
    return reply


def refusal(number: int, code: str, *, reason: str) -> pb.Reply:
    """A refusal of the call ``number``."""
    return pb.Reply(call=number, refusal=pb.Refusal(code=code, reason=reason[:REASON_CHARACTERS_MAX]))


def _kinds() -> dict[str, str]:
    fields = pb.Call.DESCRIPTOR.oneofs_by_name["what"].fields
    return {field.message_type.full_name: field.name for field in fields if field.message_type is not None}


_KINDS: Final = _kinds()
