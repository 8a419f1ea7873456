"""``BitcoinCore`` behind HTTP, by the names of Core's RPC that the coordinator asks.

It runs in a thread, or as a process that serves a fresh regtest node, whose miner takes what waits
every now and then. ``sendtoaddress`` pays from the miner's own coins; ``generatetodescriptor`` mines.
"""

import argparse
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

from embit.script import address_to_scriptpubkey
from embit.transaction import Transaction

from cli.demo.chains.bitcoin.core import COINBASE_MATURITY, BitcoinCore, stripped, virtual_size
from cli.demo.chains.rpc import ChainRpc, RpcError

SATOSHI = 10**8
PURSE_COINS = 20


def amount(satoshi: int) -> float:
    """Bitcoin as Core writes it; a double has enough digits for all there will be."""
    return satoshi / SATOSHI


class CoreRpc(ChainRpc):
    """One node's calls."""

    def __init__(self, core: BitcoinCore, *, credentials: str = "", port: int = 0) -> None:
        super().__init__(credentials=credentials, port=port)
        self.core = core

    def mine_waiting(self) -> None:
        """A block, if there is something for it."""
        with self.turn:
            if self.core.mempool:
                self.core.mine()

    def told(self, asked: Any) -> tuple[int, dict[str, Any]]:
        """Core answers by JSON-RPC 1.0: always both a result and an error, one of them null."""
        _, answer = super().told(asked)
        result, error = answer.get("result"), answer.get("error")
        return (500 if error else 200), {"result": result, "error": error, "id": asked["id"]}

    def do_getblockchaininfo(self) -> Any:
        core = self.core
        best = core.active[-1]
        return {
            "chain": "regtest",
            "blocks": core.height,
            "bestblockhash": best,
            "initialblockdownload": False,
        }

    def do_getindexinfo(self, name: str = "") -> Any:
        return {"txindex": {"synced": True, "best_block_height": self.core.height}}

    def do_getbestblockhash(self) -> Any:
        return self.core.active[-1]

    def do_getblockcount(self) -> Any:
        return self.core.height

    def do_getblockhash(self, height: int) -> Any:
        if not 0 <= height <= self.core.height:
            raise RpcError(-8, "Block height out of range")
        return self.core.active[height]

    def do_getblockheader(self, block_hash: str) -> Any:
        block = self.core.block(block_hash)
        active = block_hash in self.core.active
        height = self.core.active.index(block_hash) if active else 0
        confirmations = self.core.height - height + 1 if active else -1
        previous = block.previous
        return {
            "hash": block_hash,
            "height": height,
            "confirmations": confirmations,
            "previousblockhash": previous,
        }

    def do_getblock(self, block_hash: str, verbosity: int = 1) -> Any:
        found = self.do_getblockheader(block_hash)
        block = self.core.block(block_hash)
        txs = block.transactions
        if verbosity == 3:
            return {**found, "tx": [self._with_prevouts(tx) for tx in txs]}
        return {**found, "tx": [_told(tx) if verbosity == 2 else tx.txid().hex() for tx in txs]}

    def _with_prevouts(self, tx: Transaction) -> dict[str, Any]:
        told = _told(tx)
        for one in told["vin"]:
            if one["txid"] != bytes(32).hex():  # no coinbase
                made, (_, height) = self.core.transaction(one["txid"]), self.core.mined[one["txid"]]
                output = made.vout[one["vout"]]
                one["prevout"] = {
                    "generated": made.vin[0].txid == bytes(32),
                    "height": height,
                    "value": amount(output.value),
                    "scriptPubKey": {"hex": output.script_pubkey.data.hex()},
                }
        return told

    def do_getrawtransaction(self, txid: str, verbose: bool = False) -> Any:
        tx = self.core.transaction(txid)
        raw = tx.serialize().hex()
        if not verbose:
            return raw
        found = {**_told(tx), "hex": raw}
        if txid in self.core.mined:
            block_hash, height = self.core.mined[txid]
            found |= {"blockhash": block_hash, "confirmations": self.core.height - height + 1}
        return found

    def do_gettxout(self, txid: str, place: int, *include_mempool: bool) -> Any:
        found = self.core.unspent.get((txid, place))
        waiting = self.core.mempool.values() if include_mempool != (False,) else ()
        spent = any((one.txid.hex(), one.vout) == (txid, place) for waits in waiting for one in waits.tx.vin)
        if found is None or spent:
            return None
        confirmations = self.core.height - found.height + 1
        return {
            "bestblock": self.core.active[-1],
            "confirmations": confirmations,
            "value": amount(found.amount),
            "scriptPubKey": {"hex": found.script.hex()},
            "coinbase": found.coinbase,
        }

    def do_scantxoutset(self, action: str, descriptors: list[str]) -> Any:
        scripts = {bytes.fromhex(one.removeprefix("raw(").partition(")")[0]) for one in descriptors}
        unspents = [
            {
                "txid": txid,
                "vout": place,
                "scriptPubKey": one.script.hex(),
                "amount": amount(one.amount),
                "coinbase": one.coinbase,
                "height": one.height,
            }
            for (txid, place), one in self.core.unspent.items()
            if one.script in scripts
        ]
        best = self.core.active[-1]
        return {"success": True, "height": self.core.height, "bestblock": best, "unspents": unspents}

    def do_estimatesmartfee(self, blocks: int) -> Any:
        if not self.core.rate:
            return {"errors": ["Insufficient data or no feerate found"], "blocks": blocks}
        return {"feerate": amount(self.core.rate), "blocks": blocks}

    def do_getmempoolinfo(self) -> Any:
        return {
            "size": len(self.core.mempool),
            "mempoolminfee": amount(1_000),
            "minrelaytxfee": amount(1_000),
        }

    def do_getrawmempool(self) -> Any:
        return list(self.core.mempool)

    def do_sendrawtransaction(self, raw: str) -> Any:
        return self.core.accept(bytes.fromhex(raw))

    def do_testmempoolaccept(self, raws: list[str]) -> Any:
        found = []
        for raw in raws:
            try:
                judged, _ = self.core.judge(bytes.fromhex(raw))
                found.append({"allowed": True, "vsize": judged.vsize, "fees": {"base": amount(judged.fee)}})
            except RpcError as error:
                found.append({"allowed": False, "reject-reason": str(error)})
        return found

    def do_sendtoaddress(self, address: str, whole: Any) -> Any:
        try:
            script = address_to_scriptpubkey(address).data
        except Exception as error:  # embit's own, of many kinds
            raise RpcError(-5, f"Invalid address: {address}") from error
        return self.core.pay(script, int(Decimal(str(whole)) * SATOSHI))

    def do_generatetodescriptor(self, count: int, descriptor: str) -> Any:
        return self.core.mine(count, bytes.fromhex(descriptor.removeprefix("raw(").partition(")")[0]))


def _told(tx: Transaction) -> dict[str, Any]:
    raw = tx.serialize()
    return {
        "txid": tx.txid().hex(),
        "size": len(raw),
        "vsize": virtual_size(raw, tx),
        "weight": 3 * len(stripped(tx)) + len(raw),
        "vin": [{"txid": one.txid.hex(), "vout": one.vout} for one in tx.vin],
        "vout": [
            {"n": place, "value": amount(one.value), "scriptPubKey": {"hex": one.script_pubkey.data.hex()}}
            for place, one in enumerate(tx.vout)
        ],
    }


def main() -> None:
    """A node with a filled purse, until the process is ended."""
    parser = argparse.ArgumentParser(description="a regtest node of Bitcoin for demos, on this machine alone")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True, help="where it keeps its blocks while it runs")
    parser.add_argument("--block-ms", type=int, default=300, help="how often it mines what waits")
    arguments = parser.parse_args()
    core = BitcoinCore(Path(tempfile.mkdtemp(dir=arguments.dir)))
    core.mine(PURSE_COINS + COINBASE_MATURITY)
    CoreRpc(core, port=arguments.port).serve(arguments.block_ms)


if __name__ == "__main__":
    main()
