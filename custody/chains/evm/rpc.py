"""An EVM chain over JSON-RPC. Whatever an endpoint answers, it is understood or an ``OperationalError``.

The chain is not trusted with anything but the coordinator's convenience: nodes decode the bytes they
sign themselves. A fee that does not fit into the request's ceiling is an error that says by how much.
"""

import asyncio
import re
import time
from collections.abc import Awaitable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp

from custody.chains.agreement import Impossible, check_far
from custody.chains.answers import MIB, SMALL, Answers, Room
from custody.chains.evm.endpoint import Fees
from custody.chains.evm.finding import sent_at
from custody.chains.evm.simulation import (
    BALANCE_OF,
    METHOD_UNKNOWN,
    NO_FUNDS,
    REASON_CHARACTERS_MAX,
    Watched,
    read_simulation,
    revert_reason,
    simulation,
    transaction_call,
)
from custody.chains.evm.transaction import transaction_hash
from custody.chains.showing import shown, words
from custody.ports import BalanceChange, Landed, Receipt, Simulated
from policy.bip32 import checksum_address
from policy.encoding import INTEGER_MAX
from policy.errors import MalformedError, OperationalError
from policy.ids import evm_chain_id
from policy.intent import Intent, transfer_calldata

LARGE = Room(16 * MIB, 128 * MIB)
"""For what the size of a block or of a transaction decides; all else is small."""
LARGE_METHODS = (
    "eth_getBlockByNumber",
    "eth_getLogs",
    "eth_getTransactionByHash",
    "eth_getTransactionReceipt",
    "eth_simulateV1",
)
BLOCKS, BLOCK_TIMEOUT_S = Room(128 * MIB, 512 * MIB), 30.0
"""For who reads blocks: one that nobody can read, of whoever fills it, would end the watch of its chain."""
GAS_NATIVE = 21_000
PRICES_KEPT_S = 1.0
GAS_TOKEN_MAX = 200_000
GAS_TOKEN_FALLBACK = 100_000
GAS_CALL_MAX = 5_000_000
WORDS_READ_MAX = 4096
KEPT_IDLE_S = 5.0
QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
HEX = re.compile(r"0x([0-9a-fA-F]{2})*")
KNOWN_ALREADY = ("already known", "already imported", "known transaction", "already exists")
NONCE_USED = ("nonce too low", "nonce is too low", "old nonce")
T = TypeVar("T")


