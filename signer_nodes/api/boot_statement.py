"""What a node states about one run of its process, and what its peers make of it. Pure.

The identity key (``cosign``, in the HSM) signs the statement under the tag ``boot``; it names the TLS
key, which lives only in that process's memory. Peers keep the highest boot counter of each node, refuse
a lower one, and bar the node on the same counter with another boot id: a clone. It detects clones,
it does not prevent them.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from policy.encoding import INTEGER_MAX, Json, canonical, parse_canonical, statement, tagged_hash
from policy.errors import CallerError, InvalidSignatureError, InvariantError
from policy.fields import NAME, Fields
from policy.ids import ORIGIN
from policy.log.note import verify_ed25519

TAG: Final = "boot"
STATEMENT_BYTES_MAX: Final = 2048
HASH_BYTES: Final = 32
NONCE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class BootStatement:
    """One boot of node ``name``. ``tls_key`` is the SHA-256 of the TLS key's SubjectPublicKeyInfo;
    ``head_size`` and ``head_root`` are the log head that the node's token held when it started.
    """

    origin: str
    name: str
    boot_counter: int
    boot_id: bytes
    tls_key: bytes
    head_size: int
    head_root: bytes

    def __post_init__(self) -> None:
        if not ORIGIN.fullmatch(self.origin) or not NAME.fullmatch(self.name):
            raise CallerError(f"boot statement of {self.name[:64]!r} for the log {self.origin[:64]!r}")
        if any(len(value) != HASH_BYTES for value in (self.boot_id, self.tls_key, self.head_root)):
            raise CallerError(f"boot id, TLS key hash and root have {HASH_BYTES} bytes each")
        if not 0 <= self.boot_counter <= INTEGER_MAX or not 0 <= self.head_size <= INTEGER_MAX:
            raise CallerError(f"boot counter {self.boot_counter} or size {self.head_size} is out of bounds")

    def body(self) -> Json:
        """The signed body."""
        return {
            "boot_counter": self.boot_counter,
            "boot_id": self.boot_id.hex(),
            "head": {"root": self.head_root.hex(), "size": self.head_size},
            "name": self.name,
            "origin": self.origin,
            "tls_key": self.tls_key.hex(),
        }

    def to_bytes(self) -> bytes:
        """The canonical encoding that travels in ``Hello`` and ``HelloReply``."""
        return canonical(self.body())

    def message(self) -> bytes:
        """What the identity key signs."""
        return statement(TAG, self.body())


def parse_boot(data: bytes) -> BootStatement:
    """Read a received statement. Raises ``MalformedError``; proves nothing about its author."""
    fields = Fields(parse_canonical(data, bytes_max=STATEMENT_BYTES_MAX), "boot statement")
    head = fields.nested("head")
    boot = BootStatement(
        origin=fields.origin("origin"),
        name=fields.name("name"),
        boot_counter=fields.integer("boot_counter"),
        boot_id=fields.hex("boot_id", length=HASH_BYTES),
        tls_key=fields.hex("tls_key", length=HASH_BYTES),
        head_size=head.integer("size"),
        head_root=head.hex("root", length=HASH_BYTES),
    )
    head.done()
    fields.done()
    return boot


def verify_boot(data: bytes, signature: bytes, *, origin: str, name: str, key: bytes) -> BootStatement:
    """The statement of node ``name`` of log ``origin``, signed by its identity ``key``.

    Raises ``MalformedError`` or ``InvalidSignatureError``. The caller still compares ``tls_key`` with
    the key at the other end of the connection, and the counter with the highest it knows.
    """
    boot = parse_boot(data)
    if (boot.origin, boot.name) != (origin, name):
        raise InvalidSignatureError(
            f"boot statement of {boot.name!r} for log {boot.origin!r}, expected {name!r} for {origin!r}"
        )
    verify_ed25519(key, signature, message=boot.message(), author=f"node {name!r}")
    return boot


class BootCheck(Enum):
    """What a peer's boot means, given the highest boot of it that is known."""

    OK = "ok"
    REFUSE = "refuse"  # an older boot: a stopped process or a restored token
    FREEZE = "freeze"  # the same counter with another boot id: two processes hold one identity


def check_boot(known: BootStatement | tuple[int, bytes] | None, received: BootStatement) -> BootCheck:
    """Compare ``received`` with the highest known boot (a statement, or its counter and id)."""
    counter, boot_id = _counter_and_id(known)
    if received.boot_counter < counter:
        return BootCheck.REFUSE
    if received.boot_counter == counter and received.boot_id != boot_id:
        return BootCheck.FREEZE
    return BootCheck.OK


def hello_message(nonce: bytes, *, client: bytes, server: bytes) -> bytes:
    """What the server's TLS key signs in its hello: ``nonce`` and both certificates' SHA-256.

    A relay shows the server a certificate of its own, so the proof it gets does not fit its victim.
    """
    hashes = (client, server)
    if len(nonce) != NONCE_BYTES or any(len(value) != HASH_BYTES for value in hashes):
        raise InvariantError("a hello covers a 32-byte nonce and two SHA-256 hashes")
    return tagged_hash("hello", nonce, *hashes)


def _counter_and_id(known: BootStatement | tuple[int, bytes] | None) -> tuple[int, bytes]:
    match known:
        case None:
            return -1, b""
        case BootStatement():
            return known.boot_counter, known.boot_id
        case (counter, boot_id):
            return counter, boot_id
