"""Which transaction used a nonce of an account: by how many an account had sent as of each block."""

import re
from typing import Any, Protocol

from custody.chains.evm.endpoint import Fees
from custody.chains.evm.transaction import attach_signature, transaction_hash, unsigned
from custody.chains.showing import shown
from custody.ports import Landed, Receipt
from policy.errors import CallerError, OperationalError

BLOCKS_BACK_MAX = 2**20
QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
HEX = re.compile(r"0x([0-9a-fA-F]{2})*")


class Asked(Protocol):
    """One endpoint."""

    async def ask(self, what: str, method: str, *parameters: Any) -> Any:
        """One call."""

    async def head(self) -> int:
        """The newest block that counts."""

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        """What became of a transaction."""


async def sent_at(rpc: Asked, account: str, *, nonce: int) -> Landed | None:
    """The account's transaction with this nonce; None while none is mined. Raises ``OperationalError``."""
    height = await _block_of(rpc, account, nonce)
    if height is None:
        return None
    tx_hash, tx, signatures = await _shown(rpc, account, nonce=nonce, height=height)
    receipt = await rpc.receipt(tx_hash)
    return None if receipt is None else Landed(receipt, tx, signatures)


async def _shown(
    rpc: Asked, account: str, *, nonce: int, height: int
) -> tuple[bytes, bytes, tuple[bytes, ...]]:
    """What the block at ``height`` has of the account with this nonce, as ``_read`` gives it."""
    block = await rpc.ask("block", "eth_getBlockByNumber", hex(height), True)
    sent = block.get("transactions") if isinstance(block, dict) else None
    for one in sent if isinstance(sent, list) else []:
        sender = one.get("from") if isinstance(one, dict) else None
        if isinstance(sender, str) and sender.lower() == account and one.get("nonce") == hex(nonce):
            return _read(one)
    raise OperationalError(
        f"nonce {nonce} of {account} was used in block {height}, and the endpoint does not show by what: "
        "look the account up elsewhere"
    )


async def _block_of(rpc: Asked, account: str, nonce: int) -> int | None:
    """The block from which on the account has sent more than ``nonce``; None while there is none."""
    high, back = await rpc.head(), 1
    if await _sent(rpc, account, high) <= nonce:
        return None
    low = max(0, high - back)
    while low and await _sent(rpc, account, low) > nonce:
        high, back = low, back * 2
        low = max(0, high - back)
        if back > BLOCKS_BACK_MAX:
            raise OperationalError(f"nonce {nonce} of {account} was used long ago: look the account up")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if await _sent(rpc, account, middle) > nonce else (middle, high)
    return high


async def _sent(rpc: Asked, account: str, height: int) -> int:
    return _number(await rpc.ask("nonce", "eth_getTransactionCount", account, hex(height)))


def _read(told: dict[str, Any]) -> tuple[bytes, bytes, tuple[bytes, ...]]:
    """Its hash; its unsigned bytes and signature, if it is of the one type that is signed here."""
    tx_hash = _bytes(told.get("hash"))
    if told.get("type") != "0x2" or told.get("accessList"):
        return tx_hash, b"", ()
    fees = Fees(
        fee_per_gas=_number(told.get("maxFeePerGas")),
        priority_per_gas=_number(told.get("maxPriorityFeePerGas")),
        gas=_number(told.get("gas")),
    )
    tail = [_bytes(told.get("to") or "0x"), _number(told.get("value")), _bytes(told.get("input")), []]
    tx = unsigned([_number(told.get("chainId")), _number(told.get("nonce"))], fees, tail=tail)
    r, s, recovery_id = (_number(told.get(name)) for name in ("r", "s", "v"))
    try:
        raw = attach_signature(tx, r=r, s=s, recovery_id=recovery_id)
    except CallerError as error:
        raise _nonsense(told.get("v")) from error
    if transaction_hash(raw) != tx_hash:
        raise _nonsense(told.get("hash"))
    return tx_hash, tx, (r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([recovery_id]),)


def _number(found: Any) -> int:
    if not isinstance(found, str) or not QUANTITY.fullmatch(found):
        raise _nonsense(found)
    return int(found, 16)


def _bytes(found: Any) -> bytes:
    if not isinstance(found, str) or not HEX.fullmatch(found):
        raise _nonsense(found)
    return bytes.fromhex(found[2:])


def _nonsense(found: Any) -> OperationalError:
    return OperationalError(f"a transaction of the endpoint is none, {shown(found, 80)}: ask its provider")
