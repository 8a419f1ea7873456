"""The maxima of tiers added up once more, by a method that shares nothing with ``policy.holdings``.

For an admitted move into a tier: of each of its wallets, what was last stated; and of every other request
that pays that wallet and has a job that is not burned, its amount, unless the statement has seen it. The fold
may count more, never less. Maxima in value are not asked here.
"""

from policy.fact_entries import HoldingsEntry
from policy.state import PAYMENT, JobStatus, State


class TiersAudit:
    """Remembers the statements under the policy in force, and which requests pay which own wallet."""

    def __init__(self) -> None:
        self._policy = b""
        self._stated: dict[tuple[str, str], HoldingsEntry] = {}
        self._paying: dict[str, dict[bytes, None]] = {}

    def stated(self, state: State, entry: HoldingsEntry) -> None:
        """Take in a statement that the fold has accepted."""
        self._renew(state)
        self._stated[entry.wallet, entry.asset] = entry

    def reserved(self, state: State, job_id: bytes) -> str:
        """Why the job just admitted takes a tier above its maximum; empty if it does not."""
        self._renew(state)
        job, policy = state.jobs[job_id], state.policy
        intent = state.requests[job.request_id].request.intent
        owner = state.owned.get((intent.chain, intent.destination), "")
        if job.purpose != PAYMENT or not owner:
            return ""
        self._paying.setdefault(owner, {})[job.request_id] = None
        tier, source = policy.wallets[owner].tier, policy.wallets[intent.wallet].tier
        maximum = next((t.maximum.amounts.get(intent.asset) for t in policy.tiers if t.name == tier), None)
        if maximum is None or source == tier:
            return ""
        most = intent.amount
        for wallet in policy.wallets.values():
            if wallet.tier == tier and wallet.chain == intent.chain:
                entry = self._stated.get((wallet.name, intent.asset))
                if entry is None:
                    return f"tier {tier}: nobody has stated what {wallet.name} holds of {intent.asset}"
                most += entry.amount + self._coming(state, entry, without=job.request_id)
        if most > maximum:
            return f"tier {tier}: it can come to {most} {intent.asset} by this job, above {maximum}"
        return ""

    def _renew(self, state: State) -> None:
        if self._policy == state.policy_hash:
            return
        self._policy, self._stated, self._paying = state.policy_hash, {}, {}
        for identifier, request in state.requests.items():
            intent = request.request.intent
            owner = state.owned.get((intent.chain, intent.destination))
            if owner and request.jobs:
                self._paying.setdefault(owner, {})[identifier] = None

    def _coming(self, state: State, entry: HoldingsEntry, *, without: bytes) -> int:
        """What other requests may still bring into the wallet that the statement is of."""
        total = 0
        for identifier in self._paying.get(entry.wallet, ()):
            request = state.requests[identifier]
            intent = request.request.intent
            jobs = [state.jobs[job] for job in request.jobs]
            live = [job for job in jobs if job.purpose == PAYMENT and job.status is not JobStatus.BURNED]
            unseen = identifier in entry.pending or any(job.index >= entry.size for job in live)
            if identifier != without and intent.asset == entry.asset and live and unseen:
                total += intent.amount if intent.wallet != entry.wallet else 0
        return total
