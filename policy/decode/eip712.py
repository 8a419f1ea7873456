"""Typed data by EIP-712: a JSON document to its fields, its domain separator and the digest that is signed.

The document has ``types``, ``primaryType``, ``domain`` and ``message``, in canonical JSON. It is read
strictly: every type is needed, every value is there once and of its type, nothing is left over. Integers are
decimal strings, bytes and addresses ``0x`` and lower-case hex digits, arrays lists, structs objects; ``uint``
and ``int`` without their bits are no types. ``types`` holds ``EIP712Domain`` too: those of name, version,
chainId, verifyingContract and salt that ``domain`` has, in this order. What is read are values as
``abi_values`` has them, a struct as a dict.

So what is judged is all that the digest covers. Source: EIP-712.
"""

import re
from dataclasses import dataclass
from typing import TypeAlias

from policy.decode import abi_values
from policy.decode.abi_values import (
    ARRAY_DEPTH_MAX,
    IDENTIFIER,
    WORD_BYTES,
    Array,
    Elementary,
    in_range,
    parse_type,
    split_array,
)
from policy.encoding import Json, parse_canonical
from policy.errors import MalformedError
from policy.fields import Fields
from policy.keccak import keccak256

Value: TypeAlias = "abi_values.Value | tuple[Value, ...] | dict[str, Value]"
DOCUMENT_BYTES_MAX = 16 * 1024
TYPES_MAX = 32
MEMBERS_MAX = 64
ITEMS_MAX = 256
DOMAIN_TYPE = "EIP712Domain"
DOMAIN_MEMBERS = {
    "name": "string",
    "version": "string",
    "chainId": "uint256",
    "verifyingContract": "address",
    "salt": "bytes32",
}
_PREFIX = b"\x19\x01"
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,77}")
_HEX = re.compile(r"0x(?:[0-9a-f]{2})*")
_RESERVED = re.compile(r"(?:u?int|u?fixed|bytes?|address|bool|string|function|tuple|mapping)[0-9x]*")


