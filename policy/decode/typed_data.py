"""Typed data that a policy declares: for which domain and of which types, and which documents are of it.

A declaration pins all of a domain and every type, by the two texts that EIP-712 hashes for them: a document
with another contract, chain, version or field is another kind of typed data.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from policy.decode import abi_values
from policy.decode.abi_values import plainest, split_array
from policy.decode.eip712 import (
    DOMAIN_MEMBERS,
    DOMAIN_TYPE,
    Member,
    Structs,
    TypedData,
    core_type,
    read_primary_type,
    read_types,
)
from policy.encoding import Json, canonical
from policy.errors import MalformedError
from policy.fields import Fields
from policy.ids import EVM, evm_chain_id, family
from policy.intent import TYPED_DATA_BYTES_MAX

DOMAIN_TEXT_MAX = 128
SALT_BYTES = 32
VALUES_MAX, DEPTH_MAX = 512, 8


@dataclass(frozen=True, slots=True)
class Declaration:
    """One kind of typed data: of ``primary_type``, for the domain of ``contract`` on ``chain``.

    ``domain`` are the values of all its members. ``parameters`` are type and name of the message's fields but
    structs, in order: what conditions can be about.
    """

    name: str
    chain: str
    contract: str
    domain: Mapping[str, str]
    primary_type: str
    types: Mapping[str, tuple[Member, ...]]
    encoded_type: str
    domain_separator: bytes
    parameters: tuple[tuple[str, str], ...]

    def type_of(self, name: str) -> str | None:
        """The type of a field; None for a struct, and for one that the message has not."""
        return next((kind for kind, known in self.parameters if known == name), None)

    def is_of(self, typed: TypedData) -> bool:
        """Whether a document is of this kind, field by field."""
        found = typed.domain_separator, typed.encoded_type
        return found == (self.domain_separator, self.encoded_type)

    def arguments(self, typed: TypedData) -> dict[str, abi_values.Value]:
        """The message's fields that conditions can be about, by name."""
        return {name: _plain(typed.message[name]) for _, name in self.parameters}

    def example(self, arguments: Mapping[str, abi_values.Value]) -> bytes:
        """A document of this kind with these fields in its message, and structs with nothing in them."""
        message = {
            one.name: _as_json(one.type, arguments[one.name])
            if one.name in arguments
            else self._plainest(one.type)
            for one in self.types[self.primary_type]
        }
        return self.document(message)

    def _plainest(self, kind: str) -> Json:
        item = split_array(kind)
        if item is not None:
            return [self._plainest(item[0])] * (item[1] or 0)
        if kind in self.types:
            return {one.name: self._plainest(one.type) for one in self.types[kind]}
        return _as_json(kind, plainest(kind))

    def document(self, message: Json) -> bytes:
        """The canonical document of this kind with that message; nothing of it is checked here."""
        types: dict[str, Json] = {
            name: [{"name": one.name, "type": one.type} for one in members]
            for name, members in self.types.items()
        }
        domain: dict[str, Json] = {**self.domain}
        return canonical(
            {"types": types, "primaryType": self.primary_type, "domain": domain, "message": message}
        )


def read_declaration(name: str, fields: Fields) -> Declaration:
    """Read one entry of a policy's ``typed_data``. Raises ``MalformedError`` with its path."""
    chain, path = fields.chain("chain"), fields.path("types")
    if family(chain) != EVM:
        raise MalformedError(f"{fields.path('chain')}: typed data is for a contract of an EVM chain")
    contract = fields.address("contract", chain=chain)
    domain = _read_domain(fields.nested("domain"), chain, contract)
    listed = fields.raw("types")
    if not isinstance(listed, dict) or DOMAIN_TYPE in listed:
        raise MalformedError(f"{path}: must be an object without {DOMAIN_TYPE}, which 'domain' says")
    members: list[Json] = [{"name": n, "type": kind} for n, kind in DOMAIN_MEMBERS.items() if n in domain]
    try:
        types = read_types(Fields({"types": {**listed, DOMAIN_TYPE: members}}, "typed data"))
        primary = read_primary_type(types, fields.raw("primary_type"))
        structs = Structs(types)
        _check_finite(types, structs)
        _, separator = structs.read(DOMAIN_TYPE, {**domain}, where="domain")
    except MalformedError as error:
        raise MalformedError(f"{path}: {error}") from error
    plain = tuple((one.type, one.name) for one in types[primary] if core_type(one.type) not in types)
    declaration = Declaration(
        name, chain, contract, domain, primary, types, structs.encoded_type(primary), separator, plain
    )
    _check_size(declaration, path)
    return declaration


def _read_domain(fields: Fields, chain: str, contract: str) -> dict[str, str]:
    """The values of every member of the domain, as they stand in a document."""
    domain = {
        name: fields.text(name, length_max=DOMAIN_TEXT_MAX)
        for name in ("name", "version")
        if fields.has(name)
    }
    domain |= {"chainId": str(evm_chain_id(chain)), "verifyingContract": contract}
    if fields.has("salt"):
        domain["salt"] = f"0x{fields.hex('salt', length=SALT_BYTES).hex()}"
    fields.done()
    return domain


def _check_finite(types: Mapping[str, tuple[Member, ...]], structs: Structs) -> None:
    """Refuse structs that are made of themselves: nothing is signed of which no value is the plainest."""
    for name, members in types.items():
        cores = {core_type(member.type) for member in members} & set(types)
        if any(name in structs.needed(core) for core in cores):
            raise MalformedError(f"typed data: types: {name} is made of itself")


def _check_size(declaration: Declaration, path: str) -> None:
    """Refuse what has no document that is small enough to be signed."""
    values, depth = _smallest(declaration.types, declaration.primary_type, {})
    if values > VALUES_MAX or depth > DEPTH_MAX:
        raise MalformedError(
            f"{path}: need {values} values, {depth} deep, at most {VALUES_MAX} and {DEPTH_MAX}"
        )
    size = len(declaration.example({name: plainest(kind) for kind, name in declaration.parameters}))
    if size > TYPED_DATA_BYTES_MAX:
        raise MalformedError(f"{path}: the least document has {size} bytes, at most {TYPED_DATA_BYTES_MAX}")


def _smallest(
    types: Mapping[str, tuple[Member, ...]], kind: str, known: dict[str, tuple[int, int]]
) -> tuple[int, int]:
    """How many values the plainest of a type has, and how deep they are; each struct is counted once."""
    array = split_array(kind)
    if array is not None:
        values, depth = _smallest(types, array[0], known)
        return values * (array[1] or 0), depth + 1
    if kind not in types:
        return 1, 0
    if kind not in known:
        inner = [_smallest(types, member.type, known) for member in types[kind]]
        known[kind] = sum(values for values, _ in inner), 1 + max(depth for _, depth in inner)
    return known[kind]


def _as_json(kind: str, value: abi_values.Value) -> Json:
    """A value without structs as it stands in a document."""
    if isinstance(value, tuple):
        return [_as_json(core_type(kind), one) for one in value]
    if core_type(kind).startswith("bytes"):
        return f"0x{value}"
    return value if isinstance(value, bool | str) else str(value)


def _plain(value: object) -> abi_values.Value:
    """A value without structs, as ``parameters`` has them."""
    if isinstance(value, tuple):
        return tuple(_plain(one) for one in value)
    if isinstance(value, int | str):
        return value
    raise MalformedError("typed data: a struct is no value that conditions can be about")
