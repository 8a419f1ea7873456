"""Signing a call over HTTP: RFC 9421 with Ed25519, and RFC 9530's digest of the body. Client's side.

The coordinator reads signatures with another library's code, so that two readings of the RFC meet in tests.
A signature covers method, target URI and digest; its ``tag`` is the origin of the log, so that a call for one
deployment is none for another; it holds for ``LIFETIME_S`` and its nonce is good for one call.
"""

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from policy.errors import CallerError

LIFETIME_S: Final = 60
NONCE_BYTES: Final = 16
LABEL: Final = "quorumkeep"
COVERED: Final = ("@method", "@target-uri", "content-digest")


@dataclass(frozen=True, slots=True)
class Message:
    """A call as it is sent: ``uri`` is absolute, as the server puts it together from the ``Host`` header."""

    method: str
    uri: str
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs calls, and for which log."""

    name: str
    origin: str
    key: Ed25519PrivateKey = field(repr=False)

    def headers(self, message: Message, *, now_s: int, nonce: bytes) -> dict[str, str]:
        """The headers that authenticate one call. ``nonce`` is 16 fresh random bytes."""
        if len(nonce) != NONCE_BYTES:
            raise CallerError(f"a nonce has {NONCE_BYTES} random bytes, got {len(nonce)}")
        digest = f"sha-256=:{_base64(hashlib.sha256(message.body).digest())}:"
        parameters = (
            f'({" ".join(map(_quoted, COVERED))});created={now_s};keyid={_quoted(self.name)};alg="ed25519"'
            f';expires={now_s + LIFETIME_S};nonce="{nonce.hex()}";tag={_quoted(self.origin)}'
        )
        values = (message.method, message.uri, digest)
        lines = [f"{_quoted(name)}: {value}" for name, value in zip(COVERED, values, strict=True)]
        signed = "\n".join([*lines, f'"@signature-params": {parameters}'])
        return {
            "Content-Digest": digest,
            "Signature-Input": f"{LABEL}={parameters}",
            "Signature": f"{LABEL}=:{_base64(self.key.sign(signed.encode('ascii')))}:",
        }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _quoted(text: str) -> str:
    """A string of RFC 9651."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
