"""Which transaction used a nonce: what an endpoint shows under a hash is what has that hash, or an error."""

from typing import Any

import pytest

from custody.chains.evm.endpoint import Fees
from custody.chains.evm.finding import sent_at
from custody.chains.evm.transaction import attach_signature, payment, transaction_hash
from custody.ports import Landed, Receipt
from policy.errors import OperationalError
from policy.intent import Intent

ACCOUNT, TO = "0x" + "22" * 20, "0x" + "11" * 20
FEES = Fees(fee_per_gas=30, priority_per_gas=1, gas=21_000)
TX = payment(Intent("evm:1", "hot", "eth", 5, TO), contract=None, nonce=3, fees=FEES)
NAME = transaction_hash(attach_signature(TX, r=7, s=8, recovery_id=1))
TOLD = {
    "from": ACCOUNT,
    "nonce": "0x3",
    "hash": f"0x{NAME.hex()}",
    "type": "0x2",
    "accessList": [],
    "maxFeePerGas": hex(30),
    "maxPriorityFeePerGas": "0x1",
    "gas": hex(21_000),
    "to": TO,
    "value": "0x5",
    "input": "0x",
    "chainId": "0x1",
    "r": "0x7",
    "s": "0x8",
    "v": "0x1",
}
MINED = Receipt(NAME, 1, True, 1)


class Showing:
    """An endpoint with one block, in which is what it shows."""

    def __init__(self, **changed: Any) -> None:
        self.told = {**TOLD, **changed}

    async def ask(self, what: str, method: str, *parameters: Any) -> Any:
        if method == "eth_getTransactionCount":
            return "0x4" if parameters[1] == "0x1" else "0x0"
        return {"transactions": [7, {"from": [[]]}, self.told]}

    async def head(self) -> int:
        return 1

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        return MINED if tx_hash == NAME else None


async def test_what_has_the_hash_is_shown_with_its_signature() -> None:
    found = await sent_at(Showing(), ACCOUNT, nonce=3)

    assert found == Landed(MINED, TX, ((7).to_bytes(32, "big") + (8).to_bytes(32, "big") + b"\x01",))


@pytest.mark.parametrize(
    "changed",
    [
        {"value": "0x6"},
        {"to": ACCOUNT},
        {"input": "0x" + "00" * 100},
        {"gas": "0x5209"},
        {"chainId": "0x2"},
        {"r": "0x8"},
        {"v": "0x0"},
        {"v": [[]]},
    ],
)
async def test_other_bytes_under_the_hash_are_an_error(changed: dict[str, Any]) -> None:
    with pytest.raises(OperationalError, match="ask its provider"):
        await sent_at(Showing(**changed), ACCOUNT, nonce=3)


async def test_bytes_of_another_type_are_not_shown() -> None:
    assert await sent_at(Showing(type="0x0"), ACCOUNT, nonce=3) == Landed(MINED, b"", ())
