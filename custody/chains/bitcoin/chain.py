"""Bitcoin as ``custody.ports.Chain``: places are coins of the wallet, the first one spent is the anchor.

A plan takes its coins at once, and the request keeps them until its anchor is spent: another request gets
others. Only coins that a block has are spent, so that nothing of ours hangs on one that may go away.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from immutables import Map

from custody.candidates import Folded
from custody.chains.bitcoin.agreement import BitcoinNodes
from custody.chains.bitcoin.coins import Seen
from custody.chains.bitcoin.drafting import Terms, adopted, gathered, outpoint_text
from custody.chains.bitcoin.foreign import read_file, written
from custody.chains.bitcoin.spending import Need, Spending, least_more, spend
from custody.chains.bitcoin.transaction import (
    Coin,
    dust,
    read,
    script_of,
    unsigned,
    virtual_size,
    without_witnesses,
    witnesses,
)
from custody.chains.rpc import Refused
from custody.ports import Gathered, Held, Planned, Receipt, Simulated, Wanted
from policy.approval import Slot
from policy.decode.psbt import PSBT_BYTES_MAX, Input, Output, Transaction
from policy.errors import MalformedError, OperationalError
from policy.fact_entries import ObservationEntry
from policy.shapes import read_entry
from policy.state import CANCEL, PAYMENT, Job, JobStatus, State
from policy.stored.layered import Table

SPENT_KEPT = 1024


@dataclass(frozen=True, slots=True)
class Rates:
    """For how many blocks a fee is estimated, what it may be at most (satoshi a virtual byte), and how many
    coins a transaction spends at most. Up to the rate ``tidy`` payments spend small coins along.
    """

    blocks: int = 3
    most: int = 200
    coins_max: int = 16
    tidy: int = 0


class BitcoinChain:
    """Implements ``custody.ports.Chain`` over nodes of Bitcoin Core."""

    def __init__(self, nodes: BitcoinNodes, rates: Rates) -> None:
        self._nodes = nodes
        self._rates = rates
        self._held: dict[bytes, tuple[bytes, ...]] = {}
        self._spent: OrderedDict[bytes, tuple[bytes, ...]] = OrderedDict()
        self._ours: dict[bytes, str] = {}
        self._owned: object = None
        self._anchors: Table[Slot, bytes] = Map()

    @property
    def name(self) -> str:
        """The chain as documents call it."""
        return self._nodes.name

    @property
    def places_hold_money(self) -> bool:
        """A coin that a dead request keeps is one less to pay with."""
        return True

    @property
    def final_at(self) -> int | None:
        """No depth is sure."""
        return None

    async def check(self) -> None:
        """Compare the nodes' network with the configured one."""
        await self._nodes.check()

    def load(self, held: Iterable[Held], state: State) -> None:
        """Take up what open requests spend, and what is planned."""
        for one in held:
            self._hold(one.request, _places(one.tx))
        closed = []
        for slot in (one for one in state.anchors if one.chain == self.name):
            request = state.requests[state.anchors[slot]]
            if request.closed:
                closed.append(request)
                continue
            for job in request.jobs:
                self._hold(request.request_id, _places(state.jobs[job].tx))
        for request in sorted(closed, key=lambda one: state.jobs[one.jobs[-1]].index)[-SPENT_KEPT:]:
            jobs = [job for job in state.live_jobs(request.request_id) if job.status is JobStatus.SIGNED]
            spent = [set(_places(job.tx)) for job in jobs]  # which was mined the state does not say
            if spent:
                self._keep_spent(request.request_id, set.intersection(*spent))
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
            entry = read_entry(folded.entry).entry
            if isinstance(entry, ObservationEntry):
                self._keep_spent(outcome.subject, _places(state.jobs[entry.job].tx))

    def release(self, request: bytes) -> None:
        """Give back the coins of a request."""
        self._held.pop(request, None)

    async def prepare(self, account: str) -> None:
        """Nothing is needed: coins are chosen by the plan."""

    def placed(self, before: State, tx: bytes, *, account: str, nonce: int | None) -> bytes:
        """The bytes as they were planned: their coins are held."""
        return tx

    async def plan(self, wanted: Wanted, state: Callable[[], State]) -> Planned:
        """Choose coins and build the PSBT. Who has planned before keeps its anchor, or its PSBT."""
        if wanted.psbt:
            return await self._planned(wanted)
        if self._ours.get(self._script(wanted.intent.destination)) == wanted.intent.wallet:
            raise OperationalError("the PSBT that it pays the wallet itself by is lost: ask anew with one")
        need = self._need(wanted, rate=await self._rate())
        coins = (await self._spendable(wanted)).coins
        before, known = self._held.get(wanted.request), state().requests.get(wanted.request)
        anchored = known is not None and known.anchor is not None
        kept = self._kept(before, coins, anchored=anchored)
        try:
            chosen, tx = await self._build(wanted.request, need, coins, kept=kept)
        except BaseException:
            self._put_back(wanted.request, before)
            raise
        if not anchored:  # nothing names what was planned before
            self._held[wanted.request] = tuple(coin.outpoint for coin in chosen)
        return self._plan(wanted, chosen[0], tx)

    async def adopt(self, psbt: bytes, wanted: Wanted) -> bytes:
        """A PSBT of another wallet as it is signed here. Raises ``MalformedError``, saying why not."""
        found = read_file(psbt)
        seen = await self._spendable(wanted)
        spending = adopted(found, self._terms(wanted), coins=seen.coins, height=seen.height)
        return await self._shown(spending)

    async def gather(self, wanted: Wanted, *, coins_max: int) -> Gathered:
        """The smallest of the wallet's coins as one, at the destination; nothing is held for it yet."""
        rate, seen = await self._rate(), await self._spendable(wanted)
        terms = self._terms(wanted)
        terms = replace(terms, coins_max=min(coins_max or terms.coins_max, terms.coins_max))
        script = terms.paid.script
        spending, left = gathered(seen.coins.values(), script, terms=terms, rate=rate)
        worth, proofs = len(spending.coins) + left, await self._proofs(spending.coins)
        while len(tx := unsigned(spending.coins, spending.outputs, proofs=proofs)) > PSBT_BYTES_MAX:
            del proofs[large := max(proofs, key=lambda place: len(proofs[place]))]
            rest = [coin for coin in spending.coins if coin.outpoint != large]
            spending, _ = gathered(rest, script, terms=terms, rate=rate)
            proofs = proofs if len(rest) > 1 else {}  # one alone is spent without
        paid, count = spending.outputs[0].amount, len(spending.coins)
        return Gathered(tx, paid, spending.fee, count, worth - count)

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
            if self._stays(old) and not _smaller(old, old.fee + least_more(size)):
                return False
        return old.fee + least_more(size) <= min(ceiling, self._rates.most * size)

    async def dearer(self, job: Job, wanted: Wanted | None, *, ceiling: int) -> bytes | None:
        """The payment from the same anchor for a quarter more at least, or the anchor back to its address."""
        if not self.can_be_dearer(job.tx, purpose=CANCEL if wanted is None else PAYMENT, ceiling=ceiling):
            return None
        old = read(job.tx)
        size = _size(old.inputs, [one.script for one in old.outputs])
        rate = min(max(await self._rate(), -(-old.fee * 1250 // size)), self._rates.most * 1000)
        if wanted is None:
            return _back(old, ceiling, rate=rate, fee_min=old.fee)
        if self._stays(old):  # there is no change: what becomes of its coins pays, and stays in the wallet
            fee = min(max(-(-rate * size // 1000), old.fee + least_more(size)), ceiling)
            spent = [Coin(one.outpoint, one.spent, 0, coinbase=False) for one in old.inputs]
            outputs = _smaller(old, fee) or _smaller(old, old.fee + least_more(size))
            return unsigned(spent, outputs, proofs=await self._proofs(spent)) if outputs else None
        coins = (await self._spendable(wanted)).coins
        kept = self._kept(tuple(one.outpoint for one in old.inputs), coins, anchored=True)
        need = self._need(wanted, rate=rate, fee_min=old.fee)
        _, tx = await self._build(job.request_id, need, coins, kept=[*kept[:1], *_others(old, coins)])
        new = read(tx)
        dearer = new.fee * size > old.fee * _size(new.inputs, [one.script for one in new.outputs])
        return tx if dearer else None

    async def balance(self, account: str, contract: str | None = None) -> int:
        """What blocks have left under an address of a wallet."""
        script = script_of(self.name, account)
        seen = await self._nodes.coins(frozenset({script}), watched=frozenset(self._ours))
        return sum(coin.amount for coin in seen.coins.values() if coin.output.script == script)

    async def simulate(
        self, tx: bytes, *, account: str, watched: Sequence[tuple[str, str | None]]
    ) -> Simulated:
        """Whether all that is spent is there; balances of others nobody keeps."""
        found = read(tx)
        seen = await self._nodes.coins(frozenset(), watched=frozenset(self._ours))
        gone = [
            one.outpoint_text for one in found.inputs if not await self._nodes.is_unspent(one.outpoint_text)
        ]
        return Simulated(seen.height, not gone, f"{gone[0]} is spent already" if gone else "", ())

    async def broadcast(self, raw: bytes) -> None:
        """Hand a signed transaction over; the same bytes again, or mined bytes, are no error."""
        try:
            await self._nodes.send(raw)
        except Refused as error:
            raise OperationalError(f"{error}; look up its inputs and its fee") from error

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        """The block of a transaction; None while it is not mined."""
        found = await self._nodes.mined(tx_hash.hex())
        return None if found is None else Receipt(tx_hash, found[0], True, found[1])

    async def is_gone(self, tx_hash: bytes, *, block: int) -> bool:
        """Whether no block has a transaction, by nodes that have come to the height ``block``."""
        return await self._nodes.is_gone(tx_hash.hex(), block=block)

    def _learn(self, state: State) -> None:
        """The anchors of the log; the scripts of all accounts, when the policy or a key is new."""
        self._anchors = state.anchors
        if state.owned is self._owned:
            return
        self._owned = state.owned
        self._ours = {
            script_of(self.name, address): wallet
            for (chain, address), wallet in state.owned.items()
            if chain == self.name
        }

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

    def exported(self, tx: bytes, *, signed: Job | None, version: int) -> bytes:
        """A PSBT of ours for other wallets; finished by a job that ``signed`` it."""
        return written(tx, version=version, witnesses=witnesses(signed) if signed is not None else ())

    def _plan(self, wanted: Wanted, anchor: Coin, tx: bytes) -> Planned:
        paths = {self._script(one.address): one.path for one in wanted.accounts}
        return Planned(anchor.text, paths[anchor.output.script], tx, Slot(self.name, anchor.text, 0))

    async def _planned(self, wanted: Wanted) -> Planned:
        """The PSBT that a request came with, while all its coins are free. Raises ``OperationalError``."""
        coins, places = (await self._spendable(wanted)).coins, _places(wanted.psbt)
        taken = self._taken(wanted.request)  # others may have planned while the node was asked
        missing = [outpoint_text(place) for place in places if place not in coins or place in taken]
        if missing:
            raise OperationalError(
                f"the coin {missing[0]} of its PSBT is spent, or another request's: it is looked for"
            )
        self._hold(wanted.request, places)
        return self._plan(wanted, coins[places[0]], wanted.psbt)

    def _terms(self, wanted: Wanted) -> Terms:
        return Terms(
            paid=Output(wanted.intent.amount, self._script(wanted.intent.destination)),
            own={script for script, wallet in self._ours.items() if wallet == wanted.intent.wallet},
            ceiling=wanted.fee_ceiling,
            rate_max=self._rates.most,
            coins_max=min(self._rates.coins_max, wanted.signatures_max),
        )

    async def _shown(self, spending: Spending) -> bytes:
        """The PSBT with the proofs that nodes ask for. Raises ``MalformedError``."""
        proofs = await self._proofs(spending.coins)
        tx = unsigned(spending.coins, spending.outputs, proofs=proofs)
        if len(tx) > PSBT_BYTES_MAX:
            raise MalformedError("its coins come from transactions too large to be shown to nodes: use fewer")
        return tx

    def _stays(self, tx: Transaction) -> bool:
        """Whether a transaction pays nobody but the wallet that it spends from."""
        wallet = self._ours.get(tx.inputs[0].spent.script)
        return wallet is not None and all(self._ours.get(one.script) == wallet for one in tx.outputs)

    async def _spendable(self, wanted: Wanted) -> Seen:
        """The wallet's coins that no other request spends, nor did before they were asked for.

        One that settles meanwhile gives back coins that the answer may still have. An anchor is its request's
        for ever, also when a reorganisation brings back the coin after all was settled.
        """
        taken = self._taken(wanted.request)
        scripts = frozenset(self._script(one.address) for one in wanted.accounts)
        seen = await self._nodes.coins(scripts, watched=frozenset(self._ours))
        free = {
            place: coin
            for place, coin in seen.coins.items()
            if place not in taken
            if self._anchors.get(Slot(self.name, coin.text, 0), wanted.request) == wanted.request
        }
        return replace(seen, coins=free)

    def _taken(self, request: bytes) -> set[bytes]:
        """What other requests spend, and what was spent last: a reorganisation may bring it back."""
        others = (held for holder, held in self._held.items() if holder != request)
        return {place for held in (*others, *self._spent.values()) for place in held}

    def _keep_spent(self, request: bytes, places: Iterable[bytes]) -> None:
        """What is settled is sent again should its block vanish, so nobody else may spend its coins."""
        self._spent[request] = tuple(places)
        if len(self._spent) > SPENT_KEPT:
            self._spent.popitem(last=False)

    async def _build(
        self, request: bytes, need: Need, coins: dict[bytes, Coin], *, kept: Sequence[Coin]
    ) -> tuple[tuple[Coin, ...], bytes]:
        """Coins, held from now on, and the PSBT that spends them, with the proofs that nodes ask for."""
        large: set[bytes] = set()
        while True:
            out = large | self._taken(request)
            free = [coin for place, coin in coins.items() if place not in out]
            try:
                spending = spend(need, free, kept=kept)
            except OperationalError as error:
                raise _because(error, large) from error
            self._hold(request, [coin.outpoint for coin in spending.coins])
            proofs = await self._proofs(spending.coins)
            tx = unsigned(spending.coins, spending.outputs, proofs=proofs)
            if len(tx) <= PSBT_BYTES_MAX:
                return spending.coins, tx
            places = [place for place in proofs if place not in {coin.outpoint for coin in kept}]
            if not places:
                raise OperationalError("its coins come from transactions too large to be shown to nodes")
            large.add(max(places, key=lambda place: len(proofs[place])))

    async def _proofs(self, coins: Sequence[Coin]) -> dict[bytes, bytes]:
        """The transactions that made coins whose hash leaves others' amounts open."""
        if len(coins) == 1 or not coins[0].needs_proof:
            return {}
        return {coin.outpoint: without_witnesses(await self._nodes.raw(coin.txid)) for coin in coins}

    def _need(self, wanted: Wanted, *, rate: int, fee_min: int = 0) -> Need:
        intent = wanted.intent
        return Need(
            paid=Output(intent.amount, self._script(intent.destination)),
            change=self._script(wanted.accounts[0].address),
            rate=rate,
            ceiling=wanted.fee_ceiling,
            coins_max=min(self._rates.coins_max, wanted.signatures_max),
            fee_min=fee_min,
            left_min=self._rates.coins_max if rate <= self._rates.tidy * 1000 and not fee_min else None,
        )

    async def _rate(self) -> int:
        """The node's estimate, within what is configured."""
        return min(await self._nodes.rate(self._rates.blocks), self._rates.most * 1000)

    def _script(self, address: str) -> bytes:
        return script_of(self.name, address)


def _because(error: OperationalError, large: set[bytes]) -> OperationalError:
    """Why there is too little, where coins were left out."""
    if not large:
        return error
    return OperationalError(f"{error}; {len(large)} were made by transactions too large to be shown to nodes")


def _places(tx: bytes) -> list[bytes]:
    return [one.outpoint for one in read(tx).inputs]


def _others(old: Transaction, coins: dict[bytes, Coin]) -> list[Coin]:
    """What a transaction spends beside its anchor and is still there."""
    return [coins[one.outpoint] for one in old.inputs[1:] if one.outpoint in coins]


def _smaller(old: Transaction, fee: int) -> list[Output]:
    """What the coins of ``old`` become, less by what ``fee`` is more; none where dust would be left.

    Two outputs are a payment to what became the wallet's own only later: nodes take no such bytes any more.
    """
    before, *others = old.outputs
    left = before.amount + old.fee - fee
    return [Output(left, before.script)] if not others and left >= dust(before.script) else []


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
