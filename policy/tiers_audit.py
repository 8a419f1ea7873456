"""The bounds of tiers added up once more, by a method that shares nothing with ``policy.holdings``.

For an admitted job, of every wallet of a tier: what was last stated, and what every other request that is not
burned and that the statement has not seen may still bring in (for the most) or take out (for the least), and
what that is worth by the prices stated within their age. The maxima of a tier that is moved into are asked,
in amounts and in value; and the shares of all holdings, of every tier that the job makes hold more or less
than it may. The fold may count more, never less. What cannot be told is
wrong where the job had to wait for it.
"""

from bisect import bisect_right, insort
from collections.abc import Iterator
from typing import NamedTuple

from policy.fact_entries import HoldingsEntry, PriceEntry
from policy.model import WHOLE_BP, Policy, Tier
from policy.state import CANCEL, PAYMENT, Job, JobStatus, State

Place = tuple[str, str]
"""A wallet and an asset."""


class _Move(NamedTuple):
    """What a job does to tiers: from ``source`` to ``destination``, None if it leaves the house."""

    request: bytes
    asset: str
    amount: int
    fee: int
    native: str
    source: int
    destination: int | None


class TiersAudit:
    """Remembers statements and prices, and which requests a statement of a wallet may not have seen."""

    def __init__(self) -> None:
        self._policy = b""
        self._unit: str | None = None
        self._stated: dict[Place, HoldingsEntry] = {}
        self._open: dict[Place, dict[bytes, None]] = {}
        self._prices: dict[tuple[str, str], list[tuple[int, int]]] = {}

    def stated(self, state: State, entry: HoldingsEntry) -> None:
        """Take in a statement that the fold has accepted."""
        self._renew(state)
        place = (entry.wallet, entry.asset)
        self._stated[place] = entry
        unseen = self._open.get(place, {})
        self._open[place] = {one: None for one in unseen if _unseen(state, entry, one)}

    def priced(self, entry: PriceEntry) -> None:
        """Take in a price that the fold has accepted."""
        points = self._prices.setdefault((entry.asset, entry.unit), [])
        insort(points, (entry.observed_ms, entry.price))

    def reserved(self, state: State, job_id: bytes) -> str:
        """Why the job just admitted takes a tier out of its bounds; empty if it does not."""
        if not state.policy.tiers:
            return ""
        self._renew(state)
        job = state.jobs[job_id]
        self._follow(state, job.request_id)
        move = _move(state, job)
        if move is None:
            return ""
        return self._above_maximum(state, move) or self._outside_share(state, move)

    # What is asked.

    def _above_maximum(self, state: State, move: _Move) -> str:
        if move.destination is None or move.destination == move.source:
            return ""
        tier = state.policy.tiers[move.destination]
        if (maximum := tier.maximum.amounts.get(move.asset)) is not None:
            most = self._amount(state, tier.name, move)
            if most is None:
                return f"tier {tier.name}: nobody has stated lately what it holds of {move.asset}"
            if most + move.amount > maximum:
                return (
                    f"tier {tier.name}: it can come to {most + move.amount} {move.asset} by this job, "
                    f"above {maximum}"
                )
        if tier.maximum.value is None:
            return ""
        most, more = self._value(state, tier.name, move.request, most=True), self._worth(state, move)
        if most is None or more is None:
            return f"tier {tier.name}: nobody has stated lately what it holds, or what that is worth"
        if most + more > tier.maximum.value:
            return f"tier {tier.name}: by this job it can be worth {most + more}, above {tier.maximum.value}"
        return ""

    def _outside_share(self, state: State, move: _Move) -> str:
        """Only of a tier that the job makes hold a worse share; what lowers exposure waits for no number."""
        tiers = state.policy.tiers
        for rank, tier in enumerate(tiers):
            up = rank == move.destination or (move.destination is None and rank < move.source)
            if move.destination == move.source:
                continue
            if tier.share_max_bp is not None and up:
                own = self._value(state, tier.name, move.request, most=True)
                if why := self._share(state, move, tier, own=own, most=True):
                    return why
            if tier.share_min_bp is not None and rank == move.source:
                own = self._value(state, tier.name, move.request, most=False)
                if why := self._share(state, move, tier, own=own, most=False):
                    return why
        return ""

    def _share(self, state: State, move: _Move, tier: Tier, *, own: int | None, most: bool) -> str:
        others: int | None = 0
        for other in state.policy.tiers:
            if other.name != tier.name and others is not None:
                found = self._value(state, other.name, move.request, most=not most)
                others = None if found is None else others + found
        worth = self._worth(state, move)
        if own is None or others is None or worth is None:
            lowers = move.destination is not None and move.destination > move.source
            return "" if lowers else f"tier {tier.name}: nobody has stated what tells its share"
        inside = move.destination is not None
        if most:
            own, others = own + (worth if inside else 0), max(0, others - worth)
            broken = own * WHOLE_BP > (tier.share_max_bp or 0) * (own + others)
        else:
            own, others = max(0, own - worth), others + (worth if inside else 0)
            broken = own * WHOLE_BP < (tier.share_min_bp or 0) * (own + others)
        if not broken:
            return ""
        bound = f"above {tier.share_max_bp}" if most else f"below {tier.share_min_bp}"
        return (
            f"tier {tier.name}: it can come to hold {own} of {own + others} by this job, {bound} basis points"
        )

    # What is held, and what it is worth.

    def _amount(self, state: State, tier: str, move: _Move) -> int | None:
        total = 0
        for wallet, asset in _places(state.policy, tier):
            if asset == move.asset:
                held = self._held(state, (wallet, asset), move.request, most=True)
                if held is None:
                    return None
                total += held
        return total

    def _value(self, state: State, tier: str, without: bytes, *, most: bool) -> int | None:
        total = 0
        for place in _places(state.policy, tier):
            held = self._held(state, place, without, most=most)
            worth = None if held is None else self._price(state, place[1], held, most=most)
            if worth is None:
                return None
            total += worth
        return total

    def _held(self, state: State, place: Place, without: bytes, *, most: bool) -> int | None:
        """The most or the least that a wallet may hold of an asset; None without a statement new enough."""
        entry = self._stated.get(place)
        if entry is None or entry.observed_ms <= state.time_ms - state.policy.holdings_max_age_ms:
            return None
        total = entry.amount
        for request in self._open.get(place, ()):
            if request == without or not _unseen(state, entry, request):
                continue
            coming, going = _flows(state, request, place)
            total += coming if most else -going
        return max(0, total)

    def _worth(self, state: State, move: _Move) -> int | None:
        moved = self._price(state, move.asset, move.amount, most=True)
        fee = self._price(state, move.native, move.fee, most=True)
        return None if moved is None or fee is None else moved + fee

    def _price(self, state: State, asset: str, amount: int, *, most: bool) -> int | None:
        """What an amount is worth by the highest price within its age, rounded up; or the lowest, down."""
        prices = state.policy.prices
        if not amount:
            return 0
        if prices is None or asset not in state.policy.assets:
            return None
        points = self._prices.get((asset, prices.scale), [])
        recent = [price for _, price in points[_after(points, state.time_ms - prices.max_age_ms) :]]
        whole: int = 10 ** state.policy.assets[asset].decimals
        if not recent:
            return None
        return -(-amount * max(recent) // whole) if most else amount * min(recent) // whole

    # What is remembered.

    def _renew(self, state: State) -> None:
        """Under a policy that begins nothing is stated, and no request has been seen."""
        if self._policy == state.policy_hash:
            return
        self._policy, self._stated, self._open = state.policy_hash, {}, {}
        unit = state.policy.prices.scale if state.policy.prices is not None else ""
        if self._unit is not None and unit != self._unit:  # as in the fold: prices begin anew with their unit
            self._prices = {}
        self._unit = unit
        for identifier, request in state.requests.items():
            if request.jobs:
                self._follow(state, identifier)

    def _follow(self, state: State, identifier: bytes) -> None:
        intent = state.requests[identifier].request.intent
        chain = state.policy.chains.get(intent.chain)
        owner = state.owned.get((intent.chain, intent.destination))
        touched = {(intent.wallet, intent.asset), (owner, intent.asset)}
        touched |= {(intent.wallet, chain.native)} if chain else set()
        for wallet, asset in touched:
            if wallet:
                self._open.setdefault((wallet, asset), {})[identifier] = None


def _after(points: list[tuple[int, int]], time_ms: int) -> int:
    """The place of the first point later than ``time_ms``."""
    return bisect_right(points, time_ms, key=lambda point: point[0])


def _places(policy: Policy, tier: str) -> Iterator[Place]:
    for wallet in policy.wallets.values():
        if wallet.tier == tier:
            yield from (
                (wallet.name, name) for name, one in policy.assets.items() if one.chain == wallet.chain
            )


def _live(state: State, identifier: bytes) -> list[Job]:
    jobs = (state.jobs[job] for job in state.requests[identifier].jobs)
    return [job for job in jobs if job.status is not JobStatus.BURNED]


def _unseen(state: State, entry: HoldingsEntry, identifier: bytes) -> bool:
    return identifier in entry.pending or any(job.index >= entry.size for job in _live(state, identifier))


def _flows(state: State, identifier: bytes, place: Place) -> tuple[int, int]:
    """What a request may still bring into a place, and what it may take out.

    Its jobs conflict on chain, on Solana only those of one message.
    """
    intent = state.requests[identifier].request.intent
    owner, chain = state.owned.get((intent.chain, intent.destination)), state.policy.chains.get(intent.chain)
    coming, going = 0, dict[bytes, int]()
    for job in _live(state, identifier) if chain else ():
        pays, within = job.purpose == PAYMENT, owner == intent.wallet
        if pays and not within and place == (owner, intent.asset):
            coming = max(coming, intent.amount)
        if place[0] == intent.wallet:
            moved = intent.amount if pays and not within and place[1] == intent.asset else 0
            fee = job.fee_max if chain and place[1] == chain.native else 0
            group = job.tx if intent.chain.startswith("solana:") else b""
            going[group] = max(going.get(group, 0), moved + fee)
    return coming, sum(going.values())


def _move(state: State, job: Job) -> _Move | None:
    """What a job does to tiers; None for one that nothing is asked of."""
    request, policy = state.requests[job.request_id].request, state.policy
    intent, chain = request.intent, policy.chains.get(request.intent.chain)
    ranks = {tier.name: rank for rank, tier in enumerate(policy.tiers)}
    source = policy.wallets[intent.wallet].tier if intent.wallet in policy.wallets else ""
    if job.purpose == CANCEL or intent.typed_data is not None or chain is None or source not in ranks:
        return None
    owner = state.owned.get((intent.chain, intent.destination), "") if intent.calldata is None else ""
    if owner and policy.wallets[owner].tier not in ranks:
        return None
    return _Move(
        request=job.request_id,
        asset=intent.asset,
        amount=intent.amount,
        fee=job.fee_max,
        native=chain.native,
        source=ranks[source],
        destination=ranks[policy.wallets[owner].tier] if owner else None,
    )