@dataclass(frozen=True, slots=True)
class Member:
    """A field of a struct; ``type`` is elementary, a struct's name, or an array of either."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class TypedData:
    """What is signed: a struct of ``primary_type`` for a domain, as values that are typed and as hashes.

    ``encoded_type`` is the primary type in full; its hash and the values are all of ``struct_hash``.
    """

    primary_type: str
    encoded_type: str
    domain: dict[str, Value]
    message: dict[str, Value]
    domain_separator: bytes
    struct_hash: bytes

    @property
    def digest(self) -> bytes:
        """The 32 bytes to sign."""
        return keccak256(_PREFIX + self.domain_separator + self.struct_hash)


def parse_typed_data(data: bytes) -> TypedData:
    """Read a received document strictly. Raises ``MalformedError``; proves nothing about who wrote it."""
    fields = Fields(parse_canonical(data, bytes_max=DOCUMENT_BYTES_MAX), "typed data")
    types = read_types(fields)
    primary = read_primary_type(types, fields.raw("primaryType"))
    structs = Structs(types)
    domain, domain_separator = structs.read(DOMAIN_TYPE, fields.raw("domain"), where="domain")
    message, struct_hash = structs.read(primary, fields.raw("message"), where="message")
    fields.done()
    return TypedData(primary, structs.encoded_type(primary), domain, message, domain_separator, struct_hash)


def domain_of(typed: TypedData) -> tuple[int, str]:
    """The chain id and the verifying contract of a domain. Raises ``MalformedError`` when it names none.

    What is good on every chain, or for whoever verifies it, is not signed.
    """
    chain_id, contract = typed.domain.get("chainId"), typed.domain.get("verifyingContract")
    if not isinstance(chain_id, int) or not isinstance(contract, str):
        raise MalformedError("typed data: the domain must name its chainId and its verifyingContract")
    return chain_id, contract


# --- types ------------------------------------------------------------------------------------------


def read_types(fields: Fields) -> dict[str, tuple[Member, ...]]:
    """Every struct by name; the type of each member exists."""
    listed = fields.mapping("types", count_max=TYPES_MAX, keys=IDENTIFIER)
    types = {name: _members(name, value) for name, value in listed.items()}
    domain = types.get(DOMAIN_TYPE, ())
    known = tuple(Member(name, kind) for name, kind in DOMAIN_MEMBERS.items())
    if not domain or domain != tuple(one for one in known if one in domain):
        wanted = ", ".join(f"{one.type} {one.name}" for one in known)
        raise MalformedError(f"typed data: types: {DOMAIN_TYPE} must have some of {wanted}, in this order")
    for name, members in types.items():
        for one in members:
            _check_type(one.type, types, f"typed data: types: {name}.{one.name}")
    return types


def read_primary_type(types: dict[str, tuple[Member, ...]], primary: Json) -> str:
    """The name of the struct that is signed, which needs each of the other types."""
    if not isinstance(primary, str) or primary not in types or primary == DOMAIN_TYPE:
        raise MalformedError(f"typed data: primaryType must be one of its types and not {DOMAIN_TYPE}")
    if unused := sorted(set(types) - {DOMAIN_TYPE, *Structs(types).needed(primary)}):
        raise MalformedError(f"typed data: {primary} does not need the type {unused[0]!r}")
    return primary


def _check_type(kind: str, types: dict[str, tuple[Member, ...]], where: str) -> None:
    depth, core = kind.count("["), core_type(kind)
    if depth > ARRAY_DEPTH_MAX:
        raise MalformedError(f"{where}: arrays are nested {depth} deep, at most {ARRAY_DEPTH_MAX}")
    if core == DOMAIN_TYPE:
        raise MalformedError(f"{where}: {DOMAIN_TYPE} is for the domain alone")
    if core not in types:
        try:
            parse_type(core)
        except MalformedError as error:
            raise MalformedError(f"{where}: {error}") from error


def _members(name: str, value: Json) -> tuple[Member, ...]:
    if _RESERVED.fullmatch(name):
        raise MalformedError(f"typed data: types: a struct cannot be called {name!r}")
    members = Fields({name: value}, "typed data: types").objects(name, _member, count_max=MEMBERS_MAX)
    names = [one.name for one in members]
    if not members or len(set(names)) < len(names):
        raise MalformedError(f"typed data: types: {name} needs members, each of another name")
    return members


def _member(fields: Fields) -> Member:
    name, kind = fields.raw("name"), fields.raw("type")
    if not isinstance(name, str) or not IDENTIFIER.fullmatch(name) or not isinstance(kind, str):
        raise MalformedError(f"{fields.path('name')} and type must be an identifier and a type")
    return Member(name, kind)


def core_type(kind: str) -> str:
    """The type of the items of an array of any depth; any other type itself."""
    while (array := split_array(kind)) is not None:
        kind = array[0]
    return kind


def _elementary(kind: str) -> Elementary:
    found = parse_type(kind)
    if isinstance(found, Array):
        raise MalformedError(f"{kind[:64]!r} is an array")
    return found


# --- values -----------------------------------------------------------------------------------------


class Structs:
    """Reads and hashes values of a document's types; each type's hash is worked out once."""

    def __init__(self, types: dict[str, tuple[Member, ...]]) -> None:
        self._types = types
        self._hashes: dict[str, bytes] = {}

    def needed(self, name: str) -> set[str]:
        """The struct and those that it is made of."""
        found, open_names = {name}, [name]
        while open_names:
            for member in self._types[open_names.pop()]:
                core = core_type(member.type)
                if core in self._types and core not in found:
                    found.add(core)
                    open_names.append(core)
        return found

    def encoded_type(self, name: str) -> str:
        """The struct's definition, then those of the structs it needs, by name."""
        names = [name, *sorted(self.needed(name) - {name})]
        return "".join(
            f"{one}({','.join(f'{member.type} {member.name}' for member in self._types[one])})"
            for one in names
        )

    def read(self, name: str, value: Json, *, where: str) -> tuple[dict[str, Value], bytes]:
        """A struct's values, and its hash."""
        if name not in self._hashes:
            self._hashes[name] = keccak256(self.encoded_type(name).encode())
        fields, found, words = Fields(value, where), {}, [self._hashes[name]]
        for member in self._types[name]:
            item = fields.raw(member.name)
            found[member.name], word = self._item(member.type, item, where=f"{where}.{member.name}")
            words.append(word)
        fields.done()
        return found, keccak256(b"".join(words))

    def _item(self, kind: str, value: Json, *, where: str) -> tuple[Value, bytes]:
        """A member's value, and the 32 bytes that stand for it."""
        if kind in self._types:
            return self.read(kind, value, where=where)
        array = split_array(kind)
        if array is None:
            return _word(_elementary(kind), value, where)
        item, length = array
        if not isinstance(value, list) or len(value) > ITEMS_MAX or length not in (None, len(value)):
            raise MalformedError(f"{where}: expected a list of {length or f'at most {ITEMS_MAX}'} items")
        pairs = [self._item(item, one, where=f"{where}[{index}]") for index, one in enumerate(value)]
        return tuple(one for one, _ in pairs), keccak256(b"".join(word for _, word in pairs))


def _word(kind: Elementary, value: Json, where: str) -> tuple[Value, bytes]:
    """An elementary value, and the 32 bytes that stand for it."""
    match kind.kind:
        case "string":
            if not isinstance(value, str):
                raise MalformedError(f"{where}: expected a string")
            return value, keccak256(value.encode())
        case "bool":
            if not isinstance(value, bool):
                raise MalformedError(f"{where}: expected true or false")
            return value, int(value).to_bytes(WORD_BYTES, "big")
        case "address":
            data = _bytes(kind, value, where)
            return "0x" + data.hex(), bytes(WORD_BYTES - kind.size) + data
        case "bytes":
            data = _bytes(kind, value, where)
            return data.hex(), data.ljust(WORD_BYTES, b"\0") if kind.size else keccak256(data)
        case _:
            number = _integer(kind, value, where)
            return number, number.to_bytes(WORD_BYTES, "big", signed=number < 0)


def _bytes(kind: Elementary, value: Json, where: str) -> bytes:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise MalformedError(f"{where}: expected 0x and lower-case hex digits, two a byte")
    if kind.size and len(value) != 2 + 2 * kind.size:
        raise MalformedError(f"{where}: expected {kind.size} bytes, got {len(value) // 2 - 1}")
    return bytes.fromhex(value[2:])


def _integer(kind: Elementary, value: Json, where: str) -> int:
    if not isinstance(value, str) or not _INTEGER.fullmatch(value):
        raise MalformedError(f"{where}: expected a decimal string of at most 78 digits")
    if not in_range(kind, int(value)):
        raise MalformedError(f"{where}: {value} is no {kind}")
    return int(value)
