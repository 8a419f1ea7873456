"""A Bitcoin Core node without a wallet, over its JSON-RPC. It needs ``txindex=1``.

The node is not trusted with anything but the coordinator's convenience: signer nodes decode the bytes that
they sign, and amounts that it lies about give signatures that are worth nothing, or none.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp

from custody.chains.agreement import check_far
from custody.chains.answers import MIB, SMALL, Room
from custody.chains.bitcoin.transaction import Coin, outpoint
from custody.chains.rpc import NodeRpc, Refused
from custody.chains.showing import shown
from policy.decode.psbt import MONEY_MAX, Output
from policy.errors import OperationalError

NETWORKS = {
    "bitcoin:mainnet": ("main",),
    "bitcoin:testnet": ("test", "testnet4"),
    "bitcoin:signet": ("signet",),
    "bitcoin:regtest": ("regtest",),
}
SATOSHI = 10**8
NOT_FOUND, ALREADY_MINED = -5, -27
ROOM = {
    "getblock": Room(128 * MIB, 384 * MIB),
    "scantxoutset": Room(64 * MIB, 384 * MIB),
    "getrawtransaction": Room(16 * MIB, 128 * MIB),
}
"""A block's JSON has some tens of MiB at worst, and takes 260 as objects; a transaction's hex has 8; a scan's
has 400 bytes a coin, and takes 3500: it may find 110,000.
"""
ID = re.compile(r"[0-9a-f]{64}")
SCAN_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Block:
    """A block; ``previous`` is empty for the first one."""

    hash: str
    previous: str
    height: int
    transactions: list[dict[str, Any]]


class BitcoinRpc(NodeRpc):
    """The calls made of a node; ``credentials`` is a file with ``user:password``, such as its cookie."""

    version, rooms, usual = "1.0", ROOM, SMALL

    def __init__(
        self, name: str, url: str, *, credentials: Path | None = None, timeout_s: float = 30.0
    ) -> None:
        super().__init__(name, url, timeout_s=timeout_s)
        self._credentials = credentials

    async def check(self) -> None:
        """That the node is on the configured network, has caught up, and finds any transaction."""
        info = await self._ask("getblockchaininfo")
        if _field(info, "chain", str) not in NETWORKS[self._name]:
            raise OperationalError(
                f"{self._where} is on {info['chain'][:64]!r}, not {self._name}: correct its URL"
            )
        if _field(info, "initialblockdownload", bool) and self._name != "bitcoin:regtest":
            raise OperationalError(f"the node of {self._name} has not caught up with its network: wait")
        index = _object(await self._ask("getindexinfo", "txindex")).get("txindex")
        if not (isinstance(index, dict) and index.get("synced") is True):
            raise OperationalError(f"the node of {self._name} lacks a whole txindex: set txindex=1, or wait")
        self._checked = True

    async def best(self) -> str:
        """The hash of the newest block."""
        return _id(await self.ask("getbestblockhash"))

    async def block(self, block_hash: str, *, prevouts: bool = False) -> Block:
        """A block with its transactions; with ``prevouts`` also with what they spend."""
        found = await self._block("getblock", block_hash, 3 if prevouts else 2)
        return Block(block_hash, _previous(found), _field(found, "height", int), _list(found, "tx"))

    async def header(self, block_hash: str) -> tuple[str, int]:
        """The hash of the block before one, empty for the first, and its own height."""
        found = await self._block("getblockheader", block_hash)
        return _previous(found), _field(found, "height", int)

    async def _block(self, method: str, block_hash: str, *parameters: Any) -> dict[str, Any]:
        found = _object(await self.ask(method, block_hash, *parameters))
        if _id(found.get("hash")) != block_hash:
            raise OperationalError(f"the node of {self._name} gives another block: ask its provider")
        return found

    async def scan(self, scripts: Iterable[bytes]) -> tuple[str, list[Coin]]:
        """All unspent outputs under ``scripts``, as of a block. It takes minutes on a large network."""
        wanted = [f"raw({script.hex()})" for script in scripts]
        found = _object(await self.ask("scantxoutset", "start", wanted, timeout_s=SCAN_TIMEOUT_S))
        if found.get("success") is not True or "unspents" not in found:
            raise OperationalError(f"the node of {self._name} ended its scan early: it is done again")
        return _id(found.get("bestblock")), [_unspent(one) for one in _list(found, "unspents")]

    async def raw(self, txid: str) -> bytes:
        """A transaction's bytes."""
        return _bytes(await self.ask("getrawtransaction", txid, False))

    async def mined(self, txid: str) -> tuple[int, int] | None:
        """The height of a transaction's block, and its confirmations; None while no block has it."""
        try:
            block_hash = await self._block_of(txid)
            header = _object(await self.ask("getblockheader", block_hash)) if block_hash else {}
        except Refused as error:
            if error.code == NOT_FOUND:
                return None
            raise
        return (_field(header, "height", int), _depth(header)) if _depth(header) >= 1 else None

    async def is_gone(self, txid: str, *, block: int) -> bool:
        """Whether the node has come to the height ``block`` and has no block with a transaction."""
        if await self.mined(txid) is not None:
            return False
        _, height = await self.header(await self.best())
        check_far(height, block)
        return True

    async def _block_of(self, txid: str) -> str:
        """The hash of a transaction's block; empty while it has none."""
        found = _object(await self.ask("getrawtransaction", txid, True))
        if not found.get("blockhash") or _depth(found) < 1 or _id(found.get("txid")) != txid:
            return ""
        return _id(found["blockhash"])

    async def confirmations(self, block_hash: str) -> int:
        """How deep a block is in the active chain, from 1 on; -1 where it is not in it."""
        return _depth(_object(await self.ask("getblockheader", block_hash)))

    async def is_unspent(self, text: str) -> bool:
        """Whether neither a block nor the mempool spends an outpoint."""
        txid, _, place = text.partition(":")
        return await self.ask("gettxout", txid, int(place), True) is not None

    async def rate(self, blocks: int) -> int:
        """What the node thinks gets a transaction into so many blocks; satoshi a 1000 virtual bytes."""
        found = _object(await self.ask("estimatesmartfee", blocks))
        least = satoshi(_object(await self.ask("getmempoolinfo")).get("mempoolminfee"))
        return max(satoshi(found["feerate"]) if "feerate" in found else 0, least)

    async def send(self, raw: bytes) -> None:
        """Hand a transaction to the network; mined bytes are no error. Raises ``Refused``."""
        try:
            await self.ask("sendrawtransaction", raw.hex())
        except Refused as error:
            if error.code != ALREADY_MINED:
                raise

    def _headers(self) -> dict[str, str]:
        if self._credentials is None:
            return {}
        try:
            user, _, password = self._credentials.read_text().strip().partition(":")
        except (OSError, UnicodeDecodeError) as error:
            raise OperationalError(f"cannot read {self._credentials}: {error}; correct it") from error
        return {"Authorization": aiohttp.encode_basic_auth(user, password)}


