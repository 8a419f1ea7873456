"""The node's door: mutual TLS, one stream a connection, numbered calls handed to a ``Handler``.

TLS accepts a certificate under any pinned identity; a caller is then known by the one identity that
itself issued its certificate, to that identity's own name. Nothing that arrives can stop the server:
what breaks a rule is refused, what breaks our own code is logged by type and refused as ``internal``.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, Final, TypeAlias, assert_never

import grpc
from cryptography.x509 import Certificate
from google.protobuf.message import Message

from policy.errors import (
    CallerError,
    FaultyCoordinator,
    FaultyParticipant,
    InvalidSignatureError,
    InvariantError,
    MalformedError,
    OperationalError,
    ProtocolError,
    UnknownFault,
)
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.boot_statement import NONCE_BYTES, hello_message, verify_boot
from signer_nodes.api.certificates import (
    Credentials,
    PinnedIdentity,
    certificate_hash,
    certificate_names,
    read_certificate,
    tls_key_hash,
)
from signer_nodes.api.client import Service
from signer_nodes.api.envelope import (
    CALLS_IN_FLIGHT_MAX,
    MESSAGE_BYTES_MAX,
    SERVICE,
    parse_call,
    refusal,
    reply_envelope,
)
from signer_nodes.api.errors import Refused
from signer_nodes.api.handler import COORDINATOR_CALLS, PEER_CALLS, Caller, Handler, Role

SERVER_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_concurrent_streams", 16),
    ("grpc.so_reuseport", 0),  # a second node on one port must fail, not share it
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)
GRACE_S: Final = 2.0
_LOG: Final = logging.getLogger(__name__)
_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, pb.Reply]"


class _Stream:
    """One connection of one caller; ``caller`` is set by its hello."""

    def __init__(self, context: _Context, identity: PinnedIdentity, *, certificate: Certificate) -> None:
        self.context = context
        self.identity = identity
        self.certificate = certificate
        self.caller: Caller | None = None
        self._writing = asyncio.Lock()

    async def send(self, reply: pb.Reply) -> None:
        async with self._writing:
            try:
                await self.context.write(reply)
            except Exception as error:  # noqa: BLE001 - gRPC has no one error for "the stream is gone"
                _LOG.debug("answer to %s was not taken: %s", self.identity.name, type(error).__name__)


class NodeServer:
    """Serves ``handler`` to the coordinator and the peers whose identities are pinned.

    ``invariant_broken`` gets the ``InvariantError`` that a handler raised; the process must then stop.
    """

    def __init__(
        self,
        credentials: Credentials,
        handler: Handler,
        *,
        origin: str,
        coordinator: PinnedIdentity,
        peers: Iterable[PinnedIdentity],
    ) -> None:
        self._credentials = credentials
        self._handler = handler
        self._origin = origin
        self._coordinator = coordinator
        self._peers = {peer.name: peer for peer in peers}
        if coordinator.name in self._peers or credentials.name in (coordinator.name, *self._peers):
            raise CallerError(f"{credentials.name!r}, its coordinator and its peers need different names")
        self._certificate = read_certificate(credentials.certificate_pem, "own TLS certificate")
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: grpc.aio.Server | None = None
        self.invariant_broken: asyncio.Future[InvariantError] = asyncio.get_running_loop().create_future()

    async def start(self, listen: str) -> int:
        """Listen on ``host:port`` (port 0 takes a free one) and return the port."""
        server = grpc.aio.server(options=SERVER_OPTIONS)
        methods = {
            service.value: grpc.stream_stream_rpc_method_handler(
                self._door(service),
                request_deserializer=bytes,
                response_serializer=pb.Reply.SerializeToString,
            )
            for service in Service
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        try:
            port = server.add_secure_port(listen, self._tls())
        except RuntimeError as error:
            raise OperationalError(
                f"cannot listen on {listen}: free the address or configure another"
            ) from error
        await server.start()
        self._server = server
        return int(port)

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """Take no more calls, give those under way ``grace_s`` to end, then cancel them."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _tls(self) -> grpc.ServerCredentials:
        roots = b"".join(pin.certificate_pem for pin in (self._coordinator, *self._peers.values()))
        mine = (self._credentials.key_pem, self._credentials.certificate_pem)
        return grpc.ssl_server_credentials([mine], root_certificates=roots, require_client_auth=True)

    def _door(self, service: Service) -> Any:
        async def serve(_requests: object, context: _Context) -> None:
            try:
                stream = self._authenticate(context, service)
            except ProtocolError as error:
                _LOG.warning("a connection from %s was refused: %s", context.peer(), error)
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
            await self._serve(stream)

        return serve

    def _authenticate(self, context: _Context, service: Service) -> _Stream:
        certificates = tuple((context.auth_context() or {}).get("x509_pem_cert", ()))
        if len(certificates) != 1:
            raise InvalidSignatureError(f"a connection with {len(certificates)} client certificates")
        certificate = read_certificate(certificates[0], "client certificate")
        names = certificate_names(certificate)
        identity = self._identity(names[0] if len(names) == 1 else "", service)
        identity.certifies(certificate)
        return _Stream(context, identity, certificate=certificate)

    def _identity(self, name: str, service: Service) -> PinnedIdentity:
        match service:
            case Service.COORDINATE:
                identity = self._coordinator if name == self._coordinator.name else None
            case Service.PEER:
                identity = self._peers.get(name)
            case _:
                assert_never(service)
        if identity is None:
            raise InvalidSignatureError(f"{name[:64]!r} has no part in {service.value}")
        return identity

    async def _serve(self, stream: _Stream) -> None:
        slots = self._slots.setdefault(stream.identity.name, asyncio.Semaphore(CALLS_IN_FLIGHT_MAX))
        while True:
            await slots.acquire()  # a caller with too many calls under way is simply not read
            try:
                received = await stream.context.read()
            except BaseException:
                slots.release()
                raise
            if not isinstance(received, bytes):
                slots.release()
                return
            task = self._spawn(self._answer(stream, received))
            task.add_done_callback(lambda _task: slots.release())
            if stream.caller is None:
                await asyncio.wait((task,))  # nothing is looked at before the hello

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _answer(self, stream: _Stream, received: bytes) -> None:
        number, kind = 0, None
        try:
            call = parse_call(received)
            number, kind = call.call, call.WhichOneof("what")
            answer = await self._dispatch(stream, call)
            reply = reply_envelope(number, kind or "", answer=answer)
        except Exception as error:  # noqa: BLE001 - no node is stopped by what another sends
            reply = self._refuse(number, error, f"{kind} of {stream.identity.name}")
        await stream.send(reply)

    async def _dispatch(self, stream: _Stream, call: pb.Call) -> Message:
        kind = call.WhichOneof("what")
        if kind is None:
            raise Refused("unknown-call", "this node does not know that kind of call: upgrade it")
        if kind == "hello":
            return await self._greet(stream, call.hello)
        if stream.caller is None:
            raise Refused("hello-first", f"the first call of a stream is hello, got {kind}")
        allowed = PEER_CALLS if stream.caller.role is Role.PEER else COORDINATOR_CALLS
        if kind not in allowed:
            raise Refused("not-allowed", f"{kind} is not a call for a {stream.caller.role.value}")
        return await self._handle(stream.caller, call)

    async def _handle(self, caller: Caller, call: pb.Call) -> Message:
        match call.WhichOneof("what"):
            case "head":
                return await self._handler.head(caller, call.head)
            case "entries":
                return await self._handler.entries(caller, call.entries)
            case "append":
                return await self._handler.append(caller, call.append)
            case "finish":
                return await self._handler.finish(caller, call.finish)
            case "change_key":
                return await self._handler.change_key(caller, call.change_key)
            case "import_offer":
                return await self._handler.import_offer(caller, call.import_offer)
            case "presign":
                return await self._handler.presign(caller, call.presign)
            case "burn":
                return await self._handler.burn(caller, call.burn)
            case "read":
                return await self._handler.read(caller, call.read)
            case "status":
                return await self._handler.status(caller, call.status)
            case "protocol":
                return await self._handler.protocol(caller, call.protocol)
            case "abandon":
                return await self._handler.abandon(caller, call.abandon)
            case "leave":
                return await self._handler.leave(caller, call.leave)
            case "quorum":
                return await self._handler.quorum(caller, call.quorum)
            case ("hello" | None) as kind:
                raise CallerError(f"{kind} is not for the handler")
            case kind:
                assert_never(kind)

    async def _greet(self, stream: _Stream, hello: pb.Hello) -> pb.HelloReply:
        if len(hello.nonce) != NONCE_BYTES:
            raise MalformedError(f"a hello's nonce has {NONCE_BYTES} bytes, got {len(hello.nonce)}")
        caller = self._caller(stream, hello)
        await self._handler.greeted(caller)
        stream.caller = caller
        theirs = certificate_hash(stream.certificate)
        proven = hello_message(hello.nonce, client=theirs, server=certificate_hash(self._certificate))
        mine = self._credentials
        return pb.HelloReply(
            statement=mine.statement,
            signature=mine.signature,
            proof=mine.sign(proven),
            certificate=mine.certificate_der(),
        )

    def _caller(self, stream: _Stream, hello: pb.Hello) -> Caller:
        identity = stream.identity
        if identity is self._coordinator:
            return Caller(identity.name, Role.COORDINATOR)
        boot = verify_boot(
            hello.statement, hello.signature, origin=self._origin, name=identity.name, key=identity.key
        )
        if boot.tls_key != tls_key_hash(stream.certificate):
            raise InvalidSignatureError(f"{identity.name!r} states another TLS key than it uses")
        return Caller(identity.name, Role.PEER, boot)

    def _refuse(self, number: int, error: Exception, what: str) -> pb.Reply:
        match error:
            case Refused():
                return refusal(number, error.code, reason=error.reason)
            case ProtocolError():
                return refusal(number, _code(error), reason=str(error))
            case OperationalError():
                _LOG.warning("%s could not be done: %s", what, error)
                return refusal(number, "unavailable", reason=str(error))
            case InvariantError() if not self.invariant_broken.done():
                self.invariant_broken.set_result(error)
        _LOG.error("%s failed by %s", what, type(error).__name__)
        return refusal(number, "internal", reason="this node failed: its log names the kind")


def _code(error: ProtocolError) -> str:
    match error:
        case MalformedError():
            return "malformed"
        case InvalidSignatureError():
            return "invalid-signature"
        case FaultyParticipant():
            return "faulty-participant"
        case FaultyCoordinator():
            return "faulty-coordinator"
        case UnknownFault():
            return "unknown-fault"
        case _:
            return "protocol"
