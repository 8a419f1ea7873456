"""Every record of the stored state comes back as it went in, each of its fields included."""

import typing
from enum import Enum
from types import UnionType
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from policy.approval import Slot
from policy.encoding import INTEGER_MAX
from policy.intent import Intent, Request
from policy.state import Job, KeyRecord, PendingChange, RequestState
from policy.stored import records as r
from policy.stored.layered import Codec
from policy.stored.pages import EMPTY, checked
from policy.stored.states import CODECS, key_document, pending_document, read_key, read_pending
from policy.windows import Counted, Window
from tests.simulation.world import CHAIN, CUSTOMER

T = TypeVar("T", bound=Struct)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
PLACES = st.tuples(TEXTS, TEXTS)
REQUESTS = st.builds(
    Request,
    origin=st.just("log.example.com/custody"),
    initiator=st.just("desk"),
    intent=st.builds(
        Intent,
        chain=st.just(CHAIN),
        wallet=st.just("hot"),
        asset=st.just("eth"),
        amount=st.integers(1, 2**256 - 1),
        destination=st.just(CUSTOMER),
        calldata=st.none() | st.binary(min_size=4, max_size=40),
    ),
    fee_ceiling=st.integers(0, 2**256 - 1),
    idempotency_key=st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=64),
    created_ms=st.integers(0, 2**50),
    expires_ms=st.integers(2**50 + 1, 2**51),
)
LARGE = {"fee_max", "value", "tweak", "fee_ceiling", "nonce", "amount", "total"}


def of_type(hint: Any, name: str = "") -> st.SearchStrategy[Any]:
    """Values of a type, with every field of a dataclass drawn, also of one that has a default."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Request:
        return REQUESTS
    if hint is int:
        return st.integers(0, 2**256 - 1 if name in LARGE else INTEGER_MAX)
    if hint is bytes:
        return st.binary(max_size=40)
    if hint is str:
        return TEXTS
    if hint is bool:
        return st.booleans()
    if origin is tuple:
        if inner[-1] is Ellipsis:
            return st.lists(of_type(inner[0], name), max_size=3).map(tuple)
        return st.tuples(*(of_type(one, name) for one in inner))
    if origin is UnionType or origin is typing.Union:
        return st.one_of(*(st.none() if one is type(None) else of_type(one, name) for one in inner))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    return built(hint)


def built(kind: type[T]) -> st.SearchStrategy[T]:
    """A value with each of its fields."""
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{name: of_type(hints[name], name) for name in kind.__struct_fields__})


def comes_back(codec: Codec[Any, Any], key: Any, value: Any) -> bool:
    return bool(codec.read_key(codec.key(key)) == key and codec.read_value(key, codec.value(value)) == value)


MANY = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)


@given(built(Job))
@MANY
def test_a_job_comes_back(job: Job) -> None:
    assert comes_back(CODECS["jobs"], job.job_id, job)


@given(built(RequestState))
@MANY
def test_a_request_comes_back(request: RequestState) -> None:
    assert comes_back(CODECS["requests"], request.request_id, request)


@given(built(KeyRecord))
@MANY
def test_a_key_comes_back(key: KeyRecord) -> None:
    assert read_key(typing.cast("Any", key_document(key))) == key


@given(
    st.builds(
        PendingChange,
        kind=TEXTS,
        document=st.dictionaries(TEXTS, TEXTS | st.integers(0, 9), max_size=3),
        document_hash=st.binary(max_size=32),
        previous=st.binary(max_size=32),
        effective_ms=st.integers(0, INTEGER_MAX),
        index=st.integers(0, INTEGER_MAX),
    )
)
@MANY
def test_a_pending_change_comes_back(change: PendingChange) -> None:
    assert len(change.__struct_fields__) == 6
    assert read_pending(typing.cast("Any", pending_document(change))) == change


@given(PLACES, st.binary(max_size=40), built(Counted) | st.builds(Counted, st.integers(0, 2**300), st.none()))
@MANY
def test_what_a_request_counts_comes_back(place: r.Pair, request: bytes, counted: Counted) -> None:
    assert comes_back(r.counted_of(place), request, counted)


@given(PLACES, st.integers(0, INTEGER_MAX), st.integers(0, INTEGER_MAX), st.binary(max_size=40))
@MANY
def test_a_place_in_a_queue_comes_back(place: r.Pair, number: int, time_ms: int, request: bytes) -> None:
    assert comes_back(r.queue_of(place), number, (time_ms, request))


@given(PLACES, PLACES, st.binary(max_size=9))
@MANY
def test_no_key_of_one_window_is_one_of_another(one: r.Pair, other: r.Pair, request: bytes) -> None:
    found = r.counted_of(other).read_key(r.counted_of(one).key(request))

    assert (found is None) == (one != other)


@given(PLACES, st.integers(0, 2**300), st.integers(0, INTEGER_MAX), st.integers(0, INTEGER_MAX))
@MANY
def test_a_window_comes_back(place: r.Pair, total: int, head: int, tail: int) -> None:
    codec = r.windows(lambda name: checked(name, None), EMPTY, queue=EMPTY)

    assert comes_back(codec, place, Window(total, head, tail))


@given(built(Slot), PLACES, st.binary(max_size=40), st.integers(0, INTEGER_MAX))
@MANY
def test_ids_come_back(slot: Slot, pair: r.Pair, identifier: bytes, number: int) -> None:
    assert comes_back(CODECS["anchors"], slot, identifier)
    assert comes_back(CODECS["idempotency"], pair, identifier)
    assert comes_back(CODECS["nonces"], identifier, identifier)
    assert comes_back(CODECS["approved"], identifier, True)
    assert comes_back(CODECS["signed"], number, (number, identifier))


@pytest.mark.parametrize("name", list(CODECS))
def test_no_key_of_one_table_is_one_of_another(name: str) -> None:
    mine = CODECS["nonces"].key(b"key")

    assert (CODECS[name].read_key(mine) is None) == (name != "nonces")
