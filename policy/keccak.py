"""Ethereum's hash."""

import sha3


def keccak256(data: bytes) -> bytes:
    """Ethereum's Keccak-256, which is not SHA3-256."""
    return bytes(sha3.keccak_256(data).digest())
