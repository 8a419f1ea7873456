"""Typed data is read strictly, to the values another library hashes and to the same digest."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.decode.abi_values import Elementary, parse_type, split_array
from policy.decode.eip712 import DOCUMENT_BYTES_MAX, DOMAIN_MEMBERS, Value, parse_typed_data
from policy.encoding import canonical
from policy.errors import MalformedError
from policy.keccak import keccak256
from tests.unit.test_decode_abi import ELEMENTARY, values

VECTOR = json.loads((Path(__file__).parents[1] / "vectors" / "eip712.json").read_text())
MAIL = VECTOR["document"]
Types = dict[str, list[tuple[str, str]]]
STRUCTS = ("Order", "Leg", "Party", "Asset")


def document(types: Types, primary: str, domain: dict[str, Any], message: dict[str, Any]) -> bytes:
    listed: dict[str, Any] = {
        name: [{"name": member, "type": kind} for member, kind in members] for name, members in types.items()
    }
    return canonical({"types": listed, "primaryType": primary, "domain": domain, "message": message})


def as_json(types: Types, kind: str, value: Any) -> Any:
    """A value as it stands in a document."""
    return converted(types, kind, value, lambda core, one: one if core == "string" else as_text(core, one))


def as_text(core: str, value: Any) -> Any:
    if core.startswith("bytes"):
        return "0x" + value
    return value if isinstance(value, bool | str) else str(value)


def as_theirs(types: Types, kind: str, value: Any) -> Any:
    """A value as the other library takes it: with bytes."""
    return converted(
        types, kind, value, lambda core, one: bytes.fromhex(one) if core.startswith("bytes") else one
    )


def converted(types: Types, kind: str, value: Any, change: Callable[[str, Any], Any]) -> Any:
    if kind in types:
        return {name: converted(types, inner, value[name], change) for name, inner in types[kind]}
    array = split_array(kind)
    return (
        change(kind, value) if array is None else [converted(types, array[0], one, change) for one in value]
    )


@st.composite
def typed(draw: st.DrawFn) -> tuple[Types, dict[str, Value], dict[str, Value]]:
    """Types of which the first is the primary one, a domain and a message."""
    types: Types = {}
    needed = {STRUCTS[0]}
    for place, name in enumerate(STRUCTS):
        if name not in needed:
            continue
        inner = st.sampled_from(STRUCTS[place + 1 :]) if STRUCTS[place + 1 :] else st.nothing()
        cores = draw(st.lists(ELEMENTARY.map(str) | inner, min_size=1, max_size=4))
        needed.update(core for core in cores if core in STRUCTS)
        ends = [draw(st.sampled_from(["", "", "[]", "[2]", "[][1]"])) for _ in cores]
        types[name] = [(f"m{at}", core + end) for at, (core, end) in enumerate(zip(cores, ends, strict=True))]
    names = draw(st.sets(st.sampled_from(tuple(DOMAIN_MEMBERS)), min_size=1))
    types["EIP712Domain"] = [item for item in DOMAIN_MEMBERS.items() if item[0] in names]
    return types, draw(struct(types, "EIP712Domain")), draw(struct(types, STRUCTS[0]))


def struct(types: Types, name: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({member: value_of(types, kind) for member, kind in types[name]})


def value_of(types: Types, kind: str) -> st.SearchStrategy[Any]:
    array = split_array(kind)
    if array is not None:
        low, high = (0, 2) if array[1] is None else (array[1], array[1])
        return st.lists(value_of(types, array[0]), min_size=low, max_size=high).map(tuple)
    if kind in types:
        return struct(types, kind)
    found = parse_type(kind)
    assert isinstance(found, Elementary)
    return values(found)


def test_the_standards_own_example() -> None:
    found = parse_typed_data(canonical(MAIL))

    assert found.encoded_type == VECTOR["encoded_type"]
    assert found.domain_separator.hex() == VECTOR["domain_separator"]
    assert found.struct_hash.hex() == VECTOR["struct_hash"]
    assert found.digest.hex() == VECTOR["digest"]
    assert found.domain["chainId"] == 1
    assert found.message["to"] == MAIL["message"]["to"]


@settings(max_examples=80, deadline=None)
@given(typed())
def test_every_document_has_the_digest_of_another_library(
    made: tuple[Types, dict[str, Value], dict[str, Value]],
) -> None:
    types, domain, message = made
    found = parse_typed_data(
        document(
            types,
            STRUCTS[0],
            as_json(types, "EIP712Domain", domain),
            as_json(types, STRUCTS[0], message),
        )
    )
    theirs = encode_typed_data(
        as_theirs(types, "EIP712Domain", domain),
        {
            name: [{"name": member, "type": kind} for member, kind in members]
            for name, members in types.items()
            if name != "EIP712Domain"
        },
        as_theirs(types, STRUCTS[0], message),
    )

    assert (found.domain, found.message) == (domain, message)
    assert (found.domain_separator, found.struct_hash) == (theirs.header, theirs.body)
    assert found.digest == keccak256(b"\x19" + theirs.version + theirs.header + theirs.body)


def test_a_struct_may_hold_a_list_of_its_own_kind() -> None:
    types: Types = {"EIP712Domain": [("name", "string")], "Node": [("name", "string"), ("nodes", "Node[]")]}
    leaf: dict[str, Any] = {"name": "leaf", "nodes": []}
    tree: dict[str, Any] = {"name": "root", "nodes": [leaf, leaf]}
    found = parse_typed_data(document(types, "Node", {"name": "trees"}, tree))
    kind, empty = keccak256(b"Node(string name,Node[] nodes)"), keccak256(b"")
    hashed = keccak256(kind + keccak256(b"leaf") + empty)

    assert found.struct_hash == keccak256(kind + keccak256(b"root") + keccak256(hashed + hashed))


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    made = copy.deepcopy(MAIL)
    change(made)
    return canonical(made)


def member(kind: str, value: Any) -> bytes:
    """The example with one more member of the message."""

    def change(made: dict[str, Any]) -> None:
        made["types"]["Mail"].append({"name": "more", "type": kind})
        made["message"]["more"] = value

    return changed(change)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{}", "primaryType|types"),
        (json.dumps(MAIL).encode(), "canonical"),
        (b" " * (DOCUMENT_BYTES_MAX + 1), "at most"),
        (changed(lambda made: made.update(primaryType="Post")), "primaryType"),
        (changed(lambda made: made.update(primaryType="EIP712Domain")), "primaryType"),
        (changed(lambda made: made.update(primaryType="Person")), "does not need the type 'Mail'"),
        (changed(lambda made: made.update(extra="x")), "unknown field 'extra'"),
        (changed(lambda made: made["message"].update(extra="x")), "message: unknown field 'extra'"),
        (changed(lambda made: made["message"].pop("to")), "message: field 'to' is missing"),
        (changed(lambda made: made["message"]["to"].pop("name")), "message.to: field 'name' is missing"),
        (changed(lambda made: made["domain"].pop("chainId")), "domain: field 'chainId' is missing"),
        (changed(lambda made: made["domain"].update(salt="0x" + "00" * 32)), "domain: unknown field 'salt'"),
        (changed(lambda made: made["domain"].update(chainId=1)), "domain.chainId: expected a decimal"),
        (changed(lambda made: made["types"].pop("EIP712Domain")), "EIP712Domain must have"),
        (changed(lambda made: made["types"]["EIP712Domain"].reverse()), "in this order"),
        (changed(lambda made: made["types"]["EIP712Domain"][2].update(type="uint64")), "in this order"),
        (changed(lambda made: made["types"].pop("Person")), "no type that is decoded"),
        (changed(lambda made: made["types"].update(Stray=[{"name": "a", "type": "bool"}])), "'Stray'"),
        (changed(lambda made: made["types"].update(Stray=[])), "Stray needs members"),
        (changed(lambda made: made["types"].update(uint=[{"name": "a", "type": "bool"}])), "called 'uint'"),
        (
            changed(lambda made: made["types"]["Person"].append({"name": "name", "type": "bool"})),
            "another name",
        ),
        (changed(lambda made: made["types"]["Person"][0].update(name="a b")), "identifier"),
        (changed(lambda made: made["types"]["Person"][0].update(name="")), "identifier"),
        (changed(lambda made: made["types"]["Person"][0].update(more="x")), "unknown field 'more'"),
        (member("uint", "1"), "Mail.more: 'uint' is no type that is decoded, write uint256"),
        (member("EIP712Domain", MAIL["domain"]), "for the domain alone"),
        (member("Person[][][][]", []), "nested 4 deep"),
        (member("Person [2]", []), "'Person ' is no type"),
        (member("Person[2]", [MAIL["message"]["to"]]), "a list of 2 items"),
        (member("Person[]", MAIL["message"]["to"]), "a list of at most"),
        (member("uint256[]", ["1"] * 257), "a list of at most"),
        (member("uint8", "256"), "256 is no uint8"),
        (member("uint8", "-1"), "-1 is no uint8"),
        (member("int8", "128"), "128 is no int8"),
        (member("int8", "-129"), "-129 is no int8"),
        (member("uint256", str(2**256)), "is no uint256"),
        (member("uint256", "9" * 79), "at most 78 digits"),
        (member("uint256", "01"), "decimal string"),
        (member("uint256", "-0"), "decimal string"),
        (member("uint256", "0x1"), "decimal string"),
        (member("uint256", 1), "decimal string"),
        (member("uint256", "\u0661"), "decimal string"),
        (member("bool", "true"), "true or false"),
        (member("bool", 1), "true or false"),
        (member("string", 1), "a string"),
        (member("bytes", "ff"), "0x and lower-case"),
        (member("bytes", "0xf"), "0x and lower-case"),
        (member("bytes", "0xFF"), "0x and lower-case"),
        (member("bytes4", "0xffffff"), "expected 4 bytes, got 3"),
        (member("address", "0x" + "11" * 21), "expected 20 bytes, got 21"),
        (member("address", "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826"), "0x and lower-case"),
        (member("Person", "Bob"), "message.more: expected an object"),
    ],
)
def test_what_is_not_exactly_typed_data_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        parse_typed_data(data)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_part_of_a_document_is_without_meaning(draw: st.DataObject) -> None:
    """Another document that is accepted has another digest."""
    data = bytearray(canonical(MAIL))
    data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(32, 126))
    try:
        found = parse_typed_data(bytes(data))
    except MalformedError:
        return

    assert (found.digest.hex() == VECTOR["digest"]) == (bytes(data) == canonical(MAIL))
