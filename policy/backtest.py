"""What a policy that is not in force would have said of the same requests, at the same moments.

Facts are those of the log: approvals count as they were given, prices and screenings as they were stated.
What wallets hold is what was stated, under a policy of the log that declares tiers; under one that does not,
nothing is. Only the windows are counted anew, under the new policy's own limits, from the payments that were
really made. A payment that only the new policy would have allowed was never made, so it counts nowhere; and
one that it would have refused was made, and counts. Nodes never import this.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from immutables import Map

from policy.accounts import owned_accounts
from policy.address_book import carried_over, with_book
from policy.counting import recount, recount_all
from policy.encoding import Json
from policy.entries import RequestEntry, ReserveEntry
from policy.evaluate import Outcome, Verdict
from policy.fact_entries import HoldingsEntry
from policy.holdings import both, flowing, flows_of
from policy.ledger import at_time, weigh
from policy.model import Policy
from policy.replay import Step, entry_body
from policy.state import CANCEL, KeyRecord, State
from policy.stored.layered import Table
from policy.values import replace
from policy.windows import Window

STRICTER, LOOSER = WAYS = ("stricter", "looser")
_RANK = {Outcome.UNKNOWN: 0, Outcome.DENY: 0, Outcome.WAIT: 1, Outcome.ALLOW: 2}
_COUNTED = frozenset({"reserve", "signature", "burn"})


@dataclass(frozen=True, slots=True)
class Beside:
    """A policy beside the log's own: its windows, where each request counts in them, and its accounts.

    ``stored_size`` is that of the state from which it has what flows.
    """

    policy: Policy
    windows: Table[tuple[str, str], Window]
    scopes: Map[bytes, tuple[tuple[str, str], ...]]
    owned: Map[tuple[str, str], str]
    keys: Map[str, KeyRecord]
    stored_size: int

    @classmethod
    def of(cls, policy: Policy, state: State) -> "Beside":
        """The policy beside a log that has come as far as ``state``. Cost: all its requests."""
        counted = recount_all(replace(state, policy_or_none=policy))
        scopes = Map({key: request.scopes for key, request in counted.requests.items() if request.scopes})
        windows = counted.windows
        for place, window in flows_of(state.windows):
            windows = windows.set(place, window)
        owned = owned_accounts(policy, state.keys)
        return cls(policy, windows, scopes, owned, state.keys, state.stored_size)

    def under(self, state: State) -> State:
        """``state`` as if this policy were in force, but for its hash: approvals count as they were given.

        What the log put on its lists one address at a time is there, as if the policy had come today.
        """
        policy = with_book(self.policy, carried_over(state.book, self.policy))
        return replace(state, policy_or_none=policy, windows=self.windows, owned=self.owned, pending=())

    def after(self, state: State, request: bytes) -> "Beside":
        """This with one request of ``state`` counted anew, whose jobs have changed."""
        record = replace(state.requests[request], scopes=self.scopes.get(request, ()))
        under = replace(self.under(state), requests=state.requests.set(request, record))
        counted = recount(under, request, signed_ms=state.time_ms)
        scopes = counted.requests[request].scopes
        return dataclasses.replace(self, windows=counted.windows, scopes=self.scopes.set(request, scopes))

    def following(self, step: Step) -> "Beside":
        """This after an entry of the log."""
        state, found = step.after, self
        if state.keys is not self.keys:
            found = dataclasses.replace(found, owned=owned_accounts(self.policy, state.keys), keys=state.keys)
        if step.before.policy_hash != state.policy_hash:
            found = found.without_flows()
        if self.stored_size != state.stored_size:  # what stands over the one before is stale soon
            found = found.with_flows(state, [place for place, _ in flows_of(found.windows)])
            found = dataclasses.replace(found, stored_size=state.stored_size)
        if isinstance(step.timed.entry, HoldingsEntry):
            place = (step.timed.entry.wallet, step.timed.entry.asset)
            found = found.with_flows(state, both(*place))
        if not step.outcome.accepted or step.timed.kind not in _COUNTED:
            return found
        job = state.jobs.get(step.outcome.subject)
        if job is None:
            return found
        request = state.requests[job.request_id]
        every = tuple(state.jobs[one] for one in request.jobs)
        found = found.with_flows(state, flowing(state, request, jobs=every))
        return found.after(state, job.request_id)

    def with_flows(self, state: State, places: Iterable[tuple[str, str]]) -> "Beside":
        """This with what flows at some places of the log's own state; all of it hangs on its policy."""
        windows = self.windows
        for place in places:
            if place in state.windows:
                windows = windows.set(place, state.windows[place])
        return dataclasses.replace(self, windows=windows)

    def without_flows(self) -> "Beside":
        """This as the log comes under a policy of its own that begins."""
        windows = self.windows
        for place, _ in list(flows_of(windows)):
            windows = windows.delete(place)
        return dataclasses.replace(self, windows=windows)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What both policies say of one entry. ``way`` is empty where the outcome is the same."""

    index: int
    time_ms: int
    kind: str
    request: bytes
    asset: str
    amount: int
    real: Verdict
    other: Verdict
    way: str

    def to_json(self) -> dict[str, Json]:
        """A comparison as it is printed and kept."""
        return {
            "index": self.index,
            "time_ms": self.time_ms,
            "kind": self.kind,
            "request": self.request.hex(),
            "asset": self.asset,
            "amount": str(self.amount),
            "real": self.real.to_json(),
            "other": self.other.to_json(),
            "why": self.other.reason,
            "way": self.way,
        }


def compare(beside: Beside, step: Step) -> Comparison | None:
    """What the other policy says of an entry that has a verdict; None for one that has none."""
    entry, real = step.timed.entry, step.outcome.verdict
    if not isinstance(entry, RequestEntry | ReserveEntry) or real is None:
        return None
    time_ms = step.timed.time_ms
    under = beside.under(at_time(step.before, time_ms))
    other = weigh(under, step.timed.kind, body=entry_body(step.data), time_ms=time_ms).verdict
    asset, amount = _moved(step.before, entry)
    return Comparison(
        index=step.index,
        time_ms=time_ms,
        kind=_kind(entry),
        request=entry.request if isinstance(entry, ReserveEntry) else step.outcome.subject,
        asset=asset,
        amount=amount,
        real=real,
        other=other,
        way=_way(real.outcome, other.outcome),
    )


class Total(NamedTuple):
    """How many requests flip in one way, and what they move of each asset."""

    requests: int
    amounts: dict[str, int]


def total(flips: Iterable[Comparison]) -> Total:
    """What these move; each request once, however often it was tried."""
    amounts: dict[str, int] = {}
    once = {flip.request: flip for flip in flips}
    for flip in once.values():
        amounts[flip.asset] = amounts.get(flip.asset, 0) + flip.amount
    return Total(len(once), amounts)


@dataclass(slots=True)
class Backtest:
    """A new policy through a whole log: give it to ``policy.audit.audit`` as ``watch``.

    ``judged`` counts the verdicts by kind, ``flips`` are those with another outcome, in order.
    """

    policy: Policy
    judged: dict[str, int] = field(default_factory=dict)
    flips: list[Comparison] = field(default_factory=list)
    _beside: Beside | None = None

    def __call__(self, step: Step) -> None:
        """Hear of one entry."""
        if step.after.policy_or_none is None:
            return
        beside = self._beside or Beside.of(self.policy, step.before)
        found = compare(beside, step)
        self._beside = beside.following(step)
        if found is None:
            return
        self.judged[found.kind] = self.judged.get(found.kind, 0) + 1
        if found.way:
            self.flips.append(found)

    def totals(self, way: str, kind: str) -> Total:
        """What flips in one way, of requests or of reservations."""
        return total(flip for flip in self.flips if (flip.way, flip.kind) == (way, kind))

    def by_rule(self) -> Iterator[tuple[tuple[str, str, str, str], Total]]:
        """The flips by way, kind and the deciding rules of both policies, largest group first."""
        groups: dict[tuple[str, str, str, str], list[Comparison]] = {}
        for flip in self.flips:
            place = (flip.way, flip.kind, _named(flip.real), _named(flip.other))
            groups.setdefault(place, []).append(flip)
        found = [(place, total(flips)) for place, flips in groups.items()]
        yield from sorted(found, key=lambda one: (-one[1].requests, one[0]))


def _way(real: Outcome, other: Outcome) -> str:
    if _RANK[other] == _RANK[real]:
        return ""
    return LOOSER if _RANK[other] > _RANK[real] else STRICTER


def _named(verdict: Verdict) -> str:
    return f"{verdict.outcome.word} by {verdict.rule}"


def _kind(entry: RequestEntry | ReserveEntry) -> str:
    if isinstance(entry, ReserveEntry):
        return CANCEL if entry.purpose == CANCEL else "reserve"
    return "request"


def _moved(state: State, entry: RequestEntry | ReserveEntry) -> tuple[str, int]:
    """What the request moves; nothing for a reservation of a request that the log has not."""
    if isinstance(entry, RequestEntry):
        return entry.request.intent.asset, entry.request.intent.amount
    record = state.requests.get(entry.request)
    return (record.request.intent.asset, record.request.intent.amount) if record else ("", 0)
