"""Limits added up once more, by a method that shares nothing with ``policy.windows``.

For an admitted reservation: what counts then is the sum over all other requests of their largest live
job, as long as the newest live one is unsigned or was signed less than a window ago. The fold may count
a little longer (from a later burn), never less.
"""

from policy.model import COUNT, VALUE, Limit
from policy.state import PAYMENT, Job, JobStatus, State


class LimitsAudit:
    """Remembers which requests may count in which place; asks the state for everything else."""

    def __init__(self) -> None:
        self._policy = b""
        self._places: dict[tuple[str, str], dict[bytes, None]] = {}

    def reserved(self, state: State, job_id: bytes) -> str:
        """Why the job just admitted exceeds a limit; empty if it does not."""
        job = state.jobs[job_id]
        if self._policy != state.policy_hash:
            self._rebuild(state)
        self._add(state, job)
        for limit in state.policy.limits:
            mine = _counts(state, limit, job)
            if mine is None:
                continue
            used = self._used_by_others(state, limit, job)
            if used + mine > limit.maximum:
                return f"limit {limit.name}: {used} used and {mine} more is above {limit.maximum}"
        return ""

    def _rebuild(self, state: State) -> None:
        self._policy, self._places = state.policy_hash, {}
        for job in state.jobs.values():
            self._add(state, job)

    def _add(self, state: State, job: Job) -> None:
        for limit in state.policy.limits:
            if _counts(state, limit, job) is not None:
                self._places.setdefault(_place(state, limit, job), {})[job.request_id] = None

    def _used_by_others(self, state: State, limit: Limit, job: Job) -> int:
        place = self._places[_place(state, limit, job)]
        total, gone = 0, []
        for request_id in place:
            amount = _amount(state, limit, request_id)
            if not amount:
                gone.append(request_id)
            elif request_id != job.request_id:
                total += amount
        for request_id in gone:  # a new reservation would bring it back
            del place[request_id]
        return total


def _amount(state: State, limit: Limit, request_id: bytes) -> int:
    """What a request counts in a limit at the state's time."""
    jobs = [state.jobs[job] for job in state.requests[request_id].jobs]
    live = [job for job in jobs if job.status is not JobStatus.BURNED]
    if not live:
        return 0
    if live[-1].status is JobStatus.SIGNED:
        last_ms = max(job.signed_ms for job in live)
        if last_ms + limit.window_ms <= state.time_ms:
            return 0
    return max(_counts(state, limit, job) or 0 for job in live)


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
    return (request.intent.amount if moves else 0) + (job.fee_max if costs else 0)


def _place(state: State, limit: Limit, job: Job) -> tuple[str, str]:
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
