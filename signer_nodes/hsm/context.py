"""Which share a sealed blob belongs to: the associated data of both seals. No PKCS#11 in here."""

import re
from dataclasses import dataclass

from policy.encoding import canonical, tagged_hash
from policy.errors import CallerError
from policy.fields import NAME

KEY_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
EPOCH_MAX = 2**32 - 1
PARTICIPANTS_MAX = 255
GROUP_KEY_LENGTHS = (32, 33)


@dataclass(frozen=True, slots=True)
class SealContext:
    """Suite, key, group key, node, t, n and epoch of one share.

    ``min_signers`` is t and ``participants`` n. ``group_key`` is the 32-byte (Ed25519, taproot) or
    33-byte (secp256k1, compressed) encoding. Raises ``CallerError`` for values out of range.
    """

    suite: str
    key_id: str
    group_key: bytes
    node: str
    min_signers: int
    participants: int
    epoch: int

    def __post_init__(self) -> None:
        check_key_and_epoch(self.key_id, self.epoch)
        if not NAME.fullmatch(self.suite) or not NAME.fullmatch(self.node):
            raise CallerError("suite and node must be names of lower-case letters, digits, '.', '_' and '-'")
        if len(self.group_key) not in GROUP_KEY_LENGTHS:
            raise CallerError(f"a group key has 32 or 33 bytes, got {len(self.group_key)}")
        if not 1 <= self.min_signers <= self.participants <= PARTICIPANTS_MAX:
            raise CallerError(
                f"min_signers {self.min_signers} of {self.participants} participants is impossible"
            )

    def canonical_bytes(self) -> bytes:
        """The canonical encoding that both seals authenticate."""
        return canonical(
            {
                "epoch": self.epoch,
                "group_key": self.group_key.hex(),
                "key_id": self.key_id,
                "min_signers": self.min_signers,
                "node": self.node,
                "participants": self.participants,
                "suite": self.suite,
            }
        )

    def digest(self) -> bytes:
        """16 bytes that tell one context from another in error messages; authenticated elsewhere."""
        return tagged_hash("seal-context", self.canonical_bytes())[:16]

    def __str__(self) -> str:
        return f"key {self.key_id} epoch {self.epoch} of node {self.node}"


def check_key_and_epoch(key_id: str, epoch: int) -> None:
    """Refuse, as ``CallerError``, what cannot be part of a sealing key's label."""
    if not KEY_ID.fullmatch(key_id):
        raise CallerError("a key id is 1 to 64 of lower-case letters, digits, '.', '_' and '-'")
    if not 0 <= epoch <= EPOCH_MAX:
        raise CallerError(f"epoch {epoch} is not in 0..{EPOCH_MAX}")
