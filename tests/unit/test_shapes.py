"""Entries read by their shape are what they are read to field by field, or are not read by it at all."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import pytest

from cli.policies.sample_log import sample_entries
from policy.encoding import Json, canonical, parse_canonical
from policy.entries import ENTRY_BYTES_MAX, TimedEntry, entry_of, parse_entry
from policy.errors import CallerError, MalformedError
from policy.ids import AMOUNT_MAX
from policy.shapes import SHAPES, read_entry, shaped
from tests.unit.stored_logs import LOGS

Reader = Callable[[Json], TimedEntry | None]
BEFORE, AFTER = (
    ("0", " ", "\t", "+", "-", "A", "\u0663", "\x00"),
    ("0", " ", "\n", "_0", "A", "g", "é", "\u200b"),
)
JUNK: tuple[Any, ...] = (
    *("", "0", "00", "-1", "0x", "a", "A", "é", " ", "1" * 78, "9" * 78, "9" * 79, str(AMOUNT_MAX), "a" * 64),
    *("ab" * 32, "AB" * 32, "ab " * 32, "ab" * 31 + "a", "a" * 65, "a" * 129, "x" * 5000, "cancel", "deny"),
    *("evm:1", "evm:01", "evm:9007199254740991", "evm:9007199254740992", "solana:mainnet", "bitcoin:mainnet"),
    *(
        0,
        1,
        -1,
        31,
        32,
        2**31,
        2**31 + 1,
        2**53 - 1,
        True,
        False,
        [],
        {},
        ["a"],
        ["a", "a"],
        {"kind": "request"},
    ),
)


def read(data: bytes) -> dict[str, Any]:
    return cast("dict[str, Any]", parse_canonical(data, bytes_max=ENTRY_BYTES_MAX))


def payments() -> dict[str, dict[str, Any]]:
    """One entry of each kind that has a shape, and requests on chains with other addresses."""
    found = {value["kind"]: value for value in map(read, islice(sample_entries(), 2, 12))}
    book = LOGS["schnorr"]()
    others = [value for value in map(read, book.entries) if value["kind"] == "request"]
    found |= {f"request on {value['body']['chain']}": value for value in others}
    settled = [value for value in map(read, book.entries) if value["kind"] == "observation"]
    found |= {f"settled with a name of {len(value['body']['tx_hash'])}": value for value in settled}
    return {name: value for name, value in found.items() if name != "price"}


ENTRIES = payments()


@dataclass
class Place:
    """A value in a document, and the object or list that it is in."""

    within: Any
    name: Any


def places(within: Any) -> Iterator[Place]:
    names = within if isinstance(within, dict) else range(len(within))
    for name in names:
        yield Place(within, name)
        if isinstance(within[name], dict | list):
            yield from places(within[name])


def near(value: Any) -> Iterator[Json]:
    """What could stand in the place of a value and is not it, and is the harder to tell from it."""
    yield from JUNK
    if isinstance(value, str):
        yield from (value.upper(), value[:-1], value[1:], value[:-2], value * 2, value.replace("0", "1", 1))
        yield from (first + value for first in BEFORE)
        yield from (value + last for last in AFTER)
    elif isinstance(value, list):
        yield from (value[1:], value * 2, value * 33, value * 65)
    elif isinstance(value, dict):
        yield {**value, "zzz": 1}
        yield from ({k: v for k, v in value.items() if k != name} for name in value)


def mutants(value: dict[str, Any]) -> Iterator[Json]:
    """The entry with one value changed, at every place of it."""
    yield from near(value)
    document = copy.deepcopy(value)
    for place in list(places(document)):
        kept = place.within[place.name]
        for changed in near(kept):
            place.within[place.name] = changed
            yield document
        place.within[place.name] = kept


def field_by_field(value: Json) -> TimedEntry | None:
    try:
        return entry_of(value)
    except (MalformedError, CallerError):
        return None


def differences(reader: Reader, value: dict[str, Any]) -> int:
    """How many mutants a reader reads to something else than they are read to field by field."""
    found = ((reader(mutant), mutant) for mutant in mutants(value))
    return sum(made is not None and made != field_by_field(mutant) for made, mutant in found)


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_a_shape_reads_nothing_that_is_not_read_so_field_by_field(name: str) -> None:
    assert differences(shaped, ENTRIES[name]) == 0


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_a_reader_that_takes_upper_case_for_lower_is_found_out(name: str) -> None:
    def lax(value: Json) -> TimedEntry | None:
        return shaped(read(canonical(value).lower()))

    assert differences(lax, ENTRIES[name]) > 0


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_a_payments_entries_have_a_shape(name: str) -> None:
    assert shaped(ENTRIES[name]) == entry_of(ENTRIES[name])


def test_the_kinds_with_a_shape_are_those_of_a_payment() -> None:
    assert {value["kind"] for value in ENTRIES.values()} == set(SHAPES)
    assert len(ENTRIES) > len(SHAPES) + 1


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_what_is_wrong_is_named_as_it_is_without_shapes(name: str) -> None:
    for mutant in mutants(ENTRIES[name]):
        try:
            data = canonical(mutant)
        except CallerError:
            continue
        assert told(read_entry, data) == told(parse_entry, data)


def told(reader: Callable[[bytes], TimedEntry], data: bytes) -> TimedEntry | str:
    try:
        return reader(data)
    except (MalformedError, CallerError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_another_encoding_of_an_entry_is_refused(name: str) -> None:
    good = canonical(ENTRIES[name])
    backwards = dict(reversed(ENTRIES[name].items()))
    others = [
        *(good + b"\n", b" " + good, good.replace(b":", b": ", 1), json.dumps(backwards).encode()),
        *(good.replace(b'"kind"', b'"kin\\u0064"'), good.replace(b"{", b'{"kind":"request",', 1)),
        *(good.replace(b"}", b',"time_ms":1}'), good[:-1] + b" " * ENTRY_BYTES_MAX + good[-1:], good[:-1]),
        *(good.replace(b'"time_ms":', b'"time_ms":-'), re.sub(rb'("time_ms":\d+)', rb"\1.0", good)),
    ]

    assert read_entry(good) == parse_entry(good)
    for other in others:
        assert other != good and told(read_entry, other) == told(parse_entry, other)
        with pytest.raises(MalformedError):
            read_entry(other)


@pytest.mark.parametrize("name", sorted(LOGS))
def test_entries_of_every_kind_are_read_as_field_by_field(name: str) -> None:
    for data in LOGS[name]().entries:
        assert told(read_entry, data) == told(parse_entry, data)
