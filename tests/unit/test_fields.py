"""Received objects are read strictly: every field typed and bounded, and none left over."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.encoding import Json
from policy.errors import MalformedError
from policy.fields import Fields
from policy.ids import AMOUNT_MAX, EVM_CHAIN_ID_MAX, evm_chain, evm_chain_id

ADDRESS = "0x" + "ab" * 20
Read = Callable[[Fields], object]


def refusal(value: Json, read: Read) -> str:
    with pytest.raises(MalformedError) as caught:
        read(Fields({"x": value}, "thing"))
    return str(caught.value)


@given(st.integers(0, AMOUNT_MAX))
def test_an_amount_of_any_size_is_read_exactly(amount: int) -> None:
    assert Fields({"x": str(amount)}, "thing").amount("x") == amount


def each(read: Read, *values: Json) -> list[tuple[Json, Read]]:
    return [(value, read) for value in values]


READERS = [
    *each(lambda f: f.amount("x"), "", "-1", "+1", "01", "1.0", "1e3", " 1", "1_0", "٣", 5, True),
    *each(lambda f: f.amount("x"), str(AMOUNT_MAX + 1), "9" * 79),
    *each(lambda f: f.amount("x", low=1), "0"),
    *each(lambda f: f.integer("x"), -1, 2**53, True, "1"),
    *each(lambda f: f.hex("x", length=2), "abc", "ABCD", "0xab", "ab", "abcdef", 1),
    *each(lambda f: f.hex("x", length_max=2), "abcdef"),
    *each(lambda f: f.name("x"), "", "-a", "A", "a b", "a" * 64, "a\n", 1),
    *each(lambda f: f.text("x", length_max=3), "", "abcd", "a\n", "\u202e", "\ud800", 1),
    *each(
        lambda f: f.address("x", chain="evm:1"), ADDRESS.upper(), ADDRESS[2:], ADDRESS + "0", ADDRESS + "\n"
    ),
    *each(lambda f: f.chain("x"), "evm:0", "evm:01", "evm:", "evm:1 ", "btc:1", "evm:" + "9" * 16),
    *each(lambda f: f.origin("x"), "", "a b", "a+b", "é", "a" * 129),
    *each(lambda f: f.names("x", count_max=2), ["a", "a"], ["a", "b", "c"], ["A"], [1], "ab"),
    *each(lambda f: f.names("x", count_max=2, count_min=1), []),
    *each(lambda f: f.addresses("x", count_max=2), [ADDRESS, ADDRESS]),
    *each(lambda f: f.choice("x", "a", "b"), "c"),
    *each(lambda f: f.boolean("x"), 1),
    *each(lambda f: f.mapping("x", count_max=1), {"A": 1}, {"a": 1, "b": 2}, []),
]


@pytest.mark.parametrize(("value", "read"), READERS)
def test_a_value_outside_its_bounds_is_refused_and_its_field_named(value: Json, read: Read) -> None:
    assert "x" in refusal(value, read)


def test_a_missing_field_is_refused() -> None:
    with pytest.raises(MalformedError, match=r"thing: field 'y' is missing"):
        Fields({"x": 1}, "thing").integer("y")


def test_a_field_nobody_reads_is_refused() -> None:
    fields = Fields({"x": 1, "y": 2}, "thing")
    fields.integer("x")

    with pytest.raises(MalformedError, match=r"thing: unknown field 'y'"):
        fields.done()


@pytest.mark.parametrize("value", [[], "x", 1, True])
def test_only_an_object_has_fields(value: Json) -> None:
    with pytest.raises(MalformedError, match="thing: expected an object"):
        Fields(value, "thing")


def test_a_nested_mistake_is_named_by_its_path() -> None:
    body: Json = {"list": [{"n": 1}, {"n": -1}], "table": {"b": {"n": "1"}}}

    with pytest.raises(MalformedError, match=r"^list\[1\]: field 'n'"):
        Fields(body, "").objects("list", lambda f: f.integer("n"), count_max=2)
    with pytest.raises(MalformedError, match=r"^table\.b: field 'n'"):
        Fields(body, "").table("table", lambda _, f: f.integer("n"), count_max=2)


def test_an_unknown_field_in_a_list_or_table_is_refused() -> None:
    body: Json = {"list": [{"n": 1, "m": 1}], "table": {"b": {"n": 1, "m": 1}}}

    with pytest.raises(MalformedError, match=r"^list\[0\]: unknown field 'm'"):
        Fields(body, "").objects("list", lambda f: f.integer("n"), count_max=2)
    with pytest.raises(MalformedError, match=r"^table\.b: unknown field 'm'"):
        Fields(body, "").table("table", lambda _, f: f.integer("n"), count_max=2)


def test_a_table_is_read_in_the_order_of_its_names() -> None:
    body: Json = {"table": {"b": {}, "a": {}}}

    assert list(Fields(body, "").table("table", lambda name, _: name, count_max=2)) == ["a", "b"]


@given(st.integers(1, EVM_CHAIN_ID_MAX))
def test_a_chain_and_its_id_are_one_to_one(chain_id: int) -> None:
    assert evm_chain_id(evm_chain(chain_id)) == chain_id


@pytest.mark.parametrize("chain_id", [0, -1, EVM_CHAIN_ID_MAX + 1])
def test_no_chain_has_an_id_outside_its_bounds(chain_id: int) -> None:
    with pytest.raises(ValueError, match="chain id"):
        evm_chain(chain_id)
    with pytest.raises(ValueError, match="not an EVM chain"):
        evm_chain_id(f"evm:{chain_id}")
