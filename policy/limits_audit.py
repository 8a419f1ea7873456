"""Limits added up once more, by a method that shares nothing with ``policy.windows``.

For an admitted reservation: what counts then is the sum over all other requests of their largest live
job (on Solana of each of their messages, of cancellations what is above the ``_HELD`` lamports that a
payment counts for them), as long as the newest live one is unsigned or was signed less than
a window ago. The fold may count a little longer (from a later burn), never less.

Sums are kept from one reservation to the next, for a busy day has more requests than can be added up at each
payment of it. A sum leaves out what is due at the times that a heap gives. ``sum_afresh`` adds one up from
nothing; a test compares the two.
"""

import heapq
from collections.abc import Iterator
from typing import NamedTuple

from policy.model import COUNT, VALUE, Limit
from policy.state import PAYMENT, Job, JobStatus, State

Place = tuple[str, str]
_HELD = 5_000


class _Item(NamedTuple):
    """What a request adds in a place: until when, or None while its newest live job is unsigned."""

    amount: int
    until_ms: int | None


class LimitsAudit:
    """Remembers what counts where under the policy in force; asks the state for what jobs are."""

    def __init__(self) -> None:
        self._policy = b""
        self._clear()

    def reserved(self, state: State, job_id: bytes) -> str:
        """Why the job just admitted exceeds a limit; empty if it does not."""
        self.changed(state, job_id)
        self._expire(state.time_ms)
        job = state.jobs[job_id]
        for limit in state.policy.limits:
            mine = _counts(state, limit, job)
            if mine is None:
                continue
            place = _place(state, limit, job)
            mine += _beside(state, limit, job, place=place)
            own = self._counting.get(place, {}).get(job.request_id)
            used = self._sums.get(place, 0) - (own.amount if own else 0)
            if used + mine > limit.maximum:
                return f"limit {limit.name}: {used} used and {mine} more is above {limit.maximum}"
        return ""

    def changed(self, state: State, job_id: bytes) -> None:
        """Take in that a job was reserved, signed or burned."""
        if self._policy != state.policy_hash:
            self._rebuild(state)
        self._take(state, state.jobs[job_id].request_id)

    def sum_kept(self, place: Place, *, time_ms: int) -> int:
        """What counts in a place at a time, as it was kept."""
        self._expire(time_ms)
        return self._sums.get(place, 0)

    def _clear(self) -> None:
        self._counting: dict[Place, dict[bytes, _Item]] = {}
        self._sums: dict[Place, int] = {}
        self._places: dict[bytes, tuple[Place, ...]] = {}
        self._due: list[tuple[int, bytes, Place]] = []

    def _rebuild(self, state: State) -> None:
        """Begin anew under another policy. Cost: all jobs there ever were."""
        self._policy = state.policy_hash
        self._clear()
        since_ms = state.time_ms - max((limit.window_ms for limit in state.policy.limits), default=0)
        for job in state.jobs.values():
            if job.status is JobStatus.RESERVED or job.signed_ms > since_ms:
                self._take(state, job.request_id)

    def _take(self, state: State, request_id: bytes) -> None:
        """Count one request as its jobs stand."""
        for place in self._places.pop(request_id, ()):
            self._leave(place, request_id)
        found = dict(_adds(state, request_id))
        if found:
            self._places[request_id] = tuple(found)
        for place, item in found.items():
            self._counting.setdefault(place, {})[request_id] = item
            self._sums[place] = self._sums.get(place, 0) + item.amount
            if item.until_ms is not None:
                heapq.heappush(self._due, (item.until_ms, request_id, place))

    def _leave(self, place: Place, request_id: bytes) -> None:
        item = self._counting[place].pop(request_id, None)
        self._sums[place] -= item.amount if item else 0

    def _expire(self, time_ms: int) -> None:
        while self._due and self._due[0][0] <= time_ms:
            until_ms, request_id, place = heapq.heappop(self._due)
            item = self._counting.get(place, {}).get(request_id)
            if item is None or item.until_ms != until_ms:
                continue  # counted anew since
            self._leave(place, request_id)
            rest = tuple(one for one in self._places[request_id] if one != place)
            self._places[request_id] = rest
            if not rest:
                del self._places[request_id]


