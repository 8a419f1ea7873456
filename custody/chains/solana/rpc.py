"""One node of a Solana cluster, over its JSON-RPC.

It is trusted with the coordinator's convenience alone: signer nodes decode the bytes that they sign, and a
nonce that it lies about gives transactions that the cluster never takes, or takes once.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from custody.chains.agreement import check_far
from custody.chains.answers import MIB, Room
from custody.chains.rpc import NodeRpc, Refused
from custody.chains.showing import shown
from policy import base58
from policy.addresses import SOLANA_KEY_BYTES
from policy.encoding import INTEGER_MAX
from policy.errors import MalformedError, OperationalError

GENESIS = {
    "mainnet": "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d",
    "mainnet-beta": "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d",
    "devnet": "EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG",
    "testnet": "4uhcVJyU9pJkvQyS88uRDiswHXSCkY3zQawwpjk2NsNY",
}
CAIP_CHARACTERS = 32
PROCESSED, CONFIRMED, FINALIZED = COMMITMENTS = ("processed", "confirmed", "finalized")
"""How sure a slot is: one node has it, two thirds of the stake voted for it, it can go no more."""
LARGE = Room(4 * MIB, 64 * MIB)
ROOM = {"getBlock": Room(64 * MIB, 512 * MIB)}
ACCOUNTS_MAX = 100
USES_MAX, SIGNATURE_BYTES = 32, 64
REASON_CHARACTERS_MAX = 300
U64_MAX = 2**64 - 1
VERSION_MAX = 255
"""Of transactions; none is read by its version."""


@dataclass(frozen=True, slots=True)
class Account:
    """What the cluster keeps at an address."""

    lamports: int
    owner: bytes
    executable: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Status:
    """Where a transaction is: in which slot, how sure that is (an index of ``COMMITMENTS``), how it ended."""

    slot: int
    sure: int
    success: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a simulation found: at which slot, why it fails or nothing, and the accounts asked for."""

    slot: int
    reason: str
    accounts: tuple[Account | None, ...]


class SolanaRpc(NodeRpc):
    """The calls made of a node; ``commitment`` is how sure what it answers has to be."""

    rooms, usual = ROOM, LARGE

    def __init__(self, name: str, url: str, *, commitment: str = FINALIZED, timeout_s: float = 30.0) -> None:
        super().__init__(name, url, timeout_s=timeout_s)
        self._sure = {"commitment": commitment}
        self._rents: dict[int, int] = {}

    async def check(self) -> None:
        """That the node is of the configured cluster, by the hash of its first block."""
        genesis, cluster = await self._ask("getGenesisHash"), self._name.partition(":")[2]
        key_of(genesis)
        known = GENESIS.get(cluster, cluster if len(cluster) == CAIP_CHARACTERS else "")
        foreign = not known and genesis in GENESIS.values()
        if foreign or not genesis.startswith(known):
            raise OperationalError(
                f"{self._where} is of the cluster whose first block is {genesis}, not of {self._name}: "
                "correct its URL"
            )
        self._checked = True

    async def accounts(self, addresses: Sequence[str]) -> list[Account | None]:
        """What is at addresses, at most 100; None where nothing is."""
        if not addresses:
            return []
        asked = [list(addresses), {"encoding": "base64", **self._sure}]
        found = list_of(object_of(await self.ask("getMultipleAccounts", *asked)).get("value"))
        if len(found) != len(addresses):
            raise OperationalError(f"{self._where} tells of {len(found)} accounts, not {len(addresses)}")
        return [None if one is None else _account(one) for one in found]

    async def rent(self, size: int) -> int:
        """The lamports that an account with so many bytes has to have; they never change."""
        if size not in self._rents:
            self._rents[size] = u64_of(await self.ask("getMinimumBalanceForRentExemption", size))
        return self._rents[size]

    async def price(self, written: Sequence[str]) -> int:
        """What most transactions that wrote these accounts paid lately; micro-lamports a compute unit."""
        found = list_of(await self.ask("getRecentPrioritizationFees", list(written)))
        prices = sorted(u64_of(object_of(one).get("prioritizationFee")) for one in found) or [0]
        return prices[len(prices) * 3 // 4]

    async def blockhash(self) -> bytes:
        """A recent one, for transactions of others than wallets."""
        found = object_of(object_of(await self.ask("getLatestBlockhash", self._sure)).get("value"))
        return key_of(found.get("blockhash"))

    async def status(self, signature: bytes) -> Status | None:
        """What became of a transaction; None while no slot that the node knows of has it."""
        options = {"searchTransactionHistory": True}
        found = object_of(await self.ask("getSignatureStatuses", [base58.encode(signature)], options))
        told = list_of(found.get("value"))
        if len(told) != 1:
            raise OperationalError(f"{self._where} tells of {len(told)} transactions, not of one")
        if told[0] is None:
            return None
        return _status(object_of(told[0]))

    async def is_gone(self, signature: bytes, *, block: int) -> bool:
        """Whether the node has come to the slot ``block`` and knows of no slot with a transaction."""
        if await self.status(signature) is not None:
            return False
        check_far(await self.slot(), block)
        return True

    async def simulate(self, raw: bytes, addresses: Sequence[str]) -> Outcome:
        """What would come of a transaction whose signature is not looked at."""
        wanted = {"encoding": "base64", "addresses": list(addresses)}
        options = {"encoding": "base64", "sigVerify": False, "commitment": PROCESSED, "accounts": wanted}
        found = object_of(await self.ask("simulateTransaction", _text(raw), options))
        value = object_of(found.get("value"))
        told = value.get("accounts")
        accounts = [None] * len(addresses) if told is None else list_of(told)
        if len(accounts) != len(addresses) or "err" not in value:
            raise OperationalError("the node's answer is no simulation: ask its provider")
        slot = u64_of(object_of(found.get("context")).get("slot"))
        after = tuple(None if one is None else _account(one) for one in accounts)
        return Outcome(slot, _reason(value["err"]), after)

    async def slot(self) -> int:
        """The newest slot that is sure enough."""
        return _slot_of(await self.ask("getSlot", self._sure))

    async def block(self, slot: int, *, details: str) -> dict[str, Any] | None:
        """The block of a slot, by details that the RPC names; None while none is sure enough."""
        options = {"encoding": "json", "transactionDetails": details, "rewards": False, **self._sure}
        found = await self.ask("getBlock", slot, {**options, "maxSupportedTransactionVersion": VERSION_MAX})
        if found is None:
            return None
        for name in ("blockhash", "previousBlockhash"):
            key_of(object_of(found).get(name))
        return object_of(found)

    async def transaction(self, signature: str) -> dict[str, Any]:
        """A transaction that a block has, with its message."""
        options = {"encoding": "json", "maxSupportedTransactionVersion": VERSION_MAX, **self._sure}
        return object_of(await self.ask("getTransaction", signature, options))

    async def uses(self, address: str) -> list[tuple[bytes, Status]]:
        """The newest transactions that name an account, newest first, each with what became of it."""
        options = {"limit": USES_MAX, **self._sure}
        found = map(object_of, list_of(await self.ask("getSignaturesForAddress", address, options)))
        return [(signature_of(one.get("signature")), _status(one)) for one in islice(found, USES_MAX)]

    async def raw(self, signature: bytes) -> bytes:
        """A transaction as it was sent; empty if the node does not have it."""
        options = {"encoding": "base64", "maxSupportedTransactionVersion": VERSION_MAX, **self._sure}
        found = await self.ask("getTransaction", base58.encode(signature), options)
        if found is None:
            return b""
        return _decoded([*list_of(object_of(found).get("transaction")), None][0])

    async def send(self, raw: bytes) -> None:
        """Hand a transaction to the cluster, which looks whether it can do it. Raises ``Refused``.

        What a slot has is no error.
        """
        options = {"encoding": "base64", "preflightCommitment": CONFIRMED}
        try:
            await self.ask("sendTransaction", _text(raw), options)
        except Refused:
            if await self.status(raw[1 : 1 + SIGNATURE_BYTES]) is None:
                raise


def _status(told: dict[str, Any]) -> Status:
    sure = told.get("confirmationStatus")
    if sure not in COMMITMENTS or "err" not in told:
        raise OperationalError("the node's answer has no good 'confirmationStatus': ask its provider")
    return Status(_slot_of(told.get("slot")), COMMITMENTS.index(sure), told["err"] is None)


def _account(value: Any) -> Account:
    found = object_of(value)
    data, executable = list_of(found.get("data")), found.get("executable")
    if len(data) != 2 or data[1] != "base64" or not isinstance(executable, bool):
        raise OperationalError("the node's answer has no good account: ask its provider")
    return Account(u64_of(found.get("lamports")), key_of(found.get("owner")), executable, _decoded(data[0]))


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError) as error:
        raise OperationalError(
            "the node's answer has no base64 where bytes stand: ask its provider"
        ) from error


