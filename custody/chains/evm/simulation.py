"""What an EVM endpoint is asked, and how its answer is read, to say what a transaction would do. Pure.

``eth_simulateV1`` runs calls one after the other on top of a block. Between two rounds of balances stands the
transaction; the native ones are read by a probe, a few bytes of code that an override puts somewhere unused.
"""

from collections.abc import Sequence
from typing import Any, Final

from custody.chains.evm.transaction import call_of
from custody.chains.showing import words
from custody.ports import BalanceChange, Simulated
from policy.errors import MalformedError

METHOD_UNKNOWN: Final = -32601
PROBE: Final = "0xba1a9ce000000000000000000000000000000000"
PROBE_CODE: Final = "0x5f35315f5260205ff3"  # return(balance(calldataload(0)))
BALANCE_OF: Final = bytes.fromhex("70a08231")
ERROR: Final = bytes.fromhex("08c379a0")
PANIC: Final = bytes.fromhex("4e487b71")
WORD: Final = 32
REASON_CHARACTERS_MAX: Final = 300
NO_FUNDS: Final = "insufficient funds"

Watched = Sequence[tuple[str, str | None]]


def transaction_call(tx: bytes, account: str) -> dict[str, str]:
    """The unsigned transaction as a call; without its fee, which the endpoint would have to be paid."""
    to, value, data = call_of(tx)
    return {"from": account, "to": to, "value": hex(value), "data": f"0x{data.hex()}"}


def simulation(tx: bytes, *, account: str, watched: Watched) -> dict[str, Any]:
    """What to ask ``eth_simulateV1``."""
    balances = [_balance_call(holder, contract) for holder, contract in watched]
    calls = [*balances, transaction_call(tx, account), *balances]
    state = {"stateOverrides": {PROBE: {"code": PROBE_CODE}}, "calls": calls}
    return {"blockStateCalls": [state], "validation": False}


def read_simulation(answer: Any, watched: Watched, *, block: int) -> Simulated:
    """The answer, checked for what we asked. Raises ``MalformedError``."""
    try:
        calls, count = answer[0]["calls"], len(watched)
        before, happened, after = calls[:count], calls[count], calls[count + 1 :]
        if len(calls) != 2 * count + 1:
            raise MalformedError(f"{len(calls)} answers to {2 * count + 1} calls")
        changes = zip(watched, before, after, strict=True)
        success = happened["status"] == "0x1"
        balances = tuple(BalanceChange(*one, _word(old), _word(new)) for one, old, new in changes)
        return Simulated(block, success, "" if success else _reason(happened), balances)
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # whatever shape it has
        raise MalformedError(f"no simulation: {type(error).__name__}") from error


def revert_reason(data: bytes, message: str) -> str:
    """Why a call failed, in the contract's own words where it has any."""
    if data[:4] == ERROR and len(data) >= 4 + 2 * WORD:
        size = int.from_bytes(data[4 + WORD : 4 + 2 * WORD], "big")
        text = data[4 + 2 * WORD :][: min(size, REASON_CHARACTERS_MAX)].decode(errors="replace")
    elif data[:4] == PANIC and len(data) == 4 + WORD:
        text = f"panic 0x{int.from_bytes(data[4:], 'big'):02x}"
    else:
        text = f"0x{data.hex()}" if data else message
    return "".join(one if one.isprintable() else "?" for one in text)[:REASON_CHARACTERS_MAX]


def _reason(call: Any) -> str:
    error = call.get("error") or {}
    data = (error.get("data") or call.get("returnData") or "0x").removeprefix("0x")
    return revert_reason(
        bytes.fromhex(data), words(error.get("message") or "the call fails", REASON_CHARACTERS_MAX)
    )


def _balance_call(account: str, contract: str | None) -> dict[str, str]:
    padded = f"{bytes(12).hex()}{account.removeprefix('0x')}"
    if contract is None:
        return {"to": PROBE, "data": f"0x{padded}"}
    return {"to": contract, "data": f"0x{BALANCE_OF.hex()}{padded}"}


def _word(call: Any) -> int:
    data = bytes.fromhex(call["returnData"].removeprefix("0x"))
    if call["status"] != "0x1" or len(data) < WORD:
        raise MalformedError("a balance could not be read")
    return int.from_bytes(data[:WORD], "big")
