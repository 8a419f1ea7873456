"""Letters: what a ceremony carries between machines that share no network, one file or code each.

A letter is a header that its sender signs and a payload sealed to its recipient. Rules, each with its own
code of refusal: it is whole (``truncated``), as its sender signed it (``altered``), for this recipient,
boot, log and ceremony (``foreign``), the next of its sender (``replayed``, ``missing``), not older than it
says (``expired``) and not from the future (``clock``). A node's recipient key lives in the memory of one
boot, so what was sealed to it before a power-off opens nowhere any more. Format: docs/spec/cold.md.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from policy.encoding import Json, canonical, parse_canonical, statement
from policy.errors import InvalidSignatureError, MalformedError, ProtocolError
from policy.fields import Fields
from policy.log.note import verify_ed25519
from signer_nodes.api.hpke import (
    ENVELOPE_OVERHEAD_BYTES,
    KEY_BYTES,
    EnvelopeError,
    envelope_info,
    open_envelope,
    seal_envelope,
)

TAG: Final = "cold-letter"
MAGIC: Final = b"QKCOLD1\n"
LETTER_BYTES_MAX: Final = 16 * 1024 * 1024
PAYLOAD_BYTES_MAX: Final = 64 * 1024 * 1024
HEADER_BYTES_MAX: Final = 4096
LIFE_MS: Final = 60 * 60 * 1000
CLOCK_SKEW_MS_MAX: Final = 60 * 1000
SIGNATURE_BYTES: Final = 64
HELLO, CALL, REPLY, LETTER, PROTOCOL = b"H", b"C", b"R", b"L", b"P"
KINDS: Final = frozenset({HELLO, CALL, REPLY, LETTER, PROTOCOL})
Sign = Callable[[bytes], bytes]
Frame = tuple[bytes, bytes]
"""What is in it: a kind of one byte, and its bytes."""


class LetterRefused(ProtocolError):
    """A letter that is not acted on. ``code`` is its name for programs."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Header:
    """Who writes to whom. ``boot`` is the recipient's boot id, for the coordinator the ceremony's id again.

    ``number`` counts from 1 between these two; ``reply_key`` is where the sender takes answers.
    """

    origin: str
    ceremony: bytes
    sender: str
    recipient: str
    boot: bytes
    number: int
    made_ms: int
    expires_ms: int
    reply_key: bytes

    def body(self) -> dict[str, Json]:
        """All of it but what it is about."""
        return {
            "origin": self.origin,
            "ceremony": self.ceremony.hex(),
            "from": self.sender,
            "to": self.recipient,
            "boot": self.boot.hex(),
            "number": self.number,
            "made_ms": self.made_ms,
            "expires_ms": self.expires_ms,
            "reply_key": self.reply_key.hex(),
        }


@dataclass(frozen=True, slots=True)
class Opened:
    """A letter that was taken in: its header and frames."""

    header: Header
    frames: tuple[Frame, ...] = field(repr=False)

    def of(self, kind: bytes) -> list[bytes]:
        """The frames of one kind, in order."""
        return [data for found, data in self.frames if found == kind]


def write_letter(header: Header, frames: Sequence[Frame], *, key: bytes, sign: Sign) -> bytes:
    """Seal the frames to the recipient's 32-byte ``key`` and sign the whole by the sender's identity."""
    packed = b"".join(kind + len(data).to_bytes(4, "big") + data for kind, data in frames)
    sealed = seal_envelope(key, zlib.compress(packed, 9), info=envelope_info(TAG, header.body()))
    whole = _signed_body(header, sealed)
    head = canonical(whole)
    data = MAGIC + len(head).to_bytes(2, "big") + head + sign(statement(TAG, whole)) + sealed
    if len(data) > LETTER_BYTES_MAX:
        raise MalformedError(f"a letter of {len(data)} bytes, the limit is {LETTER_BYTES_MAX}: send less")
    return data


def read_header(data: bytes) -> Header:
    """The header of a letter, not verified: enough to bring it to its recipient. Raises ``LetterRefused``."""
    return _split(data)[0]


