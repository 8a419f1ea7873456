"""Templates of PKCS#11 attributes, checked before the library sees them.

An attribute that python-pkcs11 cannot pack corrupts the heap, so every template passes
``check_template`` with the very mapper that the session uses.
"""

import struct
from collections.abc import Iterable
from typing import Any, TypeAlias

from pkcs11 import Attribute
from pkcs11.attributes import AttributeMapper

from policy.errors import CallerError

Template: TypeAlias = dict[Attribute, Any]


def attribute_mapper() -> AttributeMapper:
    """The library's mapper and a handler for ALLOWED_MECHANISMS, which it lacks."""
    mapper = AttributeMapper()
    mapper.register_handler(Attribute.ALLOWED_MECHANISMS, _pack_mechanisms, _unpack_mechanisms)
    return mapper


def check_template(mapper: AttributeMapper, template: Template) -> None:
    """Refuse a template unless each value packs and unpacks to itself.

    Raises ``CallerError`` naming the attribute, never its value.
    """
    for attribute, value in template.items():
        try:
            packed = mapper.pack_attribute(attribute, value)
            same = isinstance(packed, bytes) and mapper.unpack_attributes(attribute, packed) == value
        except Exception as error:  # a handler is third-party code: whatever it raises is a refusal
            raise CallerError(f"attribute {attribute!r} cannot be packed: {type(error).__name__}") from error
        if not same:
            raise CallerError(f"attribute {attribute!r} does not survive packing: wrong type of value")


def _pack_mechanisms(mechanisms: Iterable[int]) -> bytes:
    values = [int(mechanism) for mechanism in mechanisms]
    return struct.pack(f"{len(values)}L", *values)


def _unpack_mechanisms(packed: bytes) -> tuple[int, ...]:
    return struct.unpack(f"{len(packed) // struct.calcsize('L')}L", packed)
