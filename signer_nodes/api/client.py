"""One connection to a node or witness: a stream of numbered calls, kept up in the background.

Every connection begins with a hello that proves, beyond TLS, which boot of which identity is at the
other end. A call that got no answer is `Unreachable`: whether it was done is unknown, so every call is
one that may be asked again.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

import grpc

from policy.errors import MalformedError, ProtocolError, QuorumkeepError
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.boot_statement import (
    NONCE_BYTES,
    BootCheck,
    BootStatement,
    check_boot,
    hello_message,
    verify_boot,
)
from signer_nodes.api.certificates import (
    Credentials,
    PinnedIdentity,
    certificate_hash,
    read_certificate,
    read_certificate_der,
    tls_key_hash,
    verify_tls_signature,
)
from signer_nodes.api.envelope import (
    CALLS_IN_FLIGHT_MAX,
    MESSAGE_BYTES_MAX,
    SERVICE,
    ReplyT,
    What,
    envelope,
    parse_reply,
    unwrap,
)
from signer_nodes.api.errors import Refused, Unreachable, in_words

__all__ = ["Credentials", "NodeClient", "PinnedIdentity", "Refused", "Service", "Target", "Unreachable"]

BACK_OFF_FIRST_S: Final = 0.05
BACK_OFF_MAX_S: Final = 2.0
HELLO_TIMEOUT_S: Final = 5.0
CALL_TIMEOUT_S: Final = 10.0
CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.use_local_subchannel_pool", 1),  # no back-off inherited from an earlier connection
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)

OnBoot: TypeAlias = Callable[[BootStatement], None]
_Stream: TypeAlias = "grpc.aio.StreamStreamCall[pb.Call, bytes]"
_LOG: Final = logging.getLogger(__name__)


class Service(Enum):
    """Which face of a node is dialled: the coordinator's or the cosigners'."""

    COORDINATE = "Coordinate"
    PEER = "Peer"


@dataclass(frozen=True, slots=True)
class Target:
    """The node to dial: where it is, who it must be, and whose log it must speak of."""

    address: str
    identity: PinnedIdentity
    origin: str

    @property
    def name(self) -> str:
        """The node's name."""
        return self.identity.name


