"""Bitcoin as ``custody.ports.Chain``: places are coins of the wallet, the first one spent is the anchor.

A plan takes its coins at once, and the request keeps them until its anchor is spent: another request gets
others. Only coins that a block has are spent, so that nothing of ours hangs on one that may go away.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from custody.candidates import Folded
from custody.chains.bitcoin.coins import Coins
from custody.chains.bitcoin.rpc import ALREADY_MINED, BitcoinRpc, Refused
from custody.chains.bitcoin.spending import Need, least_more, spend
from custody.chains.bitcoin.transaction import (
    Coin,
    dust,
    read,
    script_of,
    unsigned,
    virtual_size,
    without_witnesses,
)
from custody.ports import Held, Planned, Receipt, Simulated, Wanted
from policy.approval import Slot
from policy.decode.psbt import PSBT_BYTES_MAX, Input, Output, Transaction
from policy.errors import OperationalError
from policy.state import CANCEL, PAYMENT, Job, State


@dataclass(frozen=True, slots=True)
class Rates:
    """For how many blocks a fee is estimated, what it may be at most (satoshi a virtual byte), and how many
    coins a transaction spends at most.
    """

    blocks: int = 3
    most: int = 200
    coins_max: int = 16


class BitcoinChain:
    """Implements ``custody.ports.Chain`` over a node of Bitcoin Core."""

    def __init__(self, rpc: BitcoinRpc, rates: Rates) -> None:
        self._rpc = rpc
        self._rates = rates
        self._coins = Coins(rpc)
        self._held: dict[bytes, tuple[bytes, ...]] = {}
        self._ours: frozenset[bytes] = frozenset()
        self._owned: object = None

    @property
    def name(self) -> str:
        """The chain as documents call it."""
        return self._rpc.name

    @property
    def places_hold_money(self) -> bool:
        """A coin that a dead request keeps is one less to pay with."""
        return True

    async def check(self) -> None:
        """Compare the node's network with the configured one."""
        await self._rpc.check()

    def load(self, held: Iterable[Held], state: State) -> None:
        """Take up what open requests spend, and what is planned."""
        for one in held:
            self._hold(one.request, _places(one.tx))
        for slot in state.anchors:
            request = state.requests[state.anchors[slot]]
            if slot.chain == self.name and not request.closed:
                for job in request.jobs:
                    self._hold(request.request_id, _places(state.jobs[job].tx))
        self._learn(state)

    def written(self, folded: Folded) -> None:
        """An entry is durable: a reservation holds its coins, a settled request gives them back."""
        outcome, state = folded.outcome, folded.state
        self._learn(state)
        if not outcome.accepted:
            return
        if outcome.kind == "reserve" and (job := state.jobs[outcome.subject]).anchor.chain == self.name:
            self._hold(job.request_id, _places(job.tx))
        elif outcome.kind == "observation" and outcome.subject in self._held:
            self.release(outcome.subject)

    def release(self, request: bytes) -> None:
        """Give back the coins of a request."""
        self._held.pop(request, None)

    async def prepare(self, account: str) -> None:
        """Nothing is needed: coins are chosen by the plan."""

    def placed(self, before: State, tx: bytes, *, account: str, nonce: int | None) -> bytes:
        """The bytes as they were planned: their coins are held."""
        return tx

    async def plan(self, wanted: Wanted, state: Callable[[], State]) -> Planned:
        """Choose coins and build the PSBT. Who has planned before keeps its anchor."""
        seen, rate = await self._coins.of(self._scripts(wanted)), await self._rate()
        need = self._need(wanted, rate=rate)
        before, known = self._held.get(wanted.request), state().requests.get(wanted.request)
        anchored = known is not None and known.anchor is not None
        kept = self._kept(before, seen.coins, anchored=anchored)
        try:
            coins, tx = await self._build(
                wanted.request, need, self._free(wanted.request, seen.coins), kept=kept
            )
        except BaseException:
            self._put_back(wanted.request, before)
            raise
        if not anchored:  # nothing names what was planned before
            self._held[wanted.request] = tuple(coin.outpoint for coin in coins)
        path = next(
            one.path for one in wanted.accounts if self._script(one.address) == coins[0].output.script
        )
        return Planned(coins[0].text, path, tx, Slot(self.name, coins[0].text, 0))

    async def cancellation(self, slot: Slot, tx: bytes, *, ceiling: int) -> bytes:
        """The anchor back to its own address."""
        return _back(read(tx), ceiling, rate=await self._rate())

    def can_be_dearer(self, tx: bytes, *, purpose: str, ceiling: int) -> bool:
        """Whether the ceiling allows what nodes ask on top of the fee that is replaced."""
        old = read(tx)
        if purpose == CANCEL:
            size = _size(old.inputs[:1], [old.inputs[0].spent.script])
        else:
            size = _size(old.inputs, [one.script for one in old.outputs])
        return old.fee + least_more(size) <= ceiling

    async def dearer(self, job: Job, wanted: Wanted | None, *, ceiling: int) -> bytes | None:
        """The payment from the same anchor for a quarter more at least, or the anchor back to its address."""
        if not self.can_be_dearer(job.tx, purpose=CANCEL if wanted is None else PAYMENT, ceiling=ceiling):
            return None
        old = read(job.tx)
        size = _size(old.inputs, [one.script for one in old.outputs])
        rate = max(await self._rate(), -(-old.fee * 1250 // size))
        if wanted is None:
            return _back(old, ceiling, rate=rate, fee_min=old.fee)
        seen = await self._coins.of(self._scripts(wanted))
        kept = self._kept(tuple(one.outpoint for one in old.inputs), seen.coins, anchored=True)
        need = self._need(wanted, rate=rate, fee_min=old.fee)
        free = self._free(job.request_id, seen.coins)
        _, tx = await self._build(job.request_id, need, free, kept=[*kept[:1], *_others(old, seen.coins)])
        new = read(tx)
        dearer = new.fee * size > old.fee * _size(new.inputs, [one.script for one in new.outputs])
        return tx if dearer else None

    async def balance(self, account: str, contract: str | None = None) -> int:
        """What blocks have left under an address of a wallet."""
        script = script_of(self.name, account)
        seen = await self._coins.of(self._ours | {script})
        return sum(coin.amount for coin in seen.coins.values() if coin.output.script == script)

    async def simulate(
        self, tx: bytes, *, account: str, watched: Sequence[tuple[str, str | None]]
    ) -> Simulated:
        """Whether all that is spent is there; balances of others nobody keeps."""
        found = read(tx)
        seen = await self._coins.of(self._ours)
        gone = [
            one.outpoint_text for one in found.inputs if not await self._rpc.is_unspent(one.outpoint_text)
        ]
        return Simulated(seen.height, not gone, f"{gone[0]} is spent already" if gone else "", ())

    async def broadcast(self, raw: bytes) -> None:
        """Hand a signed transaction over; the same bytes again, or mined bytes, are no error."""
        try:
            await self._rpc.send(raw)
        except Refused as error:
            if error.code == ALREADY_MINED:
                return
            raise OperationalError(f"{error}; look up its inputs and its fee") from error

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        """The block of a transaction; None while it is not mined."""
        found = await self._rpc.mined(tx_hash.hex())
        return None if found is None else Receipt(tx_hash, found[0], True, found[1])

    def _learn(self, state: State) -> None:
        """The scripts of all accounts, when the policy or a key is new."""
        if state.owned is self._owned:
            return
        self._owned = state.owned
        self._ours = frozenset(
            script_of(self.name, address) for chain, address in state.owned if chain == self.name
        )

    def _hold(self, request: bytes, places: Iterable[bytes]) -> None:
        """Keep coins for a request; the first one ever held stays the first."""
        self._held[request] = tuple(dict.fromkeys((*self._held.get(request, ()), *places)))

    def _put_back(self, request: bytes, before: tuple[bytes, ...] | None) -> None:
        if before is None:
            self.release(request)
        else:
            self._held[request] = before

    def _kept(
        self, held: tuple[bytes, ...] | None, coins: dict[bytes, Coin], *, anchored: bool
    ) -> list[Coin]:
        """The anchor of a request that has one. Raises ``OperationalError`` when the chain has it no more."""
        if held and held[0] in coins:
            return [coins[held[0]]]
        if held and anchored:
            raise OperationalError(
                f"the coin {held[0][31::-1].hex()} is not there to be spent: it is looked for"
            )
        return []

    def _free(self, request: bytes, coins: dict[bytes, Coin]) -> list[Coin]:
        """What no other request spends."""
        others = {place for holder, held in self._held.items() if holder != request for place in held}
        return [coin for place, coin in coins.items() if place not in others]

    async def _build(
        self, request: bytes, need: Need, free: list[Coin], *, kept: Sequence[Coin]
    ) -> tuple[tuple[Coin, ...], bytes]:
        """Coins, held from now on, and the PSBT that spends them, with the proofs that nodes ask for."""
        while True:
            spending = spend(need, free, kept=kept)
            self._hold(request, [coin.outpoint for coin in spending.coins])
            proofs = await self._proofs(spending.coins)
            tx = unsigned(spending.coins, spending.outputs, proofs=proofs)
            if len(tx) <= PSBT_BYTES_MAX:
                return spending.coins, tx
            places = [place for place in proofs if place not in {coin.outpoint for coin in kept}]
            if not places:
                raise OperationalError("its coins come from transactions too large to be shown to nodes")
            largest = max(places, key=lambda place: len(proofs[place]))
            free = [coin for coin in free if coin.outpoint != largest]

    async def _proofs(self, coins: Sequence[Coin]) -> dict[bytes, bytes]:
        """The transactions that made coins whose hash leaves others' amounts open."""
        if len(coins) == 1 or not coins[0].needs_proof:
            return {}
        return {coin.outpoint: without_witnesses(await self._rpc.raw(coin.txid)) for coin in coins}

    def _need(self, wanted: Wanted, *, rate: int, fee_min: int = 0) -> Need:
        intent = wanted.intent
        return Need(
            paid=Output(intent.amount, self._script(intent.destination)),
            change=self._script(wanted.accounts[0].address),
            rate=rate,
            ceiling=wanted.fee_ceiling,
            coins_max=min(self._rates.coins_max, wanted.signatures_max),
            fee_min=fee_min,
        )

    async def _rate(self) -> int:
        """The node's estimate, within what is configured."""
        return min(await self._rpc.rate(self._rates.blocks), self._rates.most * 1000)

    def _scripts(self, wanted: Wanted) -> frozenset[bytes]:
        return frozenset(self._script(one.address) for one in wanted.accounts)

    def _script(self, address: str) -> bytes:
        return script_of(self.name, address)


def _places(tx: bytes) -> list[bytes]:
    return [one.outpoint for one in read(tx).inputs]


def _others(old: Transaction, coins: dict[bytes, Coin]) -> list[Coin]:
    """What a transaction spends beside its anchor and is still there."""
    return [coins[one.outpoint] for one in old.inputs[1:] if one.outpoint in coins]


def _back(old: Transaction, ceiling: int, *, rate: int, fee_min: int = 0) -> bytes:
    """The anchor of ``old`` to its own address. Raises ``OperationalError`` where that costs too much."""
    (anchor, *_), script = old.inputs, old.inputs[0].spent.script
    size = _size([anchor], [script])
    least = fee_min + least_more(size)
    fee = min(max(-(-rate * size // 1000), least), ceiling)
    left = anchor.spent.amount - fee
    if fee < least or left < dust(script):
        raise OperationalError(
            f"freeing {anchor.outpoint_text} takes {max(fee, least)} satoshi of {anchor.spent.amount}, and "
            f"{ceiling} are allowed: it stays as it is"
        )
    coin = Coin(anchor.outpoint, anchor.spent, 0, coinbase=False)
    return unsigned([coin], [Output(left, script)], proofs={})


def _size(inputs: Sequence[Input], scripts: Sequence[bytes]) -> int:
    return virtual_size((one.spent.script for one in inputs), scripts)
