"""What a webhook is told, and how its receiver knows that the coordinator said it."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from policy.encoding import Json, parse_canonical, statement
from policy.errors import InvalidSignatureError
from policy.log.note import verify_ed25519

WEBHOOK: Final = "Quorumkeep-Webhook"
TIME_MS: Final = "Quorumkeep-Time-Ms"
SIGNATURE: Final = "Quorumkeep-Signature"
AGE_MAX_MS: Final = 300_000
BODY_BYTES_MAX: Final = 64 * 1024


def webhook_statement(body: bytes, *, origin: str, webhook: str, time_ms: int) -> bytes:
    """What the coordinator's webhook key signs: body and time, for one receiver of one log."""
    fields: Json = {
        "origin": origin,
        "webhook": webhook,
        "time_ms": time_ms,
        "body_hash": hashlib.sha256(body).hexdigest(),
    }
    return statement("webhook", fields)


def sign_webhook(
    body: bytes, *, origin: str, webhook: str, time_ms: int, key: Ed25519PrivateKey
) -> dict[str, str]:
    """The headers by which a receiver knows who told it this, and when."""
    signed = webhook_statement(body, origin=origin, webhook=webhook, time_ms=time_ms)
    return {WEBHOOK: webhook, TIME_MS: str(time_ms), SIGNATURE: key.sign(signed).hex()}


def verify_webhook(
    headers: Mapping[str, str], body: bytes, *, origin: str, key: bytes, now_ms: int
) -> dict[str, Any]:
    """The event that a webhook was told. Raises ``InvalidSignatureError`` or ``MalformedError``.

    ``key`` is the webhook key's 32 bytes, known by another way than this call. An event may be told twice,
    and again after later ones: ``sequence`` says which is newer.
    """
    given = {name.lower(): value for name, value in headers.items()}
    webhook, time_text, signature = (given.get(name.lower(), "") for name in (WEBHOOK, TIME_MS, SIGNATURE))
    if not time_text.isdecimal() or len(time_text) > 15 or abs(int(time_text) - now_ms) > AGE_MAX_MS:
        raise InvalidSignatureError(f"told at {time_text[:20]!r} ms, here it is {now_ms}: set the clock")
    try:
        signed = webhook_statement(body, origin=origin, webhook=webhook, time_ms=int(time_text))
        verify_ed25519(key, bytes.fromhex(signature), message=signed, author="the coordinator")
    except ValueError as error:
        raise InvalidSignatureError(f"{SIGNATURE} is no Ed25519 signature in hex: {error}") from error
    event = parse_canonical(body, bytes_max=BODY_BYTES_MAX)
    if not isinstance(event, dict):
        raise InvalidSignatureError("what was signed is no event")
    return event
