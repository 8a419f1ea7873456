"""The coordinator's own Ed25519 key: it signs checkpoints and observations, and gives no authority."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from policy.encoding import Json, statement
from policy.errors import OperationalError
from policy.log.checkpoint import Checkpoint, Note, log_signature, log_signature_message


class LogKey:
    """Signs as the log's key. Its repr shows nothing."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key().public_bytes_raw()

    @classmethod
    def load(cls, path: Path) -> "LogKey":
        """Read a PEM file (PKCS #8). Raises ``OperationalError``."""
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise OperationalError(f"cannot read the log key {path}: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise OperationalError(f"the log key {path} is no Ed25519 key: make one with openssl genpkey")
        return cls(key)

    def note(self, checkpoint: Checkpoint) -> Note:
        """The note of a checkpoint, signed. Ed25519 is deterministic: the same head, the same bytes."""
        body = checkpoint.body()
        signature = self._key.sign(log_signature_message(body))
        return Note(body).with_signatures(
            log_signature(checkpoint.origin, self.public_key, signature=signature)
        )

    def state(self, tag: str, body: Json) -> bytes:
        """A signature over ``statement(tag, body)``."""
        return self._key.sign(statement(tag, body))
