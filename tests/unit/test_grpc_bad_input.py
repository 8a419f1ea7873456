"""Every field of every gRPC call with what does not belong there: a refusal with a code, and nothing lost."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from custody.adapters.api_server import CustodyServicer
from custody.api import custody_pb2 as pb
from custody.api.calls import SKEW_MS, call_statement, sign_call
from custody.api.errors import Code
from policy.encoding import canonical
from policy.intent import request_message
from tests.unit.custody_cluster import ETHER, KEY, ORIGIN, complete_approval, identity, make_request
from tests.unit.custody_house import House, Running

EXAMPLES = Path(__file__).resolve().parents[2] / "docs/spec/examples"
METHODS = sorted(name for name in vars(CustodyServicer) if name[0].isupper())
CALLERS = ("shop", "otto", "admin")
STREAM_S = 0.05
JUNK: tuple[Any, ...] = (
    *(None, True, 0, -1, 0.5, 1e400, 2**53, 2**64, "", "0", "-1", "0.5", "1e18", "05", str(2**256)),
    *("a" * 5000, "\u0000", "\u202e", "\ud800", "ffff", "0x" + "11" * 20, [], [[]], {}, {"a": {}}),
)


class Answered(Exception):
    """A call was refused: the code, as the client gets it."""


class Context:
    """What a method is given, as far as it looks."""

    def __init__(self, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._metadata

    async def abort(self, status: grpc.StatusCode, details: str, *, trailing_metadata: Any) -> None:
        assert details and status not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
        raise Answered(dict(trailing_metadata)["quorumkeep-code"])


class Door:
    """The gRPC door without a wire, and whoever calls at it."""

    def __init__(self, running: Running, loop: asyncio.AbstractEventLoop) -> None:
        self.running = running
        self._servicer: Any = CustodyServicer(running.service, running.parts)
        self._loop = loop

    async def ask(self, method: str, call: Message, *, caller: str = "shop", ahead_ms: int = 0) -> str:
        """The code of the refusal; empty when it is answered. Whatever else is raised is a defect."""
        now_ms = self.running.parts.now_ms() + ahead_ms
        signed = sign_call(method, call, origin=ORIGIN, time_ms=now_ms, caller=caller, key=identity(caller))
        return await self.send(method, call, signed)

    async def send(self, method: str, call: Message, metadata: tuple[tuple[str, str | bytes], ...]) -> str:
        made = getattr(self._servicer, method)(call, Context(metadata))
        try:
            if hasattr(made, "__anext__"):
                await asyncio.wait_for(anext(made), STREAM_S)
            else:
                await made
        except Answered as refusal:
            assert str(refusal) in set(Code)
            return str(refusal)
        except (TimeoutError, StopAsyncIteration):
            return ""
        return ""


@pytest.fixture(scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    async with House(tmp_path_factory.mktemp("door")).with_key() as running:
        yield Door(running, asyncio.get_running_loop())


def values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """What fits a field on the wire, and mostly nothing else."""
    kinds: dict[int, st.SearchStrategy[Any]] = {
        FieldDescriptor.TYPE_STRING: st.one_of(st.text(max_size=40), st.text(max_size=2000), HEX),
        FieldDescriptor.TYPE_BYTES: st.one_of(st.binary(max_size=100), st.binary(max_size=40_000), DOCUMENTS),
        FieldDescriptor.TYPE_BOOL: st.booleans(),
        FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
        FieldDescriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
    }
    one = messages(field.message_type) if field.message_type is not None else kinds[field.type]
    return st.lists(one, max_size=3) if field.is_repeated else one


HEX = st.binary(max_size=33).map(bytes.hex)
DOCUMENTS = st.recursive(
    st.one_of(st.integers(), st.text(max_size=8), st.booleans(), st.none(), st.floats()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
).map(lambda value: json.dumps(value).encode())


def messages(descriptor: Any) -> st.SearchStrategy[Message]:
    """Calls with some of their fields set."""
    made = getattr(pb, descriptor.name)
    fields = {field.name: values(field) for field in descriptor.fields}
    return st.fixed_dictionaries({}, optional=fields).map(lambda chosen: cast("Message", made(**chosen)))


@pytest.mark.parametrize("method", METHODS)
async def test_whatever_stands_in_a_calls_fields_is_refused_with_a_code_or_answered(
    door: Door, method: str
) -> None:
    calls = messages(getattr(pb, f"{method}Call").DESCRIPTOR)
    found: list[Message] = []

    @settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(calls)
    def collect(call: Message) -> None:
        found.append(call)

    collect()
    for call in found:
        for caller in CALLERS:
            await door.ask(method, call, caller=caller)
    assert not door.running.task.done()


def bent(document: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The document with one of its parts replaced by junk, or gone, or with one that it should not have."""
    parts = document.items() if isinstance(document, dict) else enumerate(document)
    for name, inner in parts:
        for junk in JUNK:
            if junk != inner:
                yield (*place, name), replaced(document, name, junk)
        if isinstance(inner, dict | list) and len(place) < 2:
            for where, changed in bent(inner, (*place, name)):
                yield where, replaced(document, name, changed)
    if isinstance(document, dict):
        yield from (((*place, name), {k: v for k, v in document.items() if k != name}) for name in document)
        yield (*place, "+"), document | {"surprise": 1}


