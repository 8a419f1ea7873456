"""The one canonical encoding: RFC 8785 JSON, tagged hashes, signed statements.

Conventions of every signed or logged document: byte strings are lower-case hex without a prefix,
amounts are decimal strings in base units, small integers are JSON integers below 2**53, floats and
nulls do not occur. Bytes that do not re-encode to themselves are refused, so one document has one
encoding and one hash.
"""

import hashlib
import json
from typing import NoReturn, TypeAlias, cast

import rfc8785

from policy.errors import CallerError, MalformedError

Json: TypeAlias = str | int | bool | list["Json"] | dict[str, "Json"]

INTEGER_MAX = 2**53 - 1
DEPTH_MAX = 12


def canonical(value: Json) -> bytes:
    """Encode ``value`` by RFC 8785. Raises ``CallerError`` for floats, nulls or wide integers."""
    _check(value, 0)
    return rfc8785.dumps(cast("dict[str, int]", value))


def parse_canonical(data: bytes, *, bytes_max: int) -> Json:
    """Decode bytes that are exactly the canonical encoding of something.

    Raises ``MalformedError`` when they are longer than ``bytes_max``, not JSON, or encoded in any
    other way than ``canonical`` would encode them.
    """
    if len(data) > bytes_max:
        raise MalformedError(f"document has {len(data)} bytes, at most {bytes_max} are accepted")
    try:
        value = json.loads(data, parse_float=_no_float, parse_constant=_no_float)
        if canonical(value) == data:
            return cast("Json", value)
    except (ValueError, RecursionError, CallerError) as error:
        raise MalformedError(f"document is not canonical JSON: {error}") from error
    raise MalformedError("document is not in its canonical encoding (RFC 8785)")


def tagged_hash(tag: str, *fields: bytes) -> bytes:
    """SHA-256 of the domain ``tag`` and ``fields``, each prefixed by its length in 8 bytes."""
    digest = hashlib.sha256()
    for field in (tag.encode(), *fields):
        digest.update(len(field).to_bytes(8, "big"))
        digest.update(field)
    return digest.digest()


def statement(tag: str, body: Json) -> bytes:
    """The bytes an identity key signs to state ``body`` under ``tag``.

    The first line keeps every statement apart from a C2SP cosignature message, whose first line is
    ``cosignature/v1``.
    """
    return b"quorumkeep/v1 " + tag.encode() + b"\n" + canonical(body)


def document_hash(tag: str, body: Json) -> bytes:
    """The tagged hash of a document's canonical encoding: its name everywhere."""
    return tagged_hash(tag, canonical(body))


def _no_float(text: str) -> NoReturn:
    raise ValueError(f"number {text[:40]!r} is not an integer")


def _check(value: object, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise CallerError(f"document is nested deeper than {DEPTH_MAX} levels")
    match value:
        case bool():
            pass
        case str():
            _check_text(value)
        case int():
            if abs(value) > INTEGER_MAX:
                raise CallerError("integers beyond 2**53 must be decimal strings")
        case list():
            for item in value:
                _check(item, depth + 1)
        case dict():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise CallerError("object keys must be strings")
                _check_text(key)
                _check(item, depth + 1)
        case _:
            raise CallerError(f"a {type(value).__name__} has no canonical encoding")


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CallerError("a string with a lone surrogate has no canonical encoding") from error
