"""What a backup of the coordinator's database says of itself, signed by the coordinator's identity. Pure.

The signature keeps out what a thief or a broken disk made of it; the genesis entry says whose log it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from policy.encoding import Json, canonical, parse_canonical, statement
from policy.errors import MalformedError, OperationalError
from policy.fields import Fields

FORMAT: Final = 1
MANIFEST_BYTES_MAX: Final = 64 * 1024
TABLES_MAX: Final = 100
_TAG: Final = "coordinator-backup"


@dataclass(frozen=True, slots=True)
class TableFile:
    """One table's file: its rows and the SHA-256 of its bytes."""

    rows: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """``genesis`` is the leaf hash of the log's first entry; ``size`` and ``root`` are the log's end."""

    origin: str
    genesis: bytes
    size: int
    root: bytes
    schema: str
    made_ms: int
    tables: Mapping[str, TableFile]

    def body(self) -> Json:
        """What is signed."""
        tables: dict[str, Json] = {
            name: {"rows": one.rows, "sha256": one.sha256.hex()} for name, one in self.tables.items()
        }
        return {
            "format": FORMAT,
            "origin": self.origin,
            "genesis": self.genesis.hex(),
            "size": self.size,
            "root": self.root.hex(),
            "schema": self.schema,
            "made_ms": self.made_ms,
            "tables": tables,
        }

    def signed(self, sign: Callable[[bytes], bytes]) -> bytes:
        """The file."""
        body = self.body()
        return canonical({"manifest": body, "signature": sign(statement(_TAG, body)).hex()})


def read_manifest(data: bytes, identity: bytes) -> Manifest:
    """A manifest that ``identity`` signed. Raises ``OperationalError`` saying what to bring instead."""
    try:
        fields = Fields(parse_canonical(data, bytes_max=MANIFEST_BYTES_MAX), "backup")
        body, signature = fields.raw("manifest"), fields.hex("signature", length=64)
        fields.done()
        Ed25519PublicKey.from_public_bytes(identity).verify(signature, statement(_TAG, body))
    except MalformedError as error:
        raise OperationalError(f"the backup's manifest cannot be read: {error}; bring another one") from error
    except InvalidSignature as error:
        raise OperationalError(
            "this coordinator's identity did not make this backup, or it was altered: bring another backup, "
            "or the identity_key of the coordinator that made it"
        ) from error
    return _read(body)


def _read(body: Json) -> Manifest:
    fields = Fields(body, "manifest")
    number = fields.integer("format", low=1)
    if number > FORMAT:
        raise OperationalError(
            f"the backup has format {number}, this program {FORMAT}: use the later program"
        )
    manifest = Manifest(
        fields.origin("origin"),
        fields.hex("genesis", length=32),
        fields.integer("size", low=1),
        fields.hex("root", length=32),
        fields.name("schema"),
        fields.integer("made_ms"),
        fields.table("tables", _table, count_max=TABLES_MAX),
    )
    fields.done()
    return manifest


def _table(_: str, fields: Fields) -> TableFile:
    return TableFile(fields.integer("rows"), fields.hex("sha256", length=32))
