"""The door: a real client and a real server over TLS, over a coordinator in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import grpc
import pytest

from cli.policies.replaying import fetched
from custody.adapters.api_server import MESSAGE_BYTES_MAX, CustodyServicer, ServerTls, start_server
from custody.adapters.identity import boot_credentials
from custody.adapters.store import Store
from custody.client import Caller, CallRefused, CustodyClient, Endpoint
from policy.audit import audit
from policy.encoding import Json, statement
from policy.entries import signature_list
from policy.replay import Judged, watch_verdicts
from tests.unit.custody_certificates import identity_certificate
from tests.unit.custody_cluster import (
    ETHER,
    ORIGIN,
    WALLET,
    complete_approval,
    identity,
    make_request,
    policy_document,
)
from tests.unit.custody_house import House, Running

T = TypeVar("T")
SERVICE = "quorumkeep.custody.v1.Custody"


@dataclass
class Door:
    """A coordinator with its door open; clients run in threads, since they block."""

    house: House
    running: Running
    endpoint: Endpoint

    async def ask(self, name: str, ask: Callable[[CustodyClient], T], key: str = "") -> T:
        def call() -> T:
            with CustodyClient(self.endpoint, Caller(name, identity(key or name)), timeout_s=5) as client:
                return ask(client)

        return await asyncio.to_thread(call)

    async def refusal(self, name: str, ask: Callable[[CustodyClient], object], key: str = "") -> str:
        with pytest.raises(CallRefused) as refused:
            await self.ask(name, ask, key)
        assert refused.value.reason
        return refused.value.code


@contextlib.asynccontextmanager
async def opened(house: House, servicer: type[CustodyServicer] = CustodyServicer) -> AsyncIterator[Door]:
    """A coordinator of this house with its door open."""
    authority = identity("coordinator")
    mine = boot_credentials("coordinator", authority)
    async with house.with_key() as running:
        tls = ServerTls(mine.certificate_pem, mine.key_pem)
        served = servicer(running.service, running.parts)
        server, port = await start_server(served, "127.0.0.1:0", tls=tls)
        endpoint = Endpoint(f"127.0.0.1:{port}", identity_certificate(authority), ORIGIN)
        yield Door(house, running, endpoint)
        await server.stop(0)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with opened(House(tmp_path)) as found:
        yield found


async def test_a_backend_pays_and_waits(door: Door) -> None:
    request, _, _ = make_request("one", amount=5, now_ms=door.house.now_ms())

    submitted = await door.ask("shop", lambda client: client.submit(request))
    settled = await door.ask("shop", lambda client: client.wait(submitted.request, timeout_s=10))

    assert settled.state == "settled"
    assert settled.over
    assert settled.tx_hash.startswith("0x") and len(settled.tx_hash) == 66
    shown = await door.ask("shop", lambda client: client.get(submitted.request))
    assert replace(shown, substate="", event="") == settled


async def test_an_operator_sees_approves_and_the_initiators_person_cannot(door: Door) -> None:
    request, _, _ = make_request("large", amount=5 * ETHER, now_ms=door.house.now_ms())
    submitted = await door.ask("shop", lambda client: client.submit(request))
    await door.running.until(submitted.request, "waiting")
    drafts: list[dict[str, Json]] = await door.ask("otto", lambda client: client.pending("otto"))
    own = complete_approval(drafts[0], "olga")
    other = complete_approval(drafts[0], "otto")

    code = await door.refusal("olga", lambda client: client.approve(*own))
    approved = await door.ask("otto", lambda client: client.approve(*other))
    settled = await door.ask("otto", lambda client: client.wait(approved.request, timeout_s=10))

    assert code == "initiator-cannot-approve"
    assert settled.state == "settled"


async def test_strangers_wrong_keys_and_other_origins_are_refused(door: Door) -> None:
    stranger = await door.refusal("mallory", lambda client: client.status())
    forged = await door.refusal("admin", lambda client: client.status(), key="mallory")
    door.endpoint = Endpoint(door.endpoint.address, door.endpoint.certificate_pem, "log.example.com/other")
    foreign = await door.refusal("admin", lambda client: client.status())

    assert (stranger, forged, foreign) == ("unauthenticated",) * 3


async def test_a_call_that_is_too_large_to_be_read_is_said_to_be_so(door: Door) -> None:
    large = bytes(MESSAGE_BYTES_MAX + 1)

    assert await door.refusal("shop", lambda client: client.submit_signed(large, b"")) == "too-large"
    assert await door.refusal("shop", lambda client: client.submit_signed(large[:-64], b"")) == "malformed"


BYTES = (b"\xff" * 9, b"\x0a\x05ab", b"\x0a\x02\xff\xfe", b"\x92\x03\x02hi")
"""No protobuf, cut short, no UTF-8, and with a field of a later program."""


async def test_bytes_that_are_no_call_are_malformed_and_no_defect(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    credentials = grpc.ssl_channel_credentials(door.endpoint.certificate_pem)
    options = (("grpc.ssl_target_name_override", "coordinator"),)
    opened: Any = grpc.aio.secure_channel(door.endpoint.address, credentials, options=options)
    refusals = []
    async with opened as channel:
        for data in BYTES:
            with pytest.raises(grpc.aio.AioRpcError) as once:
                await channel.unary_unary(f"/{SERVICE}/GiveAddress")(data)
            with pytest.raises(grpc.aio.AioRpcError) as streamed:
                await anext(aiter(channel.unary_stream(f"/{SERVICE}/Events")(data)))
            refusals += [once.value, streamed.value]
    told: list[Any] = [refused.trailing_metadata() for refused in refusals]
    codes = [dict(one)["quorumkeep-code"] for one in told]

    assert codes == ["malformed"] * 2 * len(BYTES)
    assert "Traceback" not in caplog.text


async def test_a_call_that_an_older_coordinator_lacks_is_named_as_such(door: Door) -> None:
    authority = identity("coordinator")
    mine, older = boot_credentials("coordinator", authority), grpc.aio.server()
    tls = grpc.ssl_server_credentials([(mine.key_pem, mine.certificate_pem)])
    door.endpoint = replace(door.endpoint, address=f"127.0.0.1:{older.add_secure_port('127.0.0.1:0', tls)}")
    await older.start()

    assert await door.refusal("shop", lambda client: client.status()) == "unknown-path"
    await older.stop(0)


async def test_a_backend_sees_its_own_requests_and_only_administrators_make_keys(door: Door) -> None:
    made = await door.refusal("shop", lambda client: client.change_key("hot", "generate"))
    unknown = await door.refusal("shop", lambda client: client.get(b"\x07" * 32))
    listed = await door.ask("shop", lambda client: client.requests())

    assert (made, unknown, listed) == ("forbidden", "unknown-request", [])


async def test_an_operator_is_shown_only_what_they_may_approve(door: Door) -> None:
    request, _, _ = make_request("large", amount=5 * ETHER, now_ms=door.house.now_ms())
    submitted = await door.ask("shop", lambda client: client.submit(request))
    await door.running.until(submitted.request, "waiting")

    refused = [
        await door.refusal(caller, lambda client: client.pending("otto"))
        for caller in ("shop", "olga", "admin")
    ]
    refused.append(await door.refusal("shop", lambda client: client.pending("shop")))

    assert refused == ["forbidden"] * 4
    assert len(await door.ask("otto", lambda client: client.pending("otto"))) == 1
    assert await door.ask("olga", lambda client: client.pending("olga")) == []
    assert await door.ask("clerk", lambda client: client.pending("clerk")) == []


async def test_whoever_has_waited_in_vain_hears_how_it_stands_and_to_wait_again(door: Door) -> None:
    request, _, _ = make_request("slow", amount=5 * ETHER, now_ms=door.house.now_ms())
    submitted = await door.ask("shop", lambda client: client.submit(request))
    await door.running.until(submitted.request, "waiting")

    with pytest.raises(CallRefused, match=r"it is waiting still.*: wait again"):
        await door.ask("shop", lambda client: client.wait(submitted.request, timeout_s=0.5))


async def test_a_backend_sees_nothing_of_another_backends_requests(door: Door) -> None:
    request, _, _ = make_request("one", amount=5, now_ms=door.house.now_ms())
    submitted = await door.ask("shop", lambda client: client.submit(request))
    await door.running.until(submitted.request, "settled")

    got = await door.refusal("desk", lambda client: client.get(submitted.request))
    watched = await door.refusal("desk", lambda client: list(client.watch(submitted.request, timeout_s=3)))
    listed = await door.ask("desk", lambda client: client.requests())
    counted = await door.ask("desk", lambda client: client.status()["requests"])

    assert (got, watched, listed, counted) == ("unknown-request", "unknown-request", [], {})
    assert await door.ask("shop", lambda client: client.status()["requests"]) == {"settled": 1}


async def test_a_forged_request_leaves_no_trace(door: Door) -> None:
    _, body, signature = make_request("huge", amount=50 * ETHER, now_ms=door.house.now_ms())
    _, other, _ = make_request("unknown", amount=1, now_ms=door.house.now_ms())
    size = door.running.parts.sequencer.state.size

    codes = [
        await door.refusal("shop", lambda client, b=b, s=s: client.submit_signed(b, s))  # type: ignore[misc]
        for b, s in ((body, bytes(64)), (body, b""), (body, signature[:63]), (other, signature))
    ]
    await asyncio.sleep(0.2)

    assert codes == ["bad-signature"] * 4
    assert door.running.parts.sequencer.state.size == size
    assert await door.ask("admin", lambda client: client.requests()) == []


async def test_a_coordinator_that_was_replaced_sends_callers_to_the_next(tmp_path: Path) -> None:
    """Not a defect: whoever was asking asks again, at the one that has the lease."""
    codes = []
    with contextlib.suppress(ExceptionGroup):  # with which it ends, sooner or later
        async with opened(House(tmp_path)) as door:
            other = Store(door.house.database, holder="another")
            other.take_lease(door.house.now_ms() + 3_600_000, 6_000)
            other.close()
            body, signature = make_request("late", amount=ETHER // 100, now_ms=door.house.now_ms())[1:]
            codes.append(await door.refusal("shop", lambda client: client.submit_signed(body, signature)))

    assert codes == ["unavailable"]


async def test_mistakes_have_codes_of_their_own(door: Door) -> None:
    now = door.house.now_ms()
    _, body, signature = make_request("one", amount=1, now_ms=now)
    _, other, other_signature = make_request("one", amount=2, now_ms=now)
    _, unknown, unknown_signature = make_request("asset", amount=1, now_ms=now, asset="doge")
    _, old, old_signature = make_request("old", amount=1, now_ms=now - 10, expires_ms=now - 5)
    await door.ask("shop", lambda client: client.submit_signed(body, signature))

    codes = [
        await door.refusal("shop", lambda client, b=b, s=s: client.submit_signed(b, s))  # type: ignore[misc]
        for b, s in (
            (b"{", signature),
            (body, other_signature),
            (other, other_signature),
            (unknown, unknown_signature),
            (old, old_signature),
        )
    ]

    assert codes == ["malformed", "bad-signature", "idempotency-conflict", "unknown-asset", "request-expired"]


async def test_a_list_of_a_state_that_there_is_not_is_refused_and_the_states_are_named(door: Door) -> None:
    with pytest.raises(CallRefused, match=r"malformed.*no state 'nope'.*settled"):
        await door.ask("otto", lambda client: client.requests(state="nope"))

    assert await door.ask("otto", lambda client: client.requests(state="settled")) == []


async def test_people_can_ask_where_things_stand(door: Door) -> None:
    status = await door.ask("admin", lambda client: client.status())
    address = await door.ask("otto", lambda client: client.address(WALLET))
    note = await door.ask("admin", lambda client: client.log_note())

    keys = cast("list[dict[str, Json]]", status["keys"])
    assert [(key["key"], key["epoch"], key["gap"]) for key in keys] == [("hot", 0, "")]
    assert (address.path, address.chain) == ("m/0/0", "evm:31337")
    assert note.startswith(ORIGIN.encode())


async def test_an_administrator_freezes_and_unfreezes_through_the_door(door: Door) -> None:
    def order(kind: str, target: str) -> tuple[Json, dict[str, Json]]:
        body: Json = {"origin": ORIGIN, "target": target, "reason": "a test"}
        signature = identity("admin").sign(statement(kind, body))
        return body, {"signatures": signature_list({"admin": signature})}

    body, proof = order("freeze", "00" * 32)
    stranger = await door.refusal("shop", lambda client: client.enact("freeze", body, proof=proof))
    frozen = await door.ask("admin", lambda client: client.enact("freeze", body, proof=proof))
    status = await door.ask("admin", lambda client: client.status())
    again = order("unfreeze", str(status["freeze"]))
    await door.ask("admin", lambda client: client.enact("unfreeze", again[0], proof=again[1]))

    assert stranger == "forbidden"
    assert (status["frozen"], status["freeze"]) == (True, frozen["subject"])
    assert (await door.ask("admin", lambda client: client.status()))["frozen"] is False


async def test_an_administrator_reads_what_is_in_force_by_its_hash(door: Door) -> None:
    status = await door.ask("admin", lambda client: client.status())
    wanted = bytes.fromhex(str(status["policy"]))
    found = await door.ask("admin", lambda client: client.document(wanted))

    assert found == ("policy", policy_document())
    assert await door.refusal("admin", lambda client: client.document(bytes(32))) == "unknown-document"
    assert await door.refusal("otto", lambda client: client.document(wanted)) == "forbidden"
    assert await door.refusal("admin", lambda client: client.draft_fork("node-a")) == "change-refused"
    assert await door.refusal("otto", lambda client: client.draft_fork("node-a")) == "forbidden"


async def test_another_server_certificate_is_not_accepted(door: Door) -> None:
    other = identity_certificate(identity("mallory"))
    door.endpoint = Endpoint(door.endpoint.address, other, ORIGIN)

    assert await door.refusal("admin", lambda client: client.status()) == "unavailable"


async def test_people_see_what_the_shadow_policy_says_and_backends_do_not(door: Door) -> None:
    answer = await door.ask("admin", lambda client: client.shadow())

    assert answer == {"policy": "", "name": "", "errors": 0, "verdicts": []}
    assert await door.refusal("shop", lambda client: client.shadow(flips=True, limit=5)) == "forbidden"


async def test_people_get_the_log_itself_and_backends_do_not(door: Door) -> None:
    request, _, _ = make_request("one", amount=5, now_ms=door.house.now_ms())
    submitted = await door.ask("shop", lambda client: client.submit(request))
    await door.ask("shop", lambda client: client.wait(submitted.request, timeout_s=10))
    files = await door.ask("admin", fetched)
    found: list[Judged] = []
    report = audit(files.get, trust=None, progress=lambda *_: None, watch=watch_verdicts(found.append))

    assert report.ok, report.first_bad
    assert {one.kind for one in found if one.request == submitted.request} == {"request", "reserve"}
    assert await door.refusal("shop", lambda client: client.entries(0, 1)) == "forbidden"


async def test_a_backend_follows_its_events_by_stream_and_resumes(door: Door) -> None:
    request, _, _ = make_request("one", amount=5, now_ms=door.house.now_ms())
    submitted = await door.ask("shop", lambda client: client.submit(request))
    settled = await door.ask("shop", lambda client: client.wait(submitted.request, timeout_s=10))
    told = await door.ask("shop", lambda client: list(client.events(open_ms=1)))
    rest = await door.ask("shop", lambda client: list(client.events(after=str(told[0]["id"]), open_ms=1)))
    others = await door.ask("desk", lambda client: list(client.events(open_ms=1)))
    strange = await door.refusal("shop", lambda client: list(client.events(after="00000000-1")))

    assert (told[0]["state"], told[-1]["state"]) == ("received", "settled")
    shown = await door.ask("shop", lambda client: client.get(settled.request))
    assert (told[-1]["id"], told[-1]["substate"]) == (shown.event, shown.substate)
    assert rest == told[1:]
    assert (others, strange) == ([], "unknown-event")


async def test_addresses_are_given_out_through_this_door_too(door: Door) -> None:
    given = await door.ask("shop", lambda client: client.give_address(WALLET, "ann"))
    again = await door.ask("shop", lambda client: client.give_address(WALLET, "ann"))
    renamed = await door.ask("shop", lambda client: client.label_address(WALLET, given.address, label="anna"))
    codes = [
        await door.refusal("desk", lambda client: client.label_address(WALLET, given.address, label="mine")),
        await door.refusal("otto", lambda client: client.give_address(WALLET, "otto")),
        await door.refusal("shop", lambda client: client.resend("none", "00000000-1")),
    ]

    assert given == again
    assert (renamed.address, renamed.label) == (given.address, "anna")
    assert await door.ask("shop", lambda client: client.addresses(WALLET)) == [renamed]
    assert await door.ask("otto", lambda client: client.addresses(WALLET)) == [renamed]
    assert await door.ask("desk", lambda client: client.addresses(WALLET)) == []
    assert codes == ["unknown-address", "forbidden", "unknown-webhook"]