def satoshi(value: Any) -> int:
    """An amount of bitcoin, as JSON has it, in satoshi. Raises ``OperationalError``."""
    try:
        amount = Decimal(value) * SATOSHI if isinstance(value, int | Decimal) else Decimal(-1)
    except ArithmeticError:
        amount = Decimal(-1)
    if not 0 <= amount <= MONEY_MAX or amount != int(amount):
        raise OperationalError(f"{shown(value, 40)} is no amount of bitcoin: ask the node's provider")
    return int(amount)


def made_in(block: Block, scripts: frozenset[bytes]) -> tuple[list[Coin], set[bytes]]:
    """What a block made under ``scripts``, and all outpoints that it spent."""
    made, spent = [], set()
    for index, tx in enumerate(block.transactions):
        txid = _id(tx.get("txid"))
        for one in _list(tx, "vout"):
            script = _bytes(_object(one.get("scriptPubKey")).get("hex"))
            if script in scripts:
                output = Output(satoshi(one.get("value")), script)
                made.append(Coin(outpoint(txid, _field(one, "n", int)), output, block.height, index == 0))
        for one in _list(tx, "vin") if index else ():
            spent.add(outpoint(_id(one.get("txid")), _field(one, "vout", int)))
    return made, spent


def spent_in(block: Block, scripts: frozenset[bytes]) -> list[Coin]:
    """What a block, read with ``prevouts``, spent under ``scripts``."""
    found = []
    for tx in block.transactions[1:]:
        for one in _list(tx, "vin"):
            before = _object(one.get("prevout"))
            script = _bytes(_object(before.get("scriptPubKey")).get("hex"))
            if script in scripts:
                place = outpoint(_id(one.get("txid")), _field(one, "vout", int))
                output = Output(satoshi(before.get("value")), script)
                height, generated = _field(before, "height", int), _field(before, "generated", bool)
                found.append(Coin(place, output, height, generated))
    return found


def _unspent(one: dict[str, Any]) -> Coin:
    output = Output(satoshi(one.get("amount")), _bytes(one.get("scriptPubKey")))
    place = outpoint(_id(one.get("txid")), _field(one, "vout", int))
    return Coin(place, output, _field(one, "height", int), one.get("coinbase") is not False)


def _field(value: Any, name: str, kind: type) -> Any:
    found = _object(value).get(name)
    if type(found) is not kind or (isinstance(found, int) and not 0 <= found < 2**32):
        raise OperationalError(f"the node's answer has no good {name!r}: ask its provider")
    return found


def _previous(found: dict[str, Any]) -> str:
    return _id(found["previousblockhash"]) if "previousblockhash" in found else ""


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise OperationalError("the node's answer is no object: ask its provider")
    return value


def _depth(value: dict[str, Any]) -> int:
    """How many confirmations; none, or a negative number, for what no block of the active chain has."""
    found = value.get("confirmations", 0)
    if type(found) is not int or abs(found) >= 2**32:
        raise OperationalError("the node's answer has no good 'confirmations': ask its provider")
    return found


def _list(value: Any, name: str) -> list[dict[str, Any]]:
    found = _object(value).get(name)
    if not isinstance(found, list):
        raise OperationalError(f"the node's answer has no list {name!r}: ask its provider")
    return [_object(one) for one in found]


def _id(value: Any) -> str:
    if not isinstance(value, str) or not ID.fullmatch(value):
        raise OperationalError(f"{shown(value, 80)} is no hash: ask the node's provider")
    return value


def _bytes(value: Any) -> bytes:
    try:
        return bytes.fromhex(value)
    except (TypeError, ValueError) as error:
        raise OperationalError("the node's answer has no hex where bytes stand: ask its provider") from error
