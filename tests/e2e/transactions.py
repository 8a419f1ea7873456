"""Unsigned EIP-1559 transactions for tests."""

import rlp


def unsigned_transfer(*, nonce: int, to: str, value: int, chain_id: int = 31337, fee_gwei: int = 20) -> bytes:
    """The bytes to sign of a transfer of the native asset."""
    fees = [10**9, fee_gwei * 10**9, 21_000]
    return b"\x02" + bytes(rlp.encode([chain_id, nonce, *fees, bytes.fromhex(to[2:]), value, b"", []]))
