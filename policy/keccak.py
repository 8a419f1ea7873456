"""Ethereum's hash."""

from Crypto.Hash import keccak


def keccak256(data: bytes) -> bytes:
    """Ethereum's Keccak-256, which is not SHA3-256."""
    return keccak.new(digest_bits=256, data=data).digest()
