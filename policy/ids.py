"""The words every document uses: ids, chains, origins, and the bounds of amounts.

An id is 32 bytes, always a hash or fresh randomness. A chain is ``evm:<chain id>``, ``solana:<cluster>``
(the first 32 characters of its genesis hash, as CAIP-2 has it, or a name) or ``bitcoin:<network>``; what
stands before the colon is its family. A log's origin follows C2SP tlog-checkpoint.
"""

import functools
import re

from policy.base58 import encode
from policy.errors import CallerError

ID_BYTES = 32
AMOUNT_MAX = 2**256 - 1
EVM_CHAIN_ID_MAX = 2**53 - 1
CHAINS_CACHED = 256
EVM, SOLANA, BITCOIN = "evm", "solana", "bitcoin"
LAMPORTS_PER_SIGNATURE = 5000
TX_HASH_BYTES = {EVM: 32, SOLANA: 64, BITCOIN: 32}
"""How long the name of a transaction on chain is: a hash, and on Solana its first signature."""
GENERATE, IMPORT, REFRESH, RESHARE = KEY_CHANGES = ("generate", "import", "refresh", "reshare")
"""How a key comes about, and how its next epoch does."""
EVM_CHAIN = re.compile(r"evm:[1-9][0-9]{0,15}")
CHAIN = re.compile(
    EVM_CHAIN.pattern
    + r"|solana:[0-9A-Za-z][0-9A-Za-z-]{0,31}"
    + r"|bitcoin:(?:mainnet|testnet|signet|regtest)"
)
ORIGIN = re.compile(r"[!-*,-~]{1,128}")


@functools.lru_cache(maxsize=CHAINS_CACHED)
def family(chain: str) -> str:
    """``evm``, ``solana`` or ``bitcoin``. Raises ``CallerError`` for any text that is no chain."""
    if not CHAIN.fullmatch(chain):
        raise CallerError(f"{chain[:64]!r} is not a chain such as 'evm:1'")
    if (name := chain.partition(":")[0]) == EVM:
        evm_chain_id(chain)
    return name


def transaction_name(chain: str, tx_hash: bytes) -> str:
    """A transaction as explorers and wallets of its chain write it; ``tx_hash`` is in the order people read.

    EVM: ``0x`` and hex. Bitcoin: hex. Solana: base58 of its first signature.
    """
    kind = family(chain)
    if kind == SOLANA:
        return encode(tx_hash)
    return f"0x{tx_hash.hex()}" if kind == EVM else tx_hash.hex()


def evm_chain(chain_id: int) -> str:
    """The chain of an EVM chain id. Raises ``CallerError`` for an id outside [1, 2**53)."""
    if not 1 <= chain_id <= EVM_CHAIN_ID_MAX:
        raise CallerError(f"EVM chain id {chain_id} is not from 1 to {EVM_CHAIN_ID_MAX}")
    return f"evm:{chain_id}"


@functools.lru_cache(maxsize=CHAINS_CACHED)
def evm_chain_id(chain: str) -> int:
    """The chain id of an EVM chain. Raises ``CallerError`` for any other text."""
    if not EVM_CHAIN.fullmatch(chain) or int(chain[4:]) > EVM_CHAIN_ID_MAX:
        raise CallerError(f"{chain[:64]!r} is not an EVM chain such as 'evm:1'")
    return int(chain[4:])
