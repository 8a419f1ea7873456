"""What entries have in common: the list of signatures, the body they are over, ids."""

from collections.abc import Mapping
from typing import TypeAlias

from policy.encoding import Json
from policy.errors import MalformedError
from policy.fields import Fields
from policy.ids import ID_BYTES

SIGNATURES_MAX = 64
Signatures: TypeAlias = Mapping[str, bytes]


def read_signatures(fields: Fields) -> dict[str, bytes]:
    """The signatures of an entry by name. Raises ``MalformedError``, also when one name signs twice."""
    pairs = fields.objects(
        "signatures", lambda f: (f.name("name"), f.hex("signature", length=64)), count_max=SIGNATURES_MAX
    )
    signatures = dict(pairs)
    if len(signatures) != len(pairs):
        raise MalformedError("entry: one name signs twice")
    return signatures


def raw_body(fields: Fields) -> tuple[Json, Fields]:
    """The body as it is signed, and to be read."""
    body = fields.raw("body")
    return body, Fields(body, "body")


def read_id(value: Json) -> bytes:
    """An id in a list."""
    return Fields({"id": value}, "ids").hex("id", length=ID_BYTES)