def signature_of(told: Any) -> bytes:
    """The name of a transaction. Raises ``OperationalError``."""
    try:
        name = base58.decode(told if isinstance(told, str) else "")
    except MalformedError:
        name = b""
    if len(name) != SIGNATURE_BYTES:
        raise OperationalError(f"{shown(told, 100)} is no signature: ask the node's provider")
    return name


def _reason(error: Any) -> str:
    """A transaction's error as people read it; nothing for none."""
    try:
        return "" if error is None else json.dumps(error)[:REASON_CHARACTERS_MAX]
    except RecursionError:
        return shown(error, REASON_CHARACTERS_MAX)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def key_of(value: Any) -> bytes:
    """An address, or a hash. Raises ``OperationalError``."""
    try:
        key = base58.decode(value if isinstance(value, str) else "")
    except MalformedError:
        key = b""
    if len(key) != SOLANA_KEY_BYTES:
        raise OperationalError(f"{shown(value, 80)} is no base58 of 32 bytes: ask the node's provider")
    return key


def u64_of(value: Any) -> int:
    """A number of lamports, tokens or slots. Raises ``OperationalError``."""
    if type(value) is not int or not 0 <= value <= U64_MAX:
        raise OperationalError(f"{shown(value, 40)} is no number of the cluster: ask the node's provider")
    return value


def _slot_of(value: Any) -> int:
    """A slot, which has to stand in documents and tables. Raises ``OperationalError``."""
    if u64_of(value) > INTEGER_MAX:
        raise OperationalError(f"{value} is no slot of the cluster: ask the node's provider")
    return int(value)


def object_of(value: Any) -> dict[str, Any]:
    """A JSON object. Raises ``OperationalError``."""
    if not isinstance(value, dict):
        raise OperationalError("the node's answer is no object: ask its provider")
    return value


def list_of(value: Any) -> list[Any]:
    """A JSON list. Raises ``OperationalError``."""
    if not isinstance(value, list):
        raise OperationalError("the node's answer has no list where one stands: ask its provider")
    return value