def sum_afresh(state: State, place: Place) -> int:
    """What counts in a place at the state's time, added up from nothing. Cost: all requests."""
    total = 0
    for request_id in state.requests:
        item = dict(_adds(state, request_id)).get(place)
        if item and (item.until_ms is None or item.until_ms > state.time_ms):
            total += item.amount
    return total


def _adds(state: State, request_id: bytes) -> Iterator[tuple[Place, _Item]]:
    """Where a request adds what: in each place the largest of its live jobs of those that conflict."""
    jobs = [state.jobs[job] for job in state.requests[request_id].jobs]
    live = [job for job in jobs if job.status is not JobStatus.BURNED]
    if not live:
        return
    signed = live[-1].status is JobStatus.SIGNED
    last_ms = max(job.signed_ms for job in live)
    for limit in state.policy.limits:
        most: dict[tuple[bytes, Place], int] = {}
        for job in live:
            if amount := _counts(state, limit, job):
                group = _group(job), _place(state, limit, job)
                most[group] = max(most.get(group, 0), amount)
        sums: dict[Place, int] = {}
        for (_, place), amount in most.items():
            sums[place] = sums.get(place, 0) + amount
        for place in {_place(state, limit, job) for job in live if _holds(state, limit, job)}:
            ends = {job.tx for job in live if job.purpose != PAYMENT and _place(state, limit, job) == place}
            sums[place] -= min(_HELD, sum(most.get((tx, place), 0) for tx in ends))
        for place, amount in sums.items():
            yield place, _Item(amount, last_ms + limit.window_ms if signed else None)


def _group(job: Job) -> bytes:
    """What conflicts with a job: all of its request, on Solana its own message alone."""
    return job.tx if job.anchor.chain.startswith("solana:") else b""


def _beside(state: State, limit: Limit, job: Job, *, place: Place) -> int:
    """What the job's request adds in a place by what does not conflict with it."""
    most: dict[bytes, int] = {}
    held = 0
    for other in state.live_jobs(job.request_id):
        amount = _counts(state, limit, other) or 0
        if _group(other) != _group(job) and amount and _place(state, limit, other) == place:
            most[_group(other)] = max(most.get(_group(other), 0), amount)
            held = max(held, _HELD if _holds(state, limit, other) else 0)
    return sum(most.values()) - held


def _holds(state: State, limit: Limit, job: Job) -> bool:
    """Whether a job counts in a limit for its cancellation, too."""
    chain = state.policy.chains.get(job.anchor.chain)
    native = chain is not None and chain.native == limit.asset
    counts = job.purpose == PAYMENT and native and job.anchor.chain.startswith("solana:")
    return counts and _counts(state, limit, job) is not None


def _counts(state: State, limit: Limit, job: Job) -> int | None:
    """What one job adds to a limit; None when the limit is not about it.

    A job from before there was a price of this unit adds nothing to a value here.
    """
    request, policy = state.requests[job.request_id].request, state.policy
    chain, wallet = policy.chains.get(request.intent.chain), policy.wallets.get(request.intent.wallet)
    if chain is None:
        return None
    pays = job.purpose == PAYMENT
    asset = request.intent.asset if pays else chain.native
    for applies, fact in (
        (limit.wallets, request.intent.wallet),
        (limit.tiers, wallet.tier if wallet else ""),
        (limit.initiators, request.initiator),
        (limit.assets, asset),
    ):
        if applies is not None and fact not in applies:
            return None
    if limit.measure == COUNT:
        return 1 if pays else None
    if limit.measure == VALUE:
        return job.value if policy.prices and job.unit == policy.prices.scale else 0
    moves, costs = pays and asset == limit.asset, chain.native == limit.asset
    if not moves and not costs:
        return None
    held = _HELD if pays and job.anchor.chain.startswith("solana:") else 0
    return (request.intent.amount if moves else 0) + (job.fee_max + held if costs else 0)


def _place(state: State, limit: Limit, job: Job) -> Place:
    request, policy = state.requests[job.request_id].request, state.policy
    wallet, chain = policy.wallets.get(request.intent.wallet), policy.chains[request.intent.chain]
    parts = {
        "wallet": request.intent.wallet,
        "tier": wallet.tier if wallet else "",
        "initiator": request.initiator,
        "asset": request.intent.asset if job.purpose == PAYMENT else chain.native,
        "destination": request.intent.destination,
    }
    return limit.name, "\n".join(parts[scope] for scope in limit.per)