@dataclass(slots=True)
class Inbox:
    """One recipient's letters of one ceremony, which the first of ``coordinator`` names.

    It lives as long as the boot it is for; nothing of it is stored.
    """

    name: str
    origin: str
    boot: bytes
    private_key: X25519PrivateKey = field(repr=False)
    coordinator: str
    ceremony: bytes = b""
    taken: dict[str, int] = field(default_factory=dict)

    @property
    def public_key(self) -> bytes:
        """Where letters to this recipient are sealed."""
        return self.private_key.public_key().public_bytes_raw()

    def open(self, data: bytes, keys: Mapping[str, bytes], *, now_ms: int) -> Opened:
        """Take a letter in, once. ``keys`` are those of who may write. Raises ``LetterRefused``."""
        header, whole, signature, sealed = _split(data)
        self._check_for_us(header)
        if header.sender not in keys:
            raise LetterRefused("foreign", f"{header.sender} takes no part in this ceremony")
        try:
            verify_ed25519(
                keys[header.sender], signature, message=statement(TAG, whole), author=f"{header.sender!r}"
            )
        except InvalidSignatureError as error:
            raise LetterRefused("altered", f"{error}: have it written again") from error
        if whole != _signed_body(header, sealed):
            raise LetterRefused("altered", "its payload is not the one its sender signed: read it again")
        self._check_turn(header)
        _check_time(header, now_ms)
        try:
            packed = open_envelope(self.private_key, sealed, info=envelope_info(TAG, header.body()))
        except EnvelopeError as error:
            raise LetterRefused("foreign", f"{error}") from error
        opened = Opened(header, _frames(packed))
        self.ceremony = header.ceremony
        self.taken[header.sender] = header.number
        return opened

    def _check_for_us(self, header: Header) -> None:
        if header.origin != self.origin:
            raise LetterRefused("foreign", f"it is of {header.origin}, here is {self.origin}")
        if header.recipient != self.name:
            raise LetterRefused("foreign", f"it is for {header.recipient}, here is {self.name}")
        if header.boot != self.boot:
            raise LetterRefused("foreign", "it is for another start of this program: begin a new ceremony")
        if header.ceremony != self.ceremony and (self.ceremony or header.sender != self.coordinator):
            raise LetterRefused(
                "foreign", "it is of another ceremony: restart this program to take part in it"
            )

    def _check_turn(self, header: Header) -> None:
        wanted = self.taken.get(header.sender, 0) + 1
        if header.number < wanted:
            raise LetterRefused("replayed", f"letter {header.number} of {header.sender} was taken in before")
        if header.number > wanted:
            raise LetterRefused(
                "missing", f"letter {wanted} of {header.sender} comes before letter {header.number}"
            )


def _check_time(header: Header, now_ms: int) -> None:
    if header.expires_ms - header.made_ms > LIFE_MS:
        raise LetterRefused("expired", f"a letter is good for {LIFE_MS} ms at most, this one says more")
    if header.made_ms > now_ms + CLOCK_SKEW_MS_MAX:
        ahead = header.made_ms - now_ms
        raise LetterRefused("clock", f"it was written {ahead} ms from now by this clock: set the clock")
    if header.expires_ms <= now_ms:
        raise LetterRefused(
            "expired",
            f"it expired {now_ms - header.expires_ms} ms ago by this clock: look at it, export again",
        )


def _signed_body(header: Header, sealed: bytes) -> Json:
    return {**header.body(), "bytes": len(sealed), "sha256": sha256(sealed).hexdigest()}


def _split(data: bytes) -> tuple[Header, Json, bytes, bytes]:
    """Header, what was signed, the signature and the sealed bytes; nothing of it is verified."""
    if len(data) > LETTER_BYTES_MAX:
        raise LetterRefused("malformed", f"{len(data)} bytes are no letter: the limit is {LETTER_BYTES_MAX}")
    start = len(MAGIC) + 2
    if len(data) < start:
        raise LetterRefused("truncated", f"{len(data)} bytes are no whole letter: read it again")
    if not data.startswith(MAGIC):
        raise LetterRefused("malformed", "this is no letter of a ceremony: give the file of an export")
    length = int.from_bytes(data[len(MAGIC) : start], "big")
    if length > HEADER_BYTES_MAX:
        raise LetterRefused("malformed", f"a header of {length} bytes, the limit is {HEADER_BYTES_MAX}")
    head, rest = data[start : start + length], data[start + length :]
    if len(head) < length or len(rest) < SIGNATURE_BYTES + ENVELOPE_OVERHEAD_BYTES:
        raise LetterRefused("truncated", f"{len(data)} bytes are no whole letter: read it again")
    try:
        whole = parse_canonical(head, bytes_max=HEADER_BYTES_MAX)
        header, size = _read_header(whole)
    except MalformedError as error:
        raise LetterRefused("altered", f"its header cannot be read ({error}): read it again") from error
    sealed = rest[SIGNATURE_BYTES:]
    if len(sealed) < size:
        raise LetterRefused("truncated", f"{len(sealed)} bytes of {size} are there: read it again")
    return header, whole, rest[:SIGNATURE_BYTES], sealed


def _read_header(whole: Json) -> tuple[Header, int]:
    fields = Fields(whole, "letter")
    header = Header(
        origin=fields.origin("origin"),
        ceremony=fields.hex("ceremony", length=32),
        sender=fields.name("from"),
        recipient=fields.name("to"),
        boot=fields.hex("boot", length=32),
        number=fields.integer("number", low=1),
        made_ms=fields.integer("made_ms"),
        expires_ms=fields.integer("expires_ms"),
        reply_key=fields.hex("reply_key", length=KEY_BYTES),
    )
    size = fields.integer("bytes", high=LETTER_BYTES_MAX)
    fields.hex("sha256", length=32)
    fields.done()
    return header, size


def _frames(packed: bytes) -> tuple[Frame, ...]:
    reading = zlib.decompressobj()
    try:
        data = reading.decompress(packed, PAYLOAD_BYTES_MAX)
    except zlib.error as error:
        raise LetterRefused("malformed", "its payload does not unpack") from error
    if not reading.eof:
        raise LetterRefused("malformed", f"its payload has more than {PAYLOAD_BYTES_MAX} bytes")
    found: list[Frame] = []
    while data:
        kind, length = data[:1], int.from_bytes(data[1:5], "big")
        if kind not in KINDS or len(data) < 5 + length:
            raise LetterRefused("malformed", "its payload is not made of frames")
        found.append((kind, data[5 : 5 + length]))
        data = data[5 + length :]
    return tuple(found)
