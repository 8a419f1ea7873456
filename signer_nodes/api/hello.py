"""What a cold node shows when it starts: which boot it is, where its log ends, its key for letters."""

from dataclasses import dataclass
from typing import Final

from policy.encoding import Json, canonical, parse_canonical, statement
from policy.errors import MalformedError
from policy.fields import Fields
from policy.log.note import verify_ed25519
from signer_nodes.api.boot_statement import BootStatement

TAG: Final = "cold-hello"
HELLO_BYTES_MAX: Final = 4096
NO_TLS: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Hello:
    """One boot of a cold node, its clock then, and the X25519 key of that boot."""

    boot: BootStatement
    key: bytes
    time_ms: int

    @property
    def name(self) -> str:
        """The node."""
        return self.boot.name

    def body(self) -> Json:
        """The signed body."""
        return {"boot": self.boot.body(), "key": self.key.hex(), "time_ms": self.time_ms}

    def message(self) -> bytes:
        """What the node's identity key signs."""
        return statement(TAG, self.body())

    def to_bytes(self, signature: bytes) -> bytes:
        """The file, with the identity's ``signature``."""
        return canonical({"body": self.body(), "signature": signature.hex()})


def unverified_hello(data: bytes) -> Hello:
    """A hello that was verified when it came, or is only asked for its name. Raises ``MalformedError``."""
    return _read(data)[0]


def unverified_name(data: bytes) -> str:
    """Whose hello it says it is. Raises ``MalformedError``."""
    return unverified_hello(data).name


def verify_hello(data: bytes, *, origin: str, key: bytes) -> Hello:
    """The hello, signed by the identity ``key``. Raises ``MalformedError`` or ``InvalidSignatureError``."""
    hello, signature = _read(data)
    verify_ed25519(key, signature, message=hello.message(), author=f"node {hello.name!r}")
    if hello.boot.origin != origin:
        raise MalformedError(
            f"a hello for {hello.boot.origin}, here is {origin}: that node serves another log"
        )
    return hello


def _read(data: bytes) -> tuple[Hello, bytes]:
    fields = Fields(parse_canonical(data, bytes_max=HELLO_BYTES_MAX), "hello")
    body, signature = fields.nested("body"), fields.hex("signature", length=64)
    fields.done()
    boot = body.nested("boot")
    head = boot.nested("head")
    hello = Hello(
        BootStatement(
            origin=boot.origin("origin"),
            name=boot.name("name"),
            boot_counter=boot.integer("boot_counter"),
            boot_id=boot.hex("boot_id", length=32),
            tls_key=boot.hex("tls_key", length=32),
            head_size=head.integer("size"),
            head_root=head.hex("root", length=32),
        ),
        body.hex("key", length=32),
        body.integer("time_ms"),
    )
    for part in (head, boot, body):
        part.done()
    return hello, signature