class _Connection:
    """One stream while it lasts. Cancelling a read or write of it would end it, so only two tasks do."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self._pending: dict[int, asyncio.Future[pb.Reply]] = {}
        self._outgoing: asyncio.Queue[pb.Call] = asyncio.Queue(CALLS_IN_FLIGHT_MAX)
        self._last = 0

    async def ask(self, call: pb.Call) -> pb.Reply:
        self._last += 1
        number = call.call = self._last
        answer: asyncio.Future[pb.Reply] = asyncio.get_running_loop().create_future()
        self._pending[number] = answer
        try:
            await self._outgoing.put(call)
            return await answer
        finally:
            del self._pending[number]

    async def run(self) -> None:
        """Carry calls and replies until the stream ends."""
        writing = asyncio.create_task(self._write())
        try:
            await self._read()
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _write(self) -> None:
        while True:
            call = await self._outgoing.get()
            if call.call in self._pending:
                await self._stream.write(call)

    async def _read(self) -> None:
        while isinstance(received := await self._stream.read(), bytes):
            reply = parse_reply(received)
            answer = self._pending.get(reply.call)  # none: the call was given up before
            if answer is not None and not answer.done():
                answer.set_result(reply)
        code, details = await self._stream.code(), await self._stream.details()
        raise Unreachable(f"the node ended the connection: {code.name} {(details or '')[:200]}".rstrip())

    def end(self, reason: str) -> None:
        """Give up the stream; calls in flight fail with ``reason``."""
        self._stream.cancel()
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(Unreachable(reason))
        while not self._outgoing.empty():
            self._outgoing.get_nowait()


class NodeClient:
    """A kept-up connection to ``target``. Starts to dial at the first call; end it with ``close``.

    ``on_boot`` hears of every boot of the node that is new to this client, after its statement and
    proof were verified and before any call goes out; it may raise to refuse that boot. Without it,
    only what ``check_boot`` finds against the last boot seen here is refused.
    """

    def __init__(
        self,
        target: Target,
        credentials: Credentials,
        *,
        service: Service,
        on_boot: OnBoot | None = None,
        back_off_max_s: float = BACK_OFF_MAX_S,
    ) -> None:
        self._target = target
        self._credentials = credentials
        self._service = service
        self._on_boot = on_boot
        self._back_off_max_s = back_off_max_s
        self._boot: BootStatement | None = None
        self._connection: _Connection | None = None
        self._failure: str | None = None  # why the last attempt failed; None while an attempt runs
        self._changed = asyncio.Event()
        self._slots = asyncio.Semaphore(CALLS_IN_FLIGHT_MAX)
        self._task: asyncio.Task[None] | None = None
        self._wait_s = BACK_OFF_FIRST_S
        self._closed = False

    @property
    def name(self) -> str:
        """The node's name."""
        return self._target.name

    @property
    def boot(self) -> BootStatement | None:
        """The boot at the other end of the last connection that came up, or ``None`` before."""
        return self._boot

    @property
    def connected(self) -> bool:
        """Whether a call would go out now."""
        return self._connection is not None

    async def wait_connected(self, timeout_s: float = HELLO_TIMEOUT_S) -> None:
        """Wait through failed attempts until the connection is up; raises ``Unreachable``."""
        self._start()
        try:
            async with asyncio.timeout(timeout_s):
                while self._connection is None:
                    await self._changed.wait()
        except TimeoutError as error:
            raise self._unreachable(self._failure or f"no connection within {timeout_s} s") from error

    async def close(self) -> None:
        """End the connection; calls in flight fail as ``Unreachable``."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def head(self, *, timeout_s: float = CALL_TIMEOUT_S) -> pb.HeadReply:
        """The node's cosigned head, the highest quorum note it knows, and its size."""
        return await self.call(pb.HeadQuery(), pb.HeadReply, timeout_s=timeout_s)

    async def entries(self, start: int, stop: int, *, timeout_s: float = CALL_TIMEOUT_S) -> tuple[bytes, ...]:
        """Entries from ``start``, possibly fewer than asked for; ask again from where they end."""
        query = pb.EntriesQuery(start=start, stop=stop)
        reply = await self.call(query, pb.EntriesReply, timeout_s=timeout_s)
        if len(reply.entries) > stop - start:
            raise MalformedError(f"{self.name} sent {len(reply.entries)} entries of {stop - start} asked for")
        return tuple(reply.entries)

    async def append(self, message: pb.Append, *, timeout_s: float = CALL_TIMEOUT_S) -> pb.AppendReply:
        """Round 1: hand over entries and a checkpoint for cosigning."""
        return await self.call(message, pb.AppendReply, timeout_s=timeout_s)

    async def finish(self, message: pb.Finish, *, timeout_s: float = CALL_TIMEOUT_S) -> pb.FinishReply:
        """Round 2: hand over a quorum note and openings for partial signatures."""
        return await self.call(message, pb.FinishReply, timeout_s=timeout_s)

    async def change_key(self, message: pb.ChangeKey, *, timeout_s: float) -> pb.ChangeKeyReply:
        """Have the node take part in a run that begins a key's epoch."""
        return await self.call(message, pb.ChangeKeyReply, timeout_s=timeout_s)

    async def import_offer(self, key_id: str, attempt: int, *, timeout_s: float = CALL_TIMEOUT_S) -> bytes:
        """The node's signed offer of a one-time key for an import."""
        call = pb.ImportOffer(key_id=key_id, attempt=attempt)
        return (await self.call(call, pb.ImportOfferReply, timeout_s=timeout_s)).offer

    async def presign(self, message: pb.Presign, *, timeout_s: float) -> pb.PresignReply:
        """Have the node take part in a batch of presigning."""
        return await self.call(message, pb.PresignReply, timeout_s=timeout_s)

    async def burn(self, job: bytes, *, timeout_s: float = CALL_TIMEOUT_S) -> bytes:
        """The node's signature that it will never give a partial signature for ``job``."""
        return (await self.call(pb.Burn(job=job), pb.BurnReply, timeout_s=timeout_s)).signature

    async def read(self, reservation: bytes, *, timeout_s: float) -> tuple[bytes, bytes]:
        """What the node finds in a transaction: its canonical reading, and its signature over that."""
        reply = await self.call(pb.Read(reservation=reservation), pb.ReadReply, timeout_s=timeout_s)
        return reply.body, reply.signature

    async def status(self, *, timeout_s: float = CALL_TIMEOUT_S) -> bytes:
        """The node's canonical status document."""
        return (await self.call(pb.Status(), pb.StatusReply, timeout_s=timeout_s)).document

    async def protocol(self, message: pb.Protocol, *, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Hand a protocol message to a peer; returning means it was taken, not that it was right."""
        await self.call(message, pb.ProtocolReply, timeout_s=timeout_s)

    async def abandon(self, body: bytes, *, timeout_s: float = CALL_TIMEOUT_S) -> bytes:
        """The node's signature that it has not cosigned, and never will, the branch in ``body``."""
        return (await self.call(pb.Abandon(body=body), pb.AbandonReply, timeout_s=timeout_s)).signature

    async def leave(self, statements: tuple[bytes, ...], *, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Have the node leave a branch on the statements of enough cosigners."""
        await self.call(pb.Leave(statements=statements), pb.LeaveReply, timeout_s=timeout_s)

    async def leave_by_fork(self, entry: bytes, *, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Have the node leave a branch on the administrators' fork entry."""
        await self.call(pb.Leave(fork=entry), pb.LeaveReply, timeout_s=timeout_s)

    async def quorum(self, note: bytes, *, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Tell the node of a note with w cosignatures."""
        await self.call(pb.Quorum(note=note), pb.QuorumReply, timeout_s=timeout_s)

    async def call(self, message: What, kind: type[ReplyT], *, timeout_s: float) -> ReplyT:
        """Ask ``message`` and return the answer, which must be of ``kind``.

        Raises ``Refused`` when the node refuses, ``MalformedError`` for an answer of another kind, and
        ``Unreachable`` when none came: at once while the node is known to be down.
        """
        call = envelope(message)
        try:
            async with asyncio.timeout(timeout_s), self._slots:
                connection = await self._current()
                reply = await connection.ask(call)
        except TimeoutError as error:
            raise self._unreachable(f"no answer within {timeout_s} s: ask again") from error
        return unwrap(reply, kind, name=self.name)

    async def _current(self) -> _Connection:
        self._start()
        while self._connection is None:
            if self._failure is not None:
                raise self._unreachable(self._failure)
            await self._changed.wait()
        return self._connection

    def _start(self) -> None:
        if self._closed:
            raise self._unreachable("this client was closed")
        if self._task is None:
            self._task = asyncio.create_task(self._keep_connected(), name=f"connection to {self.name}")

    async def _keep_connected(self) -> None:
        while True:
            self._set(None, None)
            reason = "closed"
            try:
                await self._connect_once()
            except Exception as error:  # noqa: BLE001 - whatever the other end or a callback did: dial again
                reason = _reason(error)
                _LOG.info("connection to %s failed: %s", self.name, reason)
            finally:
                self._set(None, reason)
            await asyncio.sleep(self._wait_s)
            self._wait_s = min(2 * self._wait_s, self._back_off_max_s)

    async def _connect_once(self) -> None:
        async with self._channel() as channel:
            dial = channel.stream_stream(
                f"/{SERVICE}/{self._service.value}",
                request_serializer=pb.Call.SerializeToString,
                response_deserializer=bytes,
            )
            connection = _Connection(dial())  # type: ignore[call-arg] # we write by ourselves
            running = asyncio.create_task(connection.run())
            try:
                self._accept(await self._greet(connection, running))
                self._wait_s = BACK_OFF_FIRST_S
                self._set(connection, None)
                await running
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                connection.end(f"{self.name}: the connection broke, ask again")

    def _channel(self) -> grpc.aio.Channel:
        mine = self._credentials
        tls = grpc.ssl_channel_credentials(
            root_certificates=self._target.identity.certificate_pem,
            private_key=mine.key_pem,
            certificate_chain=mine.certificate_pem,
        )
        options = (*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", self.name))
        return grpc.aio.secure_channel(self._target.address, tls, options=options)

    async def _greet(self, connection: _Connection, running: "asyncio.Task[None]") -> BootStatement:
        nonce = os.urandom(NONCE_BYTES)
        mine = self._credentials
        hello = pb.Hello(statement=mine.statement, nonce=nonce, signature=mine.signature)
        asking = asyncio.create_task(connection.ask(envelope(hello)))
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                await asyncio.wait((asking, running), return_when=asyncio.FIRST_COMPLETED)
                if not asking.done():
                    await running  # always raises: the stream has ended
                reply = await asking
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        return self._verify(unwrap(reply, pb.HelloReply, name=self.name), nonce)

    def _verify(self, reply: pb.HelloReply, nonce: bytes) -> BootStatement:
        identity = self._target.identity
        origin, key = self._target.origin, identity.key
        boot = verify_boot(reply.statement, reply.signature, origin=origin, name=self.name, key=key)
        theirs = read_certificate_der(reply.certificate, f"TLS certificate of {self.name!r}")
        identity.certifies(theirs)
        if tls_key_hash(theirs) != boot.tls_key:
            raise ProtocolError(f"{self.name!r} states another TLS key than it uses")
        mine = read_certificate(self._credentials.certificate_pem, "own TLS certificate")
        proven = hello_message(nonce, client=certificate_hash(mine), server=certificate_hash(theirs))
        verify_tls_signature(theirs, reply.proof, message=proven)
        return boot

    def _accept(self, boot: BootStatement) -> None:
        if boot == self._boot:
            return
        if self._on_boot is not None:
            self._on_boot(boot)
        elif check_boot(self._boot, boot) is not BootCheck.OK:
            raise ProtocolError(f"{self.name!r} is at boot {boot.boot_counter}, another one was seen before")
        self._boot = boot

    def _set(self, connection: _Connection | None, failure: str | None) -> None:
        self._connection, self._failure = connection, failure
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _unreachable(self, reason: str) -> Unreachable:
        return Unreachable(f"{self.name} at {self._target.address}: {reason}")


def _reason(error: Exception) -> str:
    match error:
        case grpc.aio.AioRpcError():
            return in_words(error.details() or error.code().name)
        case TimeoutError():
            return f"no hello within {HELLO_TIMEOUT_S} s"
        case Unreachable():
            return str(error)
        case QuorumkeepError():
            return f"hello: {error}"
        case _:
            return type(error).__name__
