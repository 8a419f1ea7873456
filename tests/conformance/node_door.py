"""A node's door on loopback with identities made here, and callers of it."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from policy.errors import (
    FaultyParticipant,
    InvariantError,
    OperationalError,
)
from signer_nodes.adapters.server import NodeServer
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.boot_statement import BootStatement
from signer_nodes.api.certificates import read_certificate, tls_key_hash
from signer_nodes.api.client import (
    CHANNEL_OPTIONS,
    Credentials,
    NodeClient,
    PinnedIdentity,
    Refused,
    Service,
    Target,
)
from signer_nodes.api.envelope import MESSAGE_BYTES_MAX, SERVICE, envelope
from signer_nodes.api.handler import Caller
from signer_nodes.api.issuing import make_boot_certificate, make_identity_certificate

ORIGIN = "log.example.com/test"
ENTRIES_AT_ONCE = 3
NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Identity:
    """An identity whose key is in this test's hands, as an HSM's would be in its node's."""

    name: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def pin(self, name: str | None = None) -> PinnedIdentity:
        name = name or self.name
        return PinnedIdentity.of(name, make_identity_certificate(name, self.public_key, sign=self.key.sign))

    def certificate(self, name: str | None = None) -> tuple[bytes, bytes]:
        return make_boot_certificate(
            name or self.name, self.public_key, sign=self.key.sign, not_before=NOW, serial=7
        )

    def certificate_of_another(self, name: str) -> tuple[bytes, bytes]:
        """What this identity issues, in its own name, for a name that is not its own."""
        key = generate_private_key(SECP256R1())
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return key_pem, self.certify(name, key.public_key())

    def certify(self, name: str, key: EllipticCurvePublicKey) -> bytes:
        common_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)])
        builder = x509.CertificateBuilder().issuer_name(common_name).subject_name(x509.Name([]))
        builder = builder.public_key(key).serial_number(9)
        builder = builder.not_valid_before(NOW - timedelta(days=1)).not_valid_after(NOW + timedelta(days=1))
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        return builder.add_extension(names, critical=False).sign(self.key, None).public_bytes(Encoding.PEM)

    def authority_for(self, name: str, public_key: bytes) -> bytes:
        common_names = [
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in (self.name, name)
        ]
        builder = x509.CertificateBuilder().issuer_name(common_names[0]).subject_name(common_names[1])
        builder = builder.public_key(Ed25519PublicKey.from_public_bytes(public_key)).serial_number(9)
        builder = builder.not_valid_before(NOW - timedelta(days=1)).not_valid_after(NOW + timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return builder.sign(self.key, None).public_bytes(Encoding.PEM)

    def boot(self, counter: int = 1, *, name: str | None = None, origin: str = ORIGIN) -> Credentials:
        key_pem, certificate_pem = self.certificate(name)
        tls_key = tls_key_hash(read_certificate(certificate_pem, "test"))
        boot_id = hashlib.sha256(tls_key).digest()
        boot = BootStatement(origin, name or self.name, counter, boot_id, tls_key, 0, bytes(32))
        return Credentials(
            boot.name, key_pem, certificate_pem, boot.to_bytes(), self.key.sign(boot.message())
        )

    def coordinator(self) -> Credentials:
        key_pem, certificate_pem = self.certificate()
        return Credentials(self.name, key_pem, certificate_pem)


class Echo:
    """A handler that answers from what it got; ``before`` runs first, in every call of ``protocol``."""

    def __init__(self) -> None:
        self.before: Callable[[], Awaitable[None]] | None = None
        self.greetings: list[Caller] = []
        self.appended: list[pb.Append] = []

    async def greeted(self, caller: Caller) -> None:
        self.greetings.append(caller)

    async def head(self, caller: Caller, call: pb.HeadQuery) -> pb.HeadReply:
        return pb.HeadReply(size=len(caller.name))

    async def entries(self, caller: Caller, call: pb.EntriesQuery) -> pb.EntriesReply:
        stop = min(call.stop, call.start + ENTRIES_AT_ONCE)
        return pb.EntriesReply(entries=[b"%d" % index for index in range(call.start, stop)])

    async def append(self, caller: Caller, call: pb.Append) -> pb.AppendReply:
        self.appended.append(call)
        return pb.AppendReply(cosignature=b"line")

    async def finish(self, caller: Caller, call: pb.Finish) -> pb.FinishReply:
        raise FaultyParticipant("node-b", "sent a wrong opening")

    async def change_key(self, caller: Caller, call: pb.ChangeKey) -> pb.ChangeKeyReply:
        raise OperationalError("the token is away: put it back")

    async def import_offer(self, caller: Caller, call: pb.ImportOffer) -> pb.ImportOfferReply:
        return pb.ImportOfferReply(offer=call.key_id.encode())

    async def presign(self, caller: Caller, call: pb.Presign) -> pb.PresignReply:
        raise Refused("banned", "a pair of this set is banned")

    async def burn(self, caller: Caller, call: pb.Burn) -> pb.BurnReply:
        raise ZeroDivisionError("with a secret in its message")

    async def read(self, caller: Caller, call: pb.Read) -> pb.ReadReply:
        return pb.ReadReply(body=call.reservation, signature=bytes(64))

    async def status(self, caller: Caller, call: pb.Status) -> pb.StatusReply:
        raise InvariantError("two heads")

    async def protocol(self, caller: Caller, call: pb.Protocol) -> pb.ProtocolReply:
        if self.before is not None:
            await self.before()
        return pb.ProtocolReply()

    async def abandon(self, caller: Caller, call: pb.Abandon) -> pb.AbandonReply:
        return pb.AbandonReply(signature=call.body)

    async def leave(self, caller: Caller, call: pb.Leave) -> pb.LeaveReply:
        return pb.LeaveReply()

    async def quorum(self, caller: Caller, call: pb.Quorum) -> pb.QuorumReply:
        return pb.QuorumReply()


A, B, C, EVIL = Identity("node-a"), Identity("node-b"), Identity("node_c.1"), Identity("evil")
COORDINATOR = Identity("coordinator")


class Door:
    """node-a's server, on one port through restarts, and clients to it."""

    def __init__(self) -> None:
        self.echo = Echo()
        self.server: NodeServer | None = None
        self.port = 0
        self.clients: list[NodeClient] = []

    async def start(self, credentials: Credentials) -> None:
        self.credentials = credentials
        peers = [B.pin(), C.pin()]
        self.server = NodeServer(
            credentials, self.echo, origin=ORIGIN, coordinator=COORDINATOR.pin(), peers=peers
        )
        self.port = await self.server.start(f"127.0.0.1:{self.port}")

    def target(self, identity: Identity = A) -> Target:
        return Target(f"127.0.0.1:{self.port}", identity.pin("node-a"), ORIGIN)

    def client(
        self,
        credentials: Credentials,
        service: Service = Service.PEER,
        *,
        pinned: Identity = A,
        on_boot: Callable[[BootStatement], None] | None = None,
    ) -> NodeClient:
        target = self.target(pinned)
        client = NodeClient(target, credentials, service=service, on_boot=on_boot, back_off_max_s=0.1)
        self.clients.append(client)
        return client

    def coordinator(self) -> NodeClient:
        return self.client(COORDINATOR.coordinator(), Service.COORDINATE)

    async def stop(self) -> None:
        assert self.server is not None
        await self.server.stop(0.2)


@asynccontextmanager
async def raw_stream(
    door: Door, credentials: Credentials, service: Service = Service.PEER
) -> "AsyncIterator[grpc.aio.StreamStreamCall[bytes, bytes]]":
    tls = grpc.ssl_channel_credentials(
        A.pin().certificate_pem, credentials.key_pem, credentials.certificate_pem
    )
    options = [*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", "node-a")]
    options.append(("grpc.max_send_message_length", 4 * MESSAGE_BYTES_MAX))
    async with grpc.aio.secure_channel(f"127.0.0.1:{door.port}", tls, options=options) as channel:
        dial = channel.stream_stream(
            f"/{SERVICE}/{service.value}", request_serializer=bytes, response_deserializer=bytes
        )
        yield dial()  # type: ignore[call-arg] # the test writes by itself


async def ask_raw(stream: "grpc.aio.StreamStreamCall[bytes, bytes]", sent: bytes) -> pb.Reply:
    await stream.write(sent)
    received = await stream.read()
    assert isinstance(received, bytes)
    return pb.Reply.FromString(received)


def numbered(number: int, call: pb.Call) -> bytes:
    call.call = number
    return call.SerializeToString()


def hello(credentials: Credentials, *, nonce: bytes = bytes(32)) -> bytes:
    message = pb.Hello(statement=credentials.statement, signature=credentials.signature, nonce=nonce)
    return numbered(1, envelope(message))
