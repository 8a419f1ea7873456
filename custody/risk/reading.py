"""From the entries of a folded log to scores, and what of them the log's own statements say.

A request is scored when its entry comes, by what was usual before it: so the score follows from the entries
up to there, whoever computes it and however late.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from custody.risk.habits import DAY_MS, Ask, House
from custody.risk.scoring import MODEL, Score, score
from policy.addresses import is_address
from policy.decode.abi import Argument
from policy.entries import RequestEntry, SignatureEntry
from policy.evaluate import Outcome as Answer
from policy.fact_entries import Basis, ObservationEntry, RejectEntry, ScreeningEntry
from policy.facts import called, declared
from policy.intent import Intent, Request, request_id
from policy.model import Allow, Approve, Policy
from policy.replay import Step
from policy.rules import Listed
from policy.state import PAYMENT, JobStatus, State

SWEPT_EVERY: Final = 1024


@dataclass(frozen=True, slots=True)
class Scored:
    """A request that the log took in, with its score at that moment and everybody it may pay."""

    ask: Ask
    score: Score
    payees: tuple[str, ...]
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Stated:
    """A screening of the log that counts. ``wrong`` says how it differs from the score that follows."""

    index: int
    request: bytes
    result: str
    risk: int
    basis: Basis | None
    signers: tuple[str, ...]
    wrong: str


class Reader:
    """Follows a log, step by step, and keeps the scores of the requests that are still open."""

    def __init__(self) -> None:
        self.house = House()
        self.open: dict[bytes, Scored] = {}
        self.stated: dict[bytes, Stated] = {}
        self._trusted: frozenset[str] = frozenset()
        self._asked = 0

    def hear(self, step: Step) -> Scored | Stated | None:
        """Learn from an entry; what it says about a score, or the score that it leads to."""
        before, after = step.before, step.after
        same = before.policy_or_none is after.policy_or_none and before.owned is after.owned
        if not same and after.policy_or_none is not None:
            self.name(after)
        entry, outcome = step.timed.entry, step.outcome
        if isinstance(entry, RequestEntry):
            return self._request(step, entry)
        if not outcome.accepted:
            return None
        match entry:
            case ScreeningEntry():
                return self._screening(step, entry)
            case SignatureEntry():
                self._signature(step, entry)
            case ObservationEntry():
                self._forget(entry.request)
            case RejectEntry():
                initiator = step.after.requests[entry.request].request.initiator
                if entry.by != initiator:
                    self.house.failed(initiator, step.after.time_ms)
            case _:
                pass
        return None

    def score_as_next(self, state: State, request: Request, *, time_ms: int) -> Scored:
        """The score of a request, were it the next one that the log takes in."""
        ask = self._ask(state, request, time_ms=time_ms)
        payees = tuple(_payees(state.policy, request.intent))
        return Scored(ask, score(ask, self.house), payees, request.expires_ms)

    def _request(self, step: Step, entry: RequestEntry) -> Scored | None:
        verdict, outcome, time_ms = step.outcome.verdict, step.outcome, step.after.time_ms
        if outcome.accepted:
            found = self.score_as_next(step.after, entry.request, time_ms=time_ms)
            self.house.asked(found.ask)
            self.open[found.ask.request] = found
            self._sweep(step.after)
            return found
        if verdict is None or verdict.outcome is not Answer.DENY or outcome.reason != verdict.reason:
            return None  # badly signed, or claimed wrongly: who it names did not fail, nor did they ask
        if entry.request.initiator in step.after.roster.initiators:
            self.house.failed(entry.request.initiator, time_ms)
        return None

    def _screening(self, step: Step, entry: ScreeningEntry) -> Stated:
        scored = self.open.get(entry.request)
        found = Stated(
            index=step.index,
            request=entry.request,
            result=entry.result,
            risk=entry.risk,
            basis=entry.basis,
            signers=tuple(sorted(entry.signatures)),
            wrong=_wrong(entry.basis, scored),
        )
        self.stated[entry.request] = found
        return found

    def _signature(self, step: Step, entry: SignatureEntry) -> None:
        job = step.after.jobs[entry.job]
        was_signed = step.before.jobs[entry.job].status is JobStatus.SIGNED
        if job.status is not JobStatus.SIGNED or was_signed or job.purpose != PAYMENT:
            return
        if (scored := self.open.get(job.request_id)) is not None:
            self.house.signed(scored.ask, step.after.time_ms)

    def _ask(self, state: State, request: Request, *, time_ms: int) -> Ask:
        intent = request.intent
        place = (intent.chain, intent.destination)
        named = place in state.owned or state.policy.contract_at(*place) is not None
        lists = state.policy.lists
        return Ask(
            request=request_id(request.body()),
            initiator=request.initiator,
            chain=intent.chain,
            asset=intent.asset,
            amount=intent.amount,
            destination=intent.destination,
            named=named or any(intent.destination in lists[name] for name in self._trusted),
            time_ms=time_ms,
        )

    def name(self, state: State) -> None:
        """Take note of what the policy in force names."""
        policy = state.policy
        self._trusted = frozenset(_trusted(policy))
        listed = [address for name in sorted(self._trusted) for address in sorted(policy.lists[name])]
        contracts = sorted(contract.address for contract in policy.contracts.values())
        self.house.name([*sorted(address for _, address in state.owned), *contracts, *listed])

    def _sweep(self, state: State) -> None:
        """Forget, now and then, what cannot be signed any more."""
        self._asked += 1
        if self._asked % SWEPT_EVERY:
            return
        for request, scored in list(self.open.items()):
            if state.requests[request].closed or scored.expires_ms + DAY_MS < state.time_ms:
                self._forget(request)

    def _forget(self, request: bytes) -> None:
        self.open.pop(request, None)
        self.stated.pop(request, None)


def _wrong(basis: Basis | None, scored: Scored | None) -> str:
    """How a statement differs from the score; nothing is said of one by hand."""
    if basis is None:
        return ""
    if scored is None:
        return "the request was over long ago: its score is not kept"
    if basis.model != MODEL:
        return f"it is by the model {basis.model}, this program has {MODEL}"
    if basis.shares == scored.score.points:
        return ""
    said, found = (_words(shares) for shares in (basis.shares, scored.score.points))
    return f"its shares are {said}; from the log follow {found}"


def _words(shares: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{feature} {points}" for feature, points in shares) or "none"


def _trusted(policy: Policy) -> Iterator[str]:
    """The lists that some rule asks for: to be on one speaks for an address, to be on another need not."""
    for rule in policy.rules:
        if isinstance(rule.then, Allow | Approve):
            for condition in rule.when.conditions:
                if isinstance(condition, Listed) and condition.wanted:
                    yield from condition.lists


def _payees(policy: Policy, intent: Intent) -> Iterator[str]:
    """The destination, and whatever other addresses a call or typed data is about."""
    yield intent.destination
    _, _, arguments = called(policy, intent)
    _, fields = declared(policy, intent)
    found = set(_texts((*arguments.values(), *fields.values())))
    yield from sorted(one for one in found - {intent.destination} if is_address(intent.chain, one))


def _texts(value: Argument) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for one in value:
            yield from _texts(one)
