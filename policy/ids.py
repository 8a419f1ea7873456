"""The words every document uses: ids, chains, addresses, origins, and the bounds of amounts.

An id is 32 bytes, always a hash or fresh randomness. A chain is ``evm:<chain id>``. An address in a
document is ``0x`` and 40 lower-case hex digits. A log's origin follows C2SP tlog-checkpoint.
"""

import re

from policy.errors import CallerError

ID_BYTES = 32
AMOUNT_MAX = 2**256 - 1
EVM_CHAIN_ID_MAX = 2**53 - 1
CHAIN = re.compile(r"evm:[1-9][0-9]{0,15}")
ADDRESS = re.compile(r"0x[0-9a-f]{40}")
ORIGIN = re.compile(r"[!-*,-~]{1,128}")


def evm_chain(chain_id: int) -> str:
    """The chain of an EVM chain id. Raises ``CallerError`` for an id outside [1, 2**53)."""
    if not 1 <= chain_id <= EVM_CHAIN_ID_MAX:
        raise CallerError(f"EVM chain id {chain_id} is not from 1 to {EVM_CHAIN_ID_MAX}")
    return f"evm:{chain_id}"


def evm_chain_id(chain: str) -> int:
    """The chain id of an EVM chain. Raises ``CallerError`` for any other text."""
    if not CHAIN.fullmatch(chain) or int(chain[4:]) > EVM_CHAIN_ID_MAX:
        raise CallerError(f"{chain[:64]!r} is not an EVM chain such as 'evm:1'")
    return int(chain[4:])
