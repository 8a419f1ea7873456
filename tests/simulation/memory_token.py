"""A token in memory, for tests that start nodes hundreds of times; ``test_sealing_port.py`` checks it."""

import hashlib
import hmac
import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from policy.errors import OperationalError
from signer_nodes.hsm.context import SealContext
from tests.simulation.world import identity_key, public_key, seed

NONCE_BYTES = 12


@dataclass
class MemoryToken:
    """The token of the node called ``name``. ``keys`` are its sealing keys, by key and epoch."""

    name: str
    records: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    keys: dict[tuple[str, int], bytes] = field(default_factory=dict)
    trouble: str = ""

    def copy(self) -> "MemoryToken":
        """Another token that holds the same."""
        return MemoryToken(self.name, dict(self.records), dict(self.keys))

    def identity_public_key(self) -> bytes:
        return public_key(self.name)

    def sign_statement(self, message: bytes) -> bytes:
        return identity_key(self.name).sign(message)

    def read_record(self, name: str) -> tuple[int, bytes] | None:
        return self.records.get(name)

    def write_record(self, name: str, data: bytes) -> int:
        sequence = self.records.get(name, (0, b""))[0] + 1
        self.records[name] = (sequence, data)
        return sequence

    def tidy(self) -> None:
        """What is replaced is gone."""

    def random(self, count: int) -> bytes:
        return os.urandom(count)

    def prf(self, label: str, data: bytes) -> bytes:
        key = seed(f"prf of {self.name}")
        return hmac.digest(key, hashlib.sha256(label.encode()).digest() + data, "sha256")

    def create_sealing_key(self, key_id: str, epoch: int) -> bool:
        if (key_id, epoch) in self.keys:
            return False
        self.keys[key_id, epoch] = AESGCM.generate_key(256)
        return True

    def destroy_sealing_key(self, key_id: str, epoch: int) -> bool:
        return self.keys.pop((key_id, epoch), None) is not None

    def sealing_epochs(self, key_id: str) -> tuple[int, ...]:
        return tuple(sorted(epoch for name, epoch in self.keys if name == key_id))

    def seal_file_key(self, context: SealContext, file_key: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self._key(context)).encrypt(nonce, file_key, context.canonical_bytes())

    def unseal_file_key(self, context: SealContext, wrapped: bytes) -> bytes:
        nonce, sealed = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
        try:
            return AESGCM(self._key(context)).decrypt(nonce, sealed, context.canonical_bytes())
        except InvalidTag as error:
            raise OperationalError(f"the wrapped file key of {context} does not open") from error

    def _key(self, context: SealContext) -> bytes:
        key = self.keys.get((context.key_id, context.epoch))
        if key is None:
            raise OperationalError(f"no sealing key for {context}")
        return key
