"""Signed notes: text, a blank line, signature lines. Source: c2sp.org/signed-note v1.0.0.

A note is ``Malformed`` or it is exactly what ``Note.to_bytes`` writes; its text means nothing until a
signature of a known key over it has been verified.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, replace

from policy.eddsa import is_signature
from policy.errors import CallerError, InvalidSignatureError, MalformedError

SIGNATURES_MAX = 64
NAME_CHARACTERS_MAX = 255
PAYLOAD_BYTES_MAX = 8192  # the longest assigned type (ML-DSA-44) has less than 3 kB
KEY_ID_BYTES = 4
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64
TYPE_ED25519 = 0x01
TYPE_COSIGNATURE = 0x04

# A fixed list: str.isspace() follows the Unicode version of the interpreter, and nodes must agree.
_SPACES = "\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_NAME = re.compile(rf"[^\x00-\x20\x7f+\ud800-\udfff{_SPACES}]{{1,{NAME_CHARACTERS_MAX}}}")
_CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f]")
_LINE = re.compile("— ([^ ]+) ([A-Za-z0-9+/]+=*)")


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: ``payload`` is what follows the key id, of any known or unknown type."""

    name: str
    key_id: bytes
    payload: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.key_id) != KEY_ID_BYTES:
            raise CallerError(f"a key id has {KEY_ID_BYTES} bytes, got {len(self.key_id)}")
        if not 1 <= len(self.payload) <= PAYLOAD_BYTES_MAX:
            raise CallerError(f"a signature has 1 to {PAYLOAD_BYTES_MAX} bytes, got {len(self.payload)}")


@dataclass(frozen=True, slots=True)
class Note:
    """Text and the signatures collected for it so far, at most one of each (name, key id)."""

    body: bytes
    signatures: tuple[NoteSignature, ...] = ()

    def __post_init__(self) -> None:
        problem = _body_problem(self.body) or _signatures_problem(self.signatures)
        if problem:
            raise CallerError(problem)

    def with_signatures(self, *added: NoteSignature) -> "Note":
        """The note with ``added`` in place of earlier signatures by the same keys."""
        new = {(line.name, line.key_id): line for line in (*self.signatures, *added)}
        return replace(self, signatures=tuple(new.values()))

    def to_bytes(self) -> bytes:
        """The note as published. Raises ``CallerError`` when nobody has signed it yet."""
        if not self.signatures:
            raise CallerError("a note needs at least one signature before it is published")
        return self.body + b"\n" + b"".join(_line(signature) for signature in self.signatures)


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with the name and the signature type that it is trusted for."""

    name: str
    key_type: int
    public_key: bytes


def parse_note(data: bytes, bytes_max: int) -> Note:
    """Read a signed note of at most ``bytes_max`` bytes and 64 signatures; verifies none of them.

    Raises ``MalformedError`` for anything that ``Note.to_bytes`` would not have written.
    """
    if len(data) > bytes_max:
        raise MalformedError(f"note has {len(data)} bytes, at most {bytes_max} are accepted")
    text, separator, lines = data.rpartition(b"\n\n")
    if not separator or not lines.endswith(b"\n"):
        raise MalformedError("note has no blank line followed by signature lines")
    count = lines.count(b"\n")
    if count > SIGNATURES_MAX:
        raise MalformedError(f"note has {count} signatures, at most {SIGNATURES_MAX} are accepted")
    try:
        note = Note(text + b"\n", tuple(_parse_line(line) for line in lines[:-1].decode().split("\n")))
    except (CallerError, UnicodeDecodeError) as error:
        raise MalformedError(f"note: {error}") from error
    if note.to_bytes() != data:
        raise MalformedError("note is not in its canonical encoding")
    return note


def key_id(name: str, key_type: int, *, public_key: bytes) -> bytes:
    """The four bytes that, with the name, say which key made a signature line."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([key_type]) + public_key).digest()[:KEY_ID_BYTES]


def encode_vkey(name: str, key_type: int, *, public_key: bytes) -> str:
    """The verifier key as text, ``name+id+base64(type || key)``."""
    check_name(name)
    check_public_key(public_key)
    material = base64.b64encode(bytes([key_type]) + public_key).decode()
    return f"{name}+{key_id(name, key_type, public_key=public_key).hex()}+{material}"


def parse_vkey(text: str) -> VerifierKey:
    """Read a verifier key of one of the two Ed25519 types and check that its id fits.

    Raises ``MalformedError`` otherwise, also for keys of types that this project does not use.
    """
    name, _, rest = text.partition("+")
    material = decode_base64(rest.partition("+")[2], "verifier key")
    if len(material) != 1 + PUBLIC_KEY_BYTES or material[0] not in (TYPE_ED25519, TYPE_COSIGNATURE):
        raise MalformedError("verifier key is not an Ed25519 key of type 1 (log) or 4 (cosigner)")
    key = VerifierKey(name, material[0], material[1:])
    if not _NAME.fullmatch(name) or encode_vkey(key.name, key.key_type, public_key=key.public_key) != text:
        raise MalformedError("verifier key has a wrong name or an id that does not fit its key")
    return key


def verify_ed25519(public_key: bytes, signature: bytes, *, message: bytes, author: str) -> None:
    """Raise ``InvalidSignatureError`` naming ``author`` unless the Ed25519 signature verifies."""
    check_public_key(public_key)
    if not is_signature(signature, message, key=public_key):
        raise InvalidSignatureError(f"the signature of {author} does not verify")


def check_name(name: str) -> None:
    """Raise ``CallerError`` unless a key or an origin may be called ``name``."""
    if not _NAME.fullmatch(name):
        raise CallerError(
            f"name {name[:64]!r} must have 1 to {NAME_CHARACTERS_MAX} characters and no space, '+' or control"
        )


def check_public_key(public_key: bytes) -> None:
    """Raise ``CallerError`` unless an Ed25519 public key has its 32 bytes."""
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise CallerError(f"an Ed25519 public key has {PUBLIC_KEY_BYTES} bytes, got {len(public_key)}")


def decode_base64(text: str, what: str) -> bytes:
    """Decode standard base64 that is exactly what encoding the result gives."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError(f"{what} is not standard base64") from error
    if base64.b64encode(value).decode() != text:
        raise MalformedError(f"{what} is not canonical base64")
    return value


def _body_problem(body: bytes) -> str | None:
    if not body.endswith(b"\n"):
        return "the text of a note ends with a newline"
    if _CONTROL.search(body):
        return "the text of a note has no control character but newlines"
    try:
        body.decode()
    except UnicodeDecodeError:
        return "the text of a note is UTF-8"
    return None


def _signatures_problem(signatures: tuple[NoteSignature, ...]) -> str | None:
    if len(signatures) > SIGNATURES_MAX:
        return f"a note has at most {SIGNATURES_MAX} signatures, got {len(signatures)}"
    if len({(line.name, line.key_id) for line in signatures}) != len(signatures):
        return "a note has at most one signature of each key"
    return None


def _line(signature: NoteSignature) -> bytes:
    payload = base64.b64encode(signature.key_id + signature.payload).decode()
    return f"— {signature.name} {payload}\n".encode()


def _parse_line(line: str) -> NoteSignature:
    match = _LINE.fullmatch(line)
    if match is None:
        raise MalformedError("note has a signature line that is not '— name base64'")
    value = decode_base64(match[2], "signature")
    return NoteSignature(match[1], value[:KEY_ID_BYTES], value[KEY_ID_BYTES:])
