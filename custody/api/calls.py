"""Who is calling: the statement a caller's roster key signs over each call, and checking it.

A statement holds for 60 seconds around its time and for one method and one body; a replay within them
reads again what its author could read, and changes nothing that the author has not signed by itself.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import Message

from custody.api.errors import CallRefused, Code
from policy.encoding import Json, document_hash, statement
from policy.errors import InvalidSignatureError
from policy.log.note import verify_ed25519

CALLER: Final = "quorumkeep-caller"
TIME_MS: Final = "quorumkeep-time-ms"
SIGNATURE: Final = "quorumkeep-signature-bin"
SKEW_MS: Final = 60_000
TAG: Final = "call"


def call_statement(method: str, message: Message, *, origin: str, time_ms: int) -> bytes:
    """What a caller signs: ``method`` is the bare name, such as ``Get``."""
    fields: dict[str, Json] = {
        field.name: value.hex() if isinstance(value, bytes) else str(value)
        for field, value in message.ListFields()
    }
    body_hash = document_hash("call-body", fields)
    body: Json = {"origin": origin, "method": method, "body_hash": body_hash.hex(), "time_ms": time_ms}
    return statement(TAG, body)


def sign_call(
    method: str, message: Message, *, origin: str, time_ms: int, caller: str, key: Ed25519PrivateKey
) -> tuple[tuple[str, str | bytes], ...]:
    """The metadata that authenticates one call."""
    signature = key.sign(call_statement(method, message, origin=origin, time_ms=time_ms))
    return ((CALLER, caller), (TIME_MS, str(time_ms)), (SIGNATURE, signature))


def authenticate(
    method: str,
    message: Message,
    *,
    metadata: Sequence[tuple[str, str | bytes]],
    key_of: Callable[[str], bytes | None],
    origin: str,
    now_ms: int,
) -> str:
    """The name of whoever signed this call. Raises ``CallRefused``."""
    given: Mapping[str, str | bytes] = dict(metadata)
    caller, time_text, signature = given.get(CALLER), given.get(TIME_MS), given.get(SIGNATURE)
    if not isinstance(caller, str) or not isinstance(time_text, str) or not isinstance(signature, bytes):
        raise CallRefused(
            Code.UNAUTHENTICATED,
            f"the call lacks {CALLER}, {TIME_MS} or {SIGNATURE}: sign it",
        )
    if not time_text.isdecimal() or len(time_text) > 15 or abs(int(time_text) - now_ms) > SKEW_MS:
        raise CallRefused(
            Code.UNAUTHENTICATED, f"the call says {time_text[:20]} ms, here it is {now_ms}: set the clock"
        )
    key = key_of(caller)
    if key is None:
        raise CallRefused(Code.UNAUTHENTICATED, f"the roster names nobody {caller[:64]!r}: use a name it has")
    signed = call_statement(method, message, origin=origin, time_ms=int(time_text))
    try:
        verify_ed25519(key, signature, message=signed, author=caller)
    except InvalidSignatureError as error:
        raise CallRefused(
            Code.UNAUTHENTICATED, f"{error}: sign {method} with {caller}'s roster key"
        ) from error
    return caller
