"""The node's door and its callers over real TLS on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from policy.errors import (
    CallerError,
    InvalidSignatureError,
    MalformedError,
    OperationalError,
)
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.boot_statement import BootStatement, hello_message, parse_boot
from signer_nodes.api.certificates import certificate_hash, read_certificate
from signer_nodes.api.client import (
    Credentials,
    NodeClient,
    Refused,
    Service,
    Unreachable,
)
from signer_nodes.api.envelope import CALLS_IN_FLIGHT_MAX, MESSAGE_BYTES_MAX, envelope
from signer_nodes.api.handler import Caller, Role
from tests.conformance.node_door import (
    COORDINATOR,
    EVIL,
    A,
    B,
    C,
    Door,
    ask_raw,
    hello,
    numbered,
    raw_stream,
)
from tests.waiting import WAIT_S


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door()
    await door.start(A.boot())
    yield door
    await asyncio.gather(*(client.close() for client in door.clients))
    await door.stop()


async def test_pinned_callers_are_known_by_name_role_and_boot(door: Door) -> None:
    credentials = B.boot(counter=4)
    peer, coordinator = door.client(credentials), door.coordinator()

    assert (await peer.head()).size == len("node-b")
    assert (await coordinator.head()).size == len("coordinator")
    assert door.echo.greetings == [
        Caller("node-b", Role.PEER, parse_boot(credentials.statement)),
        Caller("coordinator", Role.COORDINATOR),
    ]


async def test_names_with_dots_and_underscores_work_in_tls(door: Door) -> None:
    assert (await door.client(C.boot()).head()).size == len("node_c.1")


async def test_client_learns_the_boot_behind_the_proof(door: Door) -> None:
    seen: list[BootStatement] = []
    client = door.client(B.boot(), on_boot=seen.append)

    await client.head()

    assert client.boot is not None
    assert client.boot.name == "node-a"
    assert seen == [client.boot]


async def until_gone(client: NodeClient) -> None:
    with pytest.raises(Unreachable):
        for _ in range(200):
            await client.head(timeout_s=1)
            await asyncio.sleep(0.01)


async def refused_at_the_door(client: NodeClient, why: str | None = None) -> None:
    with pytest.raises(Unreachable, match=why):
        await client.head(timeout_s=3)
    assert client.boot is None


async def test_stranger_is_refused(door: Door) -> None:
    await refused_at_the_door(door.client(EVIL.boot()))
    await refused_at_the_door(door.client(EVIL.boot(name="node-b")))

    assert door.echo.greetings == []


@pytest.mark.parametrize("name", ["node-b", "coordinator", "node-a", "nobody"])
async def test_peer_cannot_speak_in_another_name(door: Door, name: str) -> None:
    service = Service.COORDINATE if name == "coordinator" else Service.PEER
    key_pem, certificate_pem = C.certificate_of_another(name)
    forged = replace(C.boot(name=name), key_pem=key_pem, certificate_pem=certificate_pem)

    await refused_at_the_door(
        door.client(forged, service), "not issued by the pinned identity|has no part in"
    )
    assert door.echo.greetings == []


async def test_peer_cannot_speak_in_another_name_through_an_issuer_of_that_name(door: Door) -> None:
    """C certifies a key of its own as an authority called node-b, and that one a leaf for node-b."""
    key_pem, certificate_pem = EVIL.certificate("node-b")
    intermediate = C.authority_for("node-b", EVIL.public_key)
    chain = replace(B.boot(), key_pem=key_pem, certificate_pem=certificate_pem + intermediate)

    async with raw_stream(door, chain) as stream:
        with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            await stream.write(hello(chain))

        assert await stream.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE)

    assert door.echo.greetings == []


async def test_roles_keep_to_their_own_service(door: Door) -> None:
    await refused_at_the_door(door.client(B.boot(), Service.COORDINATE), "no part in Coordinate")
    await refused_at_the_door(door.client(COORDINATOR.boot(), Service.PEER), "no part in Peer")


async def test_client_refuses_a_server_under_another_identity(door: Door) -> None:
    await refused_at_the_door(door.client(B.boot(), pinned=EVIL))

    assert door.echo.greetings == []


@pytest.mark.parametrize(
    "other",
    [
        replace(A.boot(), statement=A.boot(2).statement),
        replace(A.boot(), statement=A.boot(2).statement, signature=A.boot(3).signature),
        A.boot(origin="other.example.com/log"),
        replace(A.boot(), signature=bytes(64)),
    ],
    ids=["unsigned", "another boot's signature", "another log", "no signature"],
)
async def test_client_refuses_a_server_with_a_wrong_boot_statement(other: Credentials) -> None:
    door = Door()
    await door.start(other)
    client = door.client(B.boot())

    try:
        await refused_at_the_door(client, "hello: (the signature|boot statement)")
    finally:
        await client.close()
        await door.stop()


async def test_client_refuses_the_statement_of_another_boot(door: Door) -> None:
    await door.stop()
    old, new = A.boot(1), A.boot(2)
    await door.start(replace(old, statement=new.statement, signature=new.signature))

    await refused_at_the_door(door.client(B.boot()), "another TLS key")


async def test_client_refuses_a_relayed_proof(door: Door) -> None:
    client = door.client(B.boot())
    credentials = C.boot()
    async with raw_stream(door, credentials) as relay:
        reply = (await ask_raw(relay, hello(credentials))).hello

    with pytest.raises(InvalidSignatureError, match="proof"):
        client._verify(reply, bytes(32))


async def test_client_refuses_the_right_key_under_another_identity(door: Door) -> None:
    mine = door.credentials
    key = read_certificate(mine.certificate_pem, "test").public_key()
    assert isinstance(key, EllipticCurvePublicKey)
    forged = replace(mine, certificate_pem=EVIL.certify("node-a", key))
    credentials = B.boot()
    hashes = [
        certificate_hash(read_certificate(pem, "test"))
        for pem in (credentials.certificate_pem, forged.certificate_pem)
    ]
    proof = forged.sign(hello_message(bytes(32), client=hashes[0], server=hashes[1]))
    reply = pb.HelloReply(statement=mine.statement, signature=mine.signature, proof=proof)
    reply.certificate = forged.certificate_der()

    with pytest.raises(InvalidSignatureError, match="pinned identity"):
        door.client(credentials)._verify(reply, bytes(32))


async def test_server_refuses_the_statement_of_another_boot(door: Door) -> None:
    old, new = B.boot(1), B.boot(2)

    mixed = replace(old, statement=new.statement, signature=new.signature)

    await refused_at_the_door(door.client(mixed), "another TLS key")
    await refused_at_the_door(door.client(replace(new, signature=bytes(64))), "does not verify")
    assert door.echo.greetings == []


async def test_a_reading_comes_back_with_its_signature(door: Door) -> None:
    assert await door.coordinator().read(b"{}", timeout_s=5) == (b"{}", bytes(64))


async def test_calls_of_the_other_role_are_refused(door: Door) -> None:
    with pytest.raises(Refused, match="not-allowed"):
        await door.client(B.boot()).append(pb.Append())
    with pytest.raises(Refused, match="not-allowed"):
        await door.client(B.boot()).read(b"{}", timeout_s=5)
    with pytest.raises(Refused, match="not-allowed"):
        await door.coordinator().protocol(pb.Protocol())

    assert door.echo.appended == []


async def test_errors_become_refusals_and_the_stream_stays_up(door: Door) -> None:
    client = door.coordinator()

    with pytest.raises(Refused, match="node-b: sent a wrong opening") as faulty:
        await client.finish(pb.Finish())
    with pytest.raises(Refused, match="the token is away") as away:
        await client.change_key(pb.ChangeKey(), timeout_s=3)
    with pytest.raises(Refused, match="banned: a pair") as banned:
        await client.presign(pb.Presign(), timeout_s=3)
    with pytest.raises(Refused) as internal:
        await client.burn(b"job")
    assert [caught.value.code for caught in (faulty, away, banned, internal)] == [
        "faulty-participant",
        "unavailable",
        "banned",
        "internal",
    ]
    assert "secret" not in str(internal.value)
    assert await client.abandon(b"body") == b"body"
    assert len(door.echo.greetings) == 1


async def test_broken_invariant_reaches_the_process_that_must_stop(door: Door) -> None:
    with pytest.raises(Refused, match="internal"):
        await door.coordinator().status()

    assert door.server is not None
    assert str(door.server.invariant_broken.result()) == "two heads"


async def test_nothing_is_looked_at_before_the_hello(door: Door) -> None:
    async with raw_stream(door, B.boot()) as stream:
        reply = await ask_raw(stream, numbered(1, envelope(pb.HeadQuery())))

    assert reply.refusal.code == "hello-first"


async def test_malformed_bytes_and_unknown_kinds_are_refused_and_the_stream_goes_on(door: Door) -> None:
    credentials = B.boot()
    unknown = b"\x08\x05" + b"\xfa\x06\x00"  # call 5, field 111
    async with raw_stream(door, credentials) as stream:
        short = await ask_raw(stream, hello(credentials, nonce=bytes(31)))
        await ask_raw(stream, hello(credentials))

        malformed = await ask_raw(stream, b"\xff\xff\xff")
        strange = await ask_raw(stream, unknown)
        head = await ask_raw(stream, numbered(6, envelope(pb.HeadQuery())))

    assert short.refusal.code == "malformed"
    assert malformed.refusal.code == "malformed"
    assert (strange.call, strange.refusal.code) == (5, "unknown-call")
    assert (head.call, head.head.size) == (6, len("node-b"))


async def test_oversize_message_ends_its_stream_and_not_the_server(door: Door) -> None:
    credentials = B.boot()
    other = door.client(C.boot())
    await other.head()
    async with raw_stream(door, credentials) as stream:
        await ask_raw(stream, hello(credentials))
        with suppress(grpc.aio.AioRpcError):
            await stream.write(numbered(2, pb.Call(protocol=pb.Protocol(payload=bytes(MESSAGE_BYTES_MAX)))))

        assert await stream.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL)

    assert (await other.head()).size == len("node_c.1")
    assert (await door.client(B.boot()).head()).size == len("node-b")


async def test_largest_message_passes_and_a_larger_one_is_not_sent(door: Door) -> None:
    client = door.client(B.boot())

    await client.protocol(pb.Protocol(payload=bytes(MESSAGE_BYTES_MAX - 100)))

    with pytest.raises(CallerError):
        await client.protocol(pb.Protocol(payload=bytes(MESSAGE_BYTES_MAX)))


async def test_calls_run_side_by_side_up_to_the_limit(door: Door) -> None:
    running, most, gate = 0, 0, asyncio.Event()

    async def before() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == CALLS_IN_FLIGHT_MAX:
            gate.set()
        await gate.wait()
        running -= 1

    door.echo.before = before
    client = door.client(B.boot())

    await asyncio.gather(*(client.protocol(pb.Protocol()) for _ in range(3 * CALLS_IN_FLIGHT_MAX)))

    assert most == CALLS_IN_FLIGHT_MAX


async def test_limit_of_calls_is_the_servers_own(door: Door) -> None:
    gate, running = asyncio.Event(), 0

    async def before() -> None:
        nonlocal running
        running += 1
        await gate.wait()

    door.echo.before = before
    credentials = B.boot()
    async with raw_stream(door, credentials) as stream:
        await ask_raw(stream, hello(credentials))
        for number in range(2, 2 + CALLS_IN_FLIGHT_MAX + 20):
            await stream.write(numbered(number, envelope(pb.Protocol())))
        await asyncio.sleep(0.3)
        held = running
        gate.set()

        for _ in range(CALLS_IN_FLIGHT_MAX + 20):
            await stream.read()

    assert (held, running) == (CALLS_IN_FLIGHT_MAX, CALLS_IN_FLIGHT_MAX + 20)


async def test_slow_call_times_out_alone(door: Door) -> None:
    gate = asyncio.Event()

    async def before() -> None:
        await gate.wait()

    door.echo.before = before
    client = door.client(B.boot())

    with pytest.raises(Unreachable, match="no answer within"):
        await client.protocol(pb.Protocol(), timeout_s=0.2)
    assert (await client.head()).size == len("node-b")
    assert len(door.echo.greetings) == 1
    gate.set()


async def test_given_up_calls_never_break_the_connection(door: Door) -> None:
    client = door.client(B.boot())
    await client.head()
    calls = [asyncio.create_task(client.protocol(pb.Protocol(payload=bytes(1 << 18)))) for _ in range(40)]
    await asyncio.sleep(0)

    for call in calls[::2]:
        call.cancel()
    ended = await asyncio.gather(*calls, return_exceptions=True)

    assert ended[1::2] == [None] * 20
    assert len(door.echo.greetings) == 1


async def test_client_comes_back_after_a_restart_with_a_new_boot(door: Door) -> None:
    seen: list[BootStatement] = []
    client = door.client(B.boot(), on_boot=seen.append)
    await client.head()
    await door.stop()
    await until_gone(client)

    await door.start(A.boot(2))
    await client.wait_connected(5)

    assert (await client.head()).size == len("node-b")
    assert [boot.boot_counter for boot in seen] == [1, 2]


async def test_older_boot_and_second_process_of_one_boot_are_refused(door: Door) -> None:
    client = door.client(B.boot())
    await door.stop()
    await door.start(A.boot(5))
    await client.wait_connected(5)
    for counter in (4, 5):
        await door.stop()
        await until_gone(client)
        await door.start(A.boot(counter))

        with pytest.raises(Unreachable):
            await client.wait_connected(0.5)

    await door.stop()
    await door.start(A.boot(6))
    await client.wait_connected(5)


async def test_callback_may_refuse_a_boot(door: Door) -> None:
    def refuse(boot: BootStatement) -> None:
        raise MalformedError(f"boot {boot.boot_counter} is not wanted")

    client = door.client(B.boot(), on_boot=refuse)

    with pytest.raises(Unreachable, match="boot 1 is not wanted"):
        await client.head()


async def test_calls_in_flight_end_when_the_connection_breaks(door: Door) -> None:
    async def before() -> None:
        await asyncio.Event().wait()

    door.echo.before = before
    client = door.client(B.boot())
    await client.head()
    call = asyncio.create_task(client.protocol(pb.Protocol(), timeout_s=20))
    await asyncio.sleep(0.1)
    await door.stop()

    with pytest.raises(Unreachable, match="broke"):
        await asyncio.wait_for(call, WAIT_S)


async def test_work_that_has_begun_is_ended_though_its_caller_is_gone(door: Door) -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    async def before() -> None:
        begun.set()
        await asyncio.sleep(0.2)
        done.set()

    door.echo.before = before
    client = door.client(B.boot())
    call = asyncio.create_task(client.protocol(pb.Protocol()))
    await asyncio.wait_for(begun.wait(), WAIT_S)
    await client.close()

    await asyncio.wait_for(done.wait(), WAIT_S)

    assert isinstance((await asyncio.gather(call, return_exceptions=True))[0], Unreachable)


async def test_dead_node_fails_calls_at_once_and_a_closed_client_too(door: Door) -> None:
    target = replace(door.target(), address="127.0.0.1:1")
    client = NodeClient(target, B.boot(), service=Service.PEER)

    with pytest.raises(Unreachable):
        await client.head(timeout_s=5)
    started = asyncio.get_running_loop().time()
    with pytest.raises(Unreachable):
        await client.head(timeout_s=5)
    assert asyncio.get_running_loop().time() - started < 1
    await client.close()
    with pytest.raises(Unreachable, match="closed"):
        await client.head()


async def test_two_servers_cannot_share_a_port(door: Door) -> None:
    second = Door()
    second.port = door.port

    try:
        with pytest.raises(OperationalError, match="cannot listen"):
            await second.start(A.boot())
    finally:
        await second.stop()
