"""The one canonical encoding: RFC 8785 JSON, tagged hashes, signed statements.

Conventions of every signed or logged document: byte strings are lower-case hex without a prefix,
amounts are decimal strings in base units, small integers are JSON integers below 2**53, floats and
nulls do not occur. Bytes that do not re-encode to themselves are refused, so one document has one
encoding and one hash.
"""

import functools
import hashlib
import json
from collections.abc import Collection
from typing import NoReturn, TypeAlias, cast

import orjson
import rfc8785

from policy.errors import CallerError, MalformedError

Json: TypeAlias = str | int | bool | list["Json"] | dict[str, "Json"]

INTEGER_MAX = 2**53 - 1
DEPTH_MAX = 12


def canonical(value: Json) -> bytes:
    """Encode ``value`` by RFC 8785. Raises ``CallerError`` for floats, nulls or wide integers."""
    if _is_plain(value, 0):
        try:
            data = orjson.dumps(value, option=_SORTED)
        except TypeError:  # a wide integer or a lone surrogate, which are named below
            data = _NOT_ASCII
        if data.isascii():
            return data
    _check(value, 0)
    _check_texts(value)
    return rfc8785.dumps(cast("dict[str, int]", value))


def parse_canonical(data: bytes, *, bytes_max: int) -> Json:
    """Decode bytes that are exactly the canonical encoding of something.

    Raises ``MalformedError`` when they are longer than ``bytes_max``, not JSON, or encoded in any
    other way than ``canonical`` would encode them.
    """
    if len(data) > bytes_max:
        raise MalformedError(f"document has {len(data)} bytes, at most {bytes_max} are accepted")
    try:
        value = orjson.loads(data) if data.isascii() else _DECODER.decode(data.decode())
        same = canonical(value) == data
    except (ValueError, RecursionError, CallerError) as error:
        raise MalformedError(f"document is not canonical JSON: {error}") from error
    if same:
        return cast("Json", value)
    raise MalformedError("document is not in its canonical encoding (RFC 8785)")


def parse_ascii(data: bytes) -> Json:
    """What JSON of ASCII says, be it canonical or not; an empty text for anything else.

    For who reads it by a type that has neither floats nor nulls, and then asks ``encodes_plain``.
    """
    try:
        return cast("Json", orjson.loads(data)) if data.isascii() else ""
    except ValueError:
        return ""


def encodes_plain(data: bytes, value: Json) -> bool:
    """Whether ``data`` is the canonical encoding of a ``value`` without floats, nulls and wide integers."""
    return orjson.dumps(value, option=_SORTED) == data


def tagged_hash(tag: str, *fields: bytes) -> bytes:
    """SHA-256 of the domain ``tag`` and ``fields``, each prefixed by its length in 8 bytes."""
    parts = [_tag(tag)]
    for field in fields:
        parts += (len(field).to_bytes(8, "big"), field)
    return hashlib.sha256(b"".join(parts)).digest()


@functools.lru_cache(maxsize=256)
def _tag(tag: str) -> bytes:
    name = tag.encode()
    return len(name).to_bytes(8, "big") + name


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


def _integer(text: str) -> int:
    number = int(text)
    if abs(number) > INTEGER_MAX:
        raise ValueError("integers beyond 2**53 must be decimal strings")
    return number


def _is_plain(value: object, depth: int) -> bool:
    """Whether ``_check`` finds nothing but, maybe, wide integers and keys that are no strings."""
    if type(value) is dict:
        items: Collection[object] = value.values()
    elif type(value) is list:
        items = value
    else:
        return type(value) in _SCALARS
    for item in items:
        if type(item) is not str and type(item) not in _SCALARS and not _is_plain(item, depth + 1):
            return False
    return depth < DEPTH_MAX


def _check(value: object, depth: int) -> None:
    """Refuse what has no canonical encoding; ``_check_texts`` does so for characters."""
    if depth > DEPTH_MAX:
        raise CallerError(f"document is nested deeper than {DEPTH_MAX} levels")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise CallerError("object keys must be strings")
            if type(item) is not str or depth == DEPTH_MAX:
                _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            if type(item) is not str or depth == DEPTH_MAX:
                _check(item, depth + 1)
    elif isinstance(value, int):
        if not -INTEGER_MAX <= value <= INTEGER_MAX:
            raise CallerError("integers beyond 2**53 must be decimal strings")
    elif not isinstance(value, str):
        raise CallerError(f"a {type(value).__name__} has no canonical encoding")


def _check_texts(value: Json) -> None:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, list):
        for item in value:
            _check_texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check_texts(item)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CallerError("a string with a lone surrogate has no canonical encoding") from error


# For ASCII orjson writes exactly RFC 8785: it sorts names by code point, which then is by code unit, and
# escapes quotation mark, backslash and controls alike. Tests compare the two.
_NOT_ASCII = b"\xff"
_SCALARS = frozenset({str, int, bool})
_SORTED = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_DECODER = json.JSONDecoder(parse_float=_no_float, parse_int=_integer, parse_constant=_no_float)