class EvmRpc:
    """Implements ``EvmEndpoint`` for one JSON-RPC endpoint.

    Balances and nonces are as of ``block``; confirmations are counted from ``head``: ``latest``, or what the
    chain itself holds to be ``safe`` or ``finalized`` (there a transaction not yet so has none).
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        timeout_s: float = 10.0,
        block: str = "latest",
        head: str = "latest",
        large: Room = LARGE,
    ) -> None:
        self._block: Any = block
        self._head: Any = head
        self._name = name
        self._url = url
        self._where = urlsplit(url).netloc.rpartition("@")[2]
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._large, self._answers = large, Answers()
        self._checked = False
        self._market: tuple[float, int, int] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._last_call = 0

    @property
    def name(self) -> str:
        """The chain as documents call it."""
        return self._name

    async def close(self) -> None:
        """Close the connections to the endpoint."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def check(self) -> None:
        """Compare the endpoint's chain id with the configured one; also done before anything is built."""
        found = await self._number("chain id", "eth_chainId")
        if found != evm_chain_id(self._name):
            raise OperationalError(f"{self._where} is chain {found}, not {self._name}: correct its URL")
        self._checked = True

    async def account_nonce(self, account: str) -> int:
        """How many transactions of the account are mined."""
        if not self._checked:
            await self.check()
        told = await self._result("nonce", "eth_getTransactionCount", _checksum(account), self._block)
        return self._count("nonce", told)

    async def balance(self, account: str, contract: str | None = None) -> int:
        """The account's balance of the native asset or of a token."""
        address = _checksum(account)
        if contract is None:
            return await self._number("balance", "eth_getBalance", address, self._block)
        data = BALANCE_OF + bytes(12) + bytes.fromhex(account[2:])
        call = {"to": _checksum(contract), "data": "0x" + data.hex()}
        answer = await self._result("token balance", "eth_call", call, self._block)
        if not isinstance(answer, str) or not HEX.fullmatch(answer):
            raise self._nonsense("token balance", answer)
        return int.from_bytes(bytes.fromhex(answer[2:])[:32], "big")

    async def fees(self, intent: Intent, *, account: str, contract: str | None, ceiling: int) -> Fees:
        """Fees for a transfer: twice the base fee and the suggested tip, cut to the ceiling."""
        gas = GAS_NATIVE
        if intent.calldata is not None:
            gas = await self._call_gas(intent, account)
        elif contract is not None:
            gas = await self._token_gas(intent, account, contract)
        return await self._within(ceiling, gas)

    async def cancel_fees(self, ceiling: int) -> Fees:
        """Fees for an empty transaction to the account itself."""
        return await self._within(ceiling, GAS_NATIVE)

    async def broadcast(self, raw: bytes) -> None:
        """Hand a signed transaction over; the same bytes again, or mined bytes, are no error."""
        tx_hash = transaction_hash(raw)
        answer = await self._request("broadcast", "eth_sendRawTransaction", [f"0x{raw.hex()}"])
        error = answer.get("error")
        if not error:
            return
        text = words(error.get("message"), WORDS_READ_MAX).lower()
        if any(one in text for one in KNOWN_ALREADY):
            return
        if any(one in text for one in NONCE_USED) and await self.receipt(tx_hash) is not None:
            return
        raise OperationalError(
            f"{self._name} refuses 0x{tx_hash.hex()}: {text[:REASON_CHARACTERS_MAX]}; fund the account or "
            "look up its nonce"
        )

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        """What became of a transaction; None while it is not mined."""
        mined = await self._mined(tx_hash)
        if mined is None:
            return None
        newest = await self.head()
        return Receipt(tx_hash, *mined, max(int(self._head == "latest"), newest - mined[0] + 1))

    async def is_gone(self, tx_hash: bytes, *, block: int) -> bool:
        """Whether the endpoint has come to ``block`` and has no such transaction."""
        if await self._mined(tx_hash) is not None:
            return False
        check_far(await self.head(), block)
        return True

    async def _mined(self, tx_hash: bytes) -> tuple[int, bool] | None:
        receipt = await self._object("receipt", "eth_getTransactionReceipt", f"0x{tx_hash.hex()}")
        if receipt.get("blockNumber") is None:
            return None
        block = self._count("receipt", receipt.get("blockNumber"))
        return block, self._quantity("receipt", receipt.get("status")) == 1

    async def sent_at(self, account: str, nonce: int) -> Landed | None:
        """The account's transaction with this nonce, looked for block by block; None while none is mined."""
        return await sent_at(self, account, nonce=nonce)

    async def head(self) -> int:
        """The height of the newest block that counts."""
        if self._head == "latest":
            return self._count("block number", await self._result("block number", "eth_blockNumber"))
        head = await self._object(f"{self._head} block", "eth_getBlockByNumber", self._head, False)
        return self._count(f"{self._head} block", head.get("number"))

    async def ask(self, what: str, method: str, *parameters: Any) -> Any:
        """One call of an endpoint that was checked, for who understands the answer."""
        if not self._checked:
            await self.check()
        return await self._result(what, method, *parameters)

    async def simulate(self, tx: bytes, *, account: str, watched: Watched) -> Simulated:
        """What the endpoint says would come of an unsigned transaction; less where it cannot simulate."""
        block = await self._number("block number", "eth_blockNumber")
        asked = simulation(tx, account=account, watched=watched)
        answer = await self._request("simulation", "eth_simulateV1", [asked, hex(block)])
        error = answer.get("error") or {}
        try:
            if error.get("code") == METHOD_UNKNOWN:
                called = [transaction_call(tx, account), hex(block)]
                error = (await self._request("simulation", "eth_call", called)).get("error")
            elif not error:
                return read_simulation(answer.get("result"), watched, block=block)
            reason = _refusal(error) if error else ""
        except MalformedError as wrong:
            raise OperationalError(f"{self._name} gives no simulation: {wrong}; ask its provider") from wrong
        changes = [BalanceChange(*one, await self.balance(*one), None) for one in watched]
        return Simulated(block, not reason, reason, tuple(changes))

    async def _request(self, what: str, method: str, parameters: Any) -> dict[str, Any]:
        """A call whose refusal is an answer, too."""
        answer = await self._ask(what, self._post(method, parameters))
        if not isinstance(answer, dict) or not isinstance(answer.get("error") or {}, dict):
            raise OperationalError(f"{self._name} gives no {what}: it speaks no JSON-RPC; ask its provider")
        return answer

    async def _post(self, method: str, parameters: Any) -> Any:
        self._last_call += 1
        call = {"jsonrpc": "2.0", "id": self._last_call, "method": method, "params": parameters}
        asking = self._kept_session().post(self._url, json=call, allow_redirects=False)
        async with asking as response:
            room = self._large if method in LARGE_METHODS else SMALL
            return await self._answers.read(response.content, room)

    async def _result(self, what: str, method: str, *parameters: Any) -> Any:
        answer = await self._request(what, method, list(parameters))
        if error := answer.get("error"):
            raise OperationalError(
                f"{self._name} gives no {what}: {words(error.get('message'), REASON_CHARACTERS_MAX)}; ask "
                "its provider"
            )
        return answer.get("result")

    async def _object(self, what: str, method: str, *parameters: Any) -> dict[str, Any]:
        """An object of the chain; an empty one for what it does not have."""
        found = await self._result(what, method, *parameters)
        if not isinstance(found, dict | None):
            raise self._nonsense(what, found)
        return found or {}

    async def _number(self, what: str, method: str, *parameters: Any) -> int:
        return self._quantity(what, await self._result(what, method, *parameters))

    def _quantity(self, what: str, found: Any) -> int:
        if not isinstance(found, str) or not QUANTITY.fullmatch(found):
            raise self._nonsense(what, found)
        return int(found, 16)

    def _count(self, what: str, found: Any) -> int:
        """A block's number, or how many transactions there are: it stands in documents, tables, transactions.

        No chain counts so far that none of these could hold it, or what is counted next.
        """
        count = self._quantity(what, found)
        if count > INTEGER_MAX:
            raise self._nonsense(what, found)
        return count

    def _nonsense(self, what: str, found: Any) -> OperationalError:
        return OperationalError(f"{self._name} gives no {what}: not {shown(found, 66)}; ask its provider")

    def _kept_session(self) -> aiohttp.ClientSession:
        """One whose connections serve many calls."""
        if self._session is None:
            kept = aiohttp.TCPConnector(keepalive_timeout=KEPT_IDLE_S)
            self._session = aiohttp.ClientSession(
                raise_for_status=True,
                connector=kept,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),  # others keep all that an endpoint sets, without end
            )
        return self._session

    async def _token_gas(self, intent: Intent, account: str, contract: str) -> int:
        """The estimate and a third more; a fixed bound while the transfer would fail now."""
        data = "0x" + transfer_calldata(intent.destination, intent.amount).hex()
        call = {"from": _checksum(account), "to": _checksum(contract), "data": data}
        estimate = await self._estimate(call)
        return GAS_TOKEN_FALLBACK if estimate is None else _gas(estimate, GAS_TOKEN_MAX)

    async def _call_gas(self, intent: Intent, account: str) -> int:
        """The estimate and a third more. Raises ``OperationalError`` while the call would fail."""
        call = {
            "from": _checksum(account),
            "to": _checksum(intent.destination),
            "value": hex(intent.amount),
            "data": "0x" + (intent.calldata or b"").hex(),
        }
        estimate = await self._estimate(call)
        if estimate is None:
            raise Impossible(f"the call of {intent.destination} would fail now: it is tried again")
        return _gas(estimate, GAS_CALL_MAX)

    async def _estimate(self, call: Any) -> int | None:
        """The gas a transaction takes; None while it would fail."""
        answer = await self._request("gas estimate", "eth_estimateGas", [call])
        return None if answer.get("error") else self._quantity("gas estimate", answer.get("result"))

    async def _within(self, ceiling: int, gas: int) -> Fees:
        base, tip = await self._prices()
        affordable = ceiling // gas
        if affordable < base + 1:
            raise Impossible(
                f"the fee ceiling {ceiling} allows {affordable} a gas for {gas} gas, but the base fee of "
                f"{self._name} is {base}: wait, or ask anew with a ceiling of {2 * base * gas}"
            )
        fee = min(2 * base + tip, affordable)
        return Fees(fee_per_gas=fee, priority_per_gas=min(tip, fee), gas=gas)

    async def _prices(self) -> tuple[int, int]:
        """The base fee and the suggested tip, as of the last second."""
        now = time.monotonic()
        if self._market is None or now - self._market[0] > PRICES_KEPT_S:
            block, tip = await asyncio.gather(
                self._object("base fee", "eth_getBlockByNumber", "latest", False),
                self._number("priority fee", "eth_maxPriorityFeePerGas"),
            )
            self._market = (now, self._quantity("base fee", block.get("baseFeePerGas", "0x0")), tip)
        return self._market[1], self._market[2]

    async def _ask(self, what: str, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(what, error) from None
        except ValueError as error:
            raise OperationalError(f"{self._name} gives no {what}: {error}; ask its provider") from error

    def _unreachable(self, what: str, error: Exception) -> OperationalError:
        """Without the path of the URL: providers put their customers' keys there."""
        if isinstance(error, aiohttp.ClientResponseError):
            reason = f"HTTP {error.status} {error.message}"
        else:
            reason = str(error) or type(error).__name__
        return OperationalError(
            f"{self._name} at {self._where} gives no {what} "
            f"({words(reason, REASON_CHARACTERS_MAX)}): it is asked again"
        )


def _refusal(error: dict[str, Any]) -> str:
    """Why, by the endpoint, a transaction would fail. Raises ``MalformedError`` for trouble of its own."""
    message, data = words(error.get("message", ""), WORDS_READ_MAX), error.get("data")
    if isinstance(data, str) and HEX.fullmatch(data):
        return revert_reason(bytes.fromhex(data[2:]), message)
    if NO_FUNDS in message.lower() or "revert" in message.lower():
        return message[:REASON_CHARACTERS_MAX]
    raise MalformedError(message[:REASON_CHARACTERS_MAX] or "an error without words")


def _gas(estimate: int, most: int) -> int:
    """A third more than an estimate; no transaction takes less than a plain one."""
    return max(GAS_NATIVE, min(estimate * 4 // 3, most))


def _checksum(address: str) -> Any:
    return checksum_address(address)
