"""Deterministic randomness: one fresh 32-byte seed, expanded into independent named streams.

Protocols draw nothing from the system: a caller hands in a seed (``secrets`` in production, a fixed
one in tests), so a run can be replayed byte for byte. A seed must be used for one run only.
"""

import builtins
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from policy.encoding import tagged_hash
from policy.errors import CallerError
from signer_nodes.mpc.curve import Q

SEED_BYTES: Final = 32
_COUNTER_START: Final = bytes(16)
_WIDE_SCALAR_BYTES: Final = 64


class RandomStream:
    """An endless stream of bytes from ``seed`` (32 bytes, secret, uniform, used for one stream).

    AES-256-CTR under a key derived from the seed. Each label forks once: the same stream twice
    would repeat nonces, so a second ``fork`` of one label is a ``CallerError``.
    """

    def __init__(self, seed: builtins.bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise CallerError(f"a random stream takes a seed of {SEED_BYTES} bytes, got {len(seed)}")
        self._seed = seed
        self._labels: set[str] = set()
        key = tagged_hash("mpc/stream/bytes", seed)
        self._blocks = Cipher(AES256(key), CTR(_COUNTER_START)).encryptor()

    def __repr__(self) -> str:
        return "RandomStream(<secret>)"

    def fork(self, label: str) -> "RandomStream":
        """An independent stream named ``label``, the same however much was read from this one."""
        if label in self._labels:
            raise CallerError(f"stream {label!r} was already forked: its values would repeat")
        self._labels.add(label)
        return RandomStream(tagged_hash("mpc/stream/fork", self._seed, label.encode()))

    def bytes(self, n: int) -> builtins.bytes:
        """The next ``n`` bytes."""
        return self._blocks.update(builtins.bytes(n))

    def scalar(self) -> int:
        """A uniform scalar of secp256k1, in ``[1, Q)``."""
        return self.scalar_below(Q)

    def scalar_below(self, order: int) -> int:
        """A uniform scalar in ``[1, order)``: 512 bits reduced, so the bias is below 2**-255."""
        return 1 + int.from_bytes(self.bytes(_WIDE_SCALAR_BYTES), "big") % (order - 1)
