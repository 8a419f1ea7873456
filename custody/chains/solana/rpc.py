"""One node of a Solana cluster, over its JSON-RPC.

It is trusted with the coordinator's convenience alone: signer nodes decode the bytes that they sign, and a
nonce that it lies about gives transactions that the cluster never takes, or takes once.
"""

import asyncio
import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

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
ANSWER_BYTES_MAX, BLOCK_BYTES_MAX = 4 * 1024 * 1024, 64 * 1024 * 1024
ACCOUNTS_MAX = 100
REASON_CHARACTERS_MAX = 300
U64_MAX = 2**64 - 1
VERSION_MAX = 255
"""Of transactions; none is read by its version."""


class Refused(OperationalError):
    """The node answered with an error of its own."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


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


class SolanaRpc:
    """The calls made of a node; ``commitment`` is how sure what it answers has to be."""

    def __init__(self, name: str, url: str, *, commitment: str = FINALIZED, timeout_s: float = 30.0) -> None:
        self._name = name
        self._url = url
        self._where = urlsplit(url).netloc.rpartition("@")[2]
        self._sure = {"commitment": commitment}
        self._timeout_s = timeout_s
        self._rents: dict[int, int] = {}
        self._checked = False

    @property
    def name(self) -> str:
        """The chain as documents call it."""
        return self._name

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

    async def prices(self, written: Sequence[str]) -> list[int]:
        """What transactions that wrote these accounts paid lately; micro-lamports a compute unit."""
        found = list_of(await self.ask("getRecentPrioritizationFees", list(written)))
        return [u64_of(object_of(one).get("prioritizationFee")) for one in found]

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
        status = object_of(told[0])
        sure = status.get("confirmationStatus")
        if sure not in COMMITMENTS or "err" not in status:
            raise OperationalError("the node's answer has no good 'confirmationStatus': ask its provider")
        return Status(_slot_of(status.get("slot")), COMMITMENTS.index(sure), status["err"] is None)

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

    async def send(self, raw: bytes) -> None:
        """Hand a transaction to the cluster, which looks whether it can do it. Raises ``Refused``."""
        await self.ask(
            "sendTransaction", _text(raw), {"encoding": "base64", "preflightCommitment": CONFIRMED}
        )

    async def ask(self, method: str, *parameters: Any) -> Any:
        """One call of a node that was checked. Raises ``OperationalError``; ``Refused`` for its own."""
        if not self._checked:
            await self.check()
        return await self._ask(method, *parameters)

    async def _ask(self, method: str, *parameters: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        most = BLOCK_BYTES_MAX if method == "getBlock" else ANSWER_BYTES_MAX
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self._url, json=body, allow_redirects=False) as answer,
            ):
                data = bytearray()
                async for piece in answer.content.iter_any():
                    data += piece
                    if len(data) > most:
                        break
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = str(error) if isinstance(error, OSError) else ""
            raise OperationalError(
                f"{self._name} at {self._where} does not answer {method} "
                f"({reason or type(error).__name__}): it is asked again"
            ) from None  # the URL in it may have a provider's key
        if len(data) > most:
            raise OperationalError(f"{self._where} answers {method} with too much: ask its provider")
        return await asyncio.to_thread(self._result, method, bytes(data))

    def _result(self, method: str, data: bytes) -> Any:
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise OperationalError(
                f"{self._name} at {self._where} answers {method} without JSON: ask its provider"
            ) from error
        if not isinstance(answer, dict):
            raise OperationalError(f"{self._name} at {self._where} speaks no JSON-RPC: ask its provider")
        if (error_found := answer.get("error")) is not None:
            known = error_found if isinstance(error_found, dict) else {}
            code, told = known.get("code"), str(known.get("message", error_found))[:REASON_CHARACTERS_MAX]
            raise Refused(code if isinstance(code, int) else 0, f"{self._name} refuses {method}: {told}")
        if "result" not in answer:
            raise OperationalError(f"{self._name} at {self._where} speaks no JSON-RPC: ask its provider")
        return answer["result"]


def _account(value: Any) -> Account:
    found = object_of(value)
    data, executable = list_of(found.get("data")), found.get("executable")
    if len(data) != 2 or data[1] != "base64" or not isinstance(executable, bool):
        raise OperationalError("the node's answer has no good account: ask its provider")
    try:
        raw = base64.b64decode(data[0], validate=True)
    except (TypeError, ValueError) as error:
        raise OperationalError(
            "the node's answer has no base64 where bytes stand: ask its provider"
        ) from error
    return Account(u64_of(found.get("lamports")), key_of(found.get("owner")), executable, raw)


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