def replaced(document: Any, name: Any, value: Any) -> Any:
    if isinstance(document, dict):
        return document | {name: value}
    return [value if place == name else inner for place, inner in enumerate(document)]


def encoded(document: Any) -> bytes:
    """As canonical as what it is allows."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


async def test_a_request_with_one_field_wrong_is_refused_whoever_signed_it(door: Door) -> None:
    _, body, _ = make_request("whole", amount=5, now_ms=door.running.parts.now_ms())
    codes: dict[tuple[Any, ...], set[str]] = {}
    for place, document in bent(json.loads(body)):
        try:
            signature = identity("shop").sign(request_message(document))
        except Exception:  # noqa: BLE001 - no canonical form, so nothing that could be signed
            signature = bytes(64)
        call = pb.SubmitCall(body=encoded(document), signature=signature)
        codes.setdefault(place, set()).add(await door.ask("Submit", call))

    taken = {place for place, found in codes.items() if "" in found}
    assert taken == {("idempotency_key",), ("created_ms",)}  # any text, and any time before the end
    assert {code for found in codes.values() for code in found} > {"malformed", "unknown-wallet"}


@pytest.mark.parametrize(
    ("method", "call", "code"),
    [
        ("ChangeKey", pb.ChangeKeyCall(key="nope", change="refresh"), "unknown-key"),
        ("ChangeKey", pb.ChangeKeyCall(key=KEY, change="nope"), "malformed"),
        ("ChangeKey", pb.ChangeKeyCall(key=KEY, change="import"), "malformed"),
        ("ChangeKey", pb.ChangeKeyCall(key=KEY, change="refresh", attempt=7), "malformed"),
        ("ChangeKey", pb.ChangeKeyCall(key=KEY, change="import", attempt=7), "malformed"),
        ("ImportOffers", pb.ImportOffersCall(key="nope"), "unknown-key"),
        ("Cold", pb.ColdCall(key="nope"), "unknown-key"),
        ("Cold", pb.ColdCall(request="00" * 32), "unknown-request"),
        ("Cold", pb.ColdCall(end=True), "no-ceremony"),
        ("Gather", pb.GatherCall(wallet="hot", coins_max=33), "malformed"),
    ],
)
async def test_what_no_waiting_makes_right_is_not_called_unavailable(
    door: Door, method: str, call: Message, code: str
) -> None:
    caller = "shop" if method == "Gather" else "admin"

    assert await door.ask(method, call, caller=caller) == code


def with_nul() -> Iterator[tuple[str, str]]:
    """Every text that a call can be given."""
    for method in METHODS:
        for field in getattr(pb, f"{method}Call").DESCRIPTOR.fields:
            if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated:
                yield method, field.name


@pytest.mark.parametrize(("method", "field"), list(with_nul()))
async def test_a_nul_character_is_malformed_before_a_database_is_asked_for_it(
    door: Door, method: str, field: str
) -> None:
    call: Message = getattr(pb, f"{method}Call")(**{field: "a\0b"})

    assert await door.ask(method, call) == "malformed"


async def of_kind(door: Door, kind: str) -> int:
    """How many entries of a kind the log has."""
    entries = await door.running.parts.database.entries(0, 10_000)
    return sum(1 for one in entries if json.loads(one)["kind"] == kind)


WHOLE = {path.stem: json.loads(path.read_text()) for path in EXAMPLES.glob("*.json")}
SIGNED = {name: one for name, one in WHOLE.items() if isinstance(one, dict) and {"kind", "body"} <= set(one)}


@pytest.mark.parametrize("example", sorted(SIGNED))
async def test_an_entry_with_one_field_wrong_is_refused_and_not_logged(door: Door, example: str) -> None:
    entry = {**SIGNED[example], "body": SIGNED[example]["body"] | {"origin": ORIGIN}}
    before = await of_kind(door, entry["kind"])
    proof = {name: entry[name] for name in ("signatures", "assertion", "burns") if name in entry}
    sent = [(document, proof) for _, document in bent(entry["body"])]
    sent += [(entry["body"], changed) for _, changed in bent(proof)]
    for body, given_proof in sent[:: max(1, len(sent) // 120)]:
        call = pb.EnactCall(kind=entry["kind"], body=encoded(body), proof=encoded(given_proof))
        assert await door.ask("Enact", call, caller="admin")
    assert await of_kind(door, entry["kind"]) == before


async def test_an_approval_with_one_field_wrong_is_refused_and_not_logged(door: Door) -> None:
    request, _, _ = make_request("approved", amount=5 * ETHER, now_ms=door.running.parts.now_ms())
    body = request.body()
    signature = identity("shop").sign(request_message(body))
    record = await door.running.service.submit(canonical(body), signature)
    await door.running.until(record.request, "waiting")
    (draft,) = [json.loads(one) for one in await door.running.service.pending("otto")]
    given_body, given_assertion = complete_approval(draft, "otto")

    for document, assertion in (
        *((changed, json.loads(given_assertion)) for _, changed in bent(json.loads(given_body))),
        *((json.loads(given_body), changed) for _, changed in bent(json.loads(given_assertion))),
    ):
        call = pb.ApproveCall(body=encoded(document), assertion=encoded(assertion))
        assert await door.ask("Approve", call, caller="otto")
    assert await of_kind(door, "approval") == 0
    good = pb.ApproveCall(body=given_body, assertion=given_assertion)
    assert await door.ask("Approve", good, caller="otto") == ""


@pytest.mark.parametrize(
    ("ahead_ms", "code"), [(0, ""), (SKEW_MS - 5_000, ""), (SKEW_MS + 5_000, "unauthenticated")]
)
async def test_a_clock_that_is_off_by_more_than_a_minute_is_said(
    door: Door, ahead_ms: int, code: str
) -> None:
    assert await door.ask("Status", pb.StatusCall(), ahead_ms=ahead_ms) == code
    assert await door.ask("Status", pb.StatusCall(), ahead_ms=-ahead_ms) == code


async def test_a_calls_signature_is_for_its_method_body_and_origin(door: Door) -> None:
    call, now_ms = pb.GetCall(request=bytes(32)), door.running.parts.now_ms()
    key = identity("shop")
    good = sign_call("Get", call, origin=ORIGIN, time_ms=now_ms, caller="shop", key=key)
    foreign = sign_call("Get", call, origin="log.example.com/other", time_ms=now_ms, caller="shop", key=key)

    assert await door.send("Get", call, good) == "unknown-request"
    assert await door.send("Get", call, foreign) == "unauthenticated"
    assert await door.send("Get", pb.GetCall(request=b"\x01" * 32), good) == "unauthenticated"
    assert await door.send("Log", pb.LogCall(), good) == "unauthenticated"
    assert await door.send("Get", call, ()) == "unauthenticated"
    assert call_statement("Get", call, origin=ORIGIN, time_ms=now_ms)


async def test_after_all_of_it_a_payment_is_made(door: Door) -> None:
    request, body, signature = make_request("last", amount=5, now_ms=door.running.parts.now_ms())
    record = await door.running.service.submit(body, signature)

    assert request.idempotency_key == "last"
    await door.running.until(record.request, "settled")


async def test_a_defect_is_said_as_one_and_tells_nothing_of_the_inside(door: Door) -> None:
    class Broken:
        async def status(self, initiator: str) -> None:
            raise ZeroDivisionError("a secret of the inside")

    class Told(Context):
        async def abort(self, status: grpc.StatusCode, details: str, *, trailing_metadata: Any) -> None:
            raise Answered(f"{status.name} {details} {dict(trailing_metadata)}")

    call, now_ms = pb.StatusCall(), door.running.parts.now_ms()
    signed = sign_call("Status", call, origin=ORIGIN, time_ms=now_ms, caller="shop", key=identity("shop"))
    servicer = CustodyServicer(cast("Any", Broken()), door.running.parts)

    with pytest.raises(Answered, match="INTERNAL") as refused:
        await cast("Any", servicer).Status(call, Told(signed))
    assert "internal" in str(refused.value) and "secret" not in str(refused.value)
