"""Every verdict of a log, made again from its entries alone, with the receipt of each.

What the coordinator claims is compared with the verdict that follows. And the verdict is made a second
time from its receipt and the policy, so that a receipt which leaves something out is seen.
"""

from collections.abc import Callable
from dataclasses import dataclass

from policy.encoding import Json, parse_canonical
from policy.entries import ENTRY_BYTES_MAX, Claim, RequestEntry, ReserveEntry, TimedEntry
from policy.evaluate import Verdict
from policy.explain import receipt, verdict_again
from policy.fields import Fields
from policy.intent import request_id
from policy.ledger import Weighed, weigh
from policy.model import Policy
from policy.rules import CANCELLATION
from policy.state import CANCEL, Outcome, State


@dataclass(frozen=True, slots=True)
class Step:
    """An entry of a log: the state before it, its bytes read, and what the fold made of it."""

    before: State
    index: int
    data: bytes
    timed: TimedEntry
    outcome: Outcome
    after: State


@dataclass(frozen=True, slots=True)
class Judged:
    """One verdict of the log. ``subject`` is the id of the request or of the job, ``policy`` was in force.

    ``wrong`` says how what the entry claims, or the receipt, differs from the verdict; empty if neither does.
    """

    index: int
    time_ms: int
    kind: str
    request: bytes
    subject: bytes
    accepted: bool
    claim: Claim
    policy: Policy
    receipt: dict[str, Json]
    wrong: str

    def to_json(self) -> dict[str, Json]:
        """One line of a replay."""
        return {
            "index": self.index,
            "time_ms": self.time_ms,
            "kind": self.kind,
            "request": self.request.hex(),
            "subject": self.subject.hex(),
            "accepted": self.accepted,
            "claim": {"outcome": self.claim.outcome, "rule": self.claim.rule},
            "wrong": self.wrong,
            "receipt": self.receipt,
        }


def judged(step: Step) -> Judged | None:
    """The verdict of an entry with its receipt; None for an entry that has none."""
    entry, outcome = step.timed.entry, step.outcome
    if not isinstance(entry, RequestEntry | ReserveEntry) or outcome.verdict is None:
        return None
    weighed = weigh(step.before, step.timed.kind, body=entry_body(step.data), time_ms=step.timed.time_ms)
    found = receipt(
        weighed.state.policy,
        weighed.facts,
        verdict=weighed.verdict,
        policy_hash=weighed.state.policy_hash,
        book_hash=weighed.state.book_hash,
    )
    cancelled = isinstance(entry, ReserveEntry) and entry.purpose == CANCEL
    return Judged(
        index=step.index,
        time_ms=step.timed.time_ms,
        kind=CANCEL if cancelled else step.timed.kind,
        request=entry.request if isinstance(entry, ReserveEntry) else request_id(entry.body),
        subject=outcome.subject,
        accepted=outcome.accepted,
        claim=entry.claim,
        policy=weighed.state.policy,
        receipt=found,
        wrong=_wrong(weighed, found, claim=entry.claim, folded=outcome.verdict),
    )


def watch_verdicts(hear: Callable[[Judged], None]) -> Callable[[Step], None]:
    """What ``policy.audit.audit`` can be given to hear of every verdict."""

    def watch(step: Step) -> None:
        found = judged(step)
        if found is not None:
            hear(found)

    return watch


def entry_body(data: bytes) -> Json:
    """The body of an entry that was read before."""
    return Fields(parse_canonical(data, bytes_max=ENTRY_BYTES_MAX), "entry").raw("body")


def _wrong(weighed: Weighed, found: dict[str, Json], *, claim: Claim, folded: Verdict) -> str:
    verdict = weighed.verdict
    if verdict != folded:
        return f"the fold found {_words(folded)}, and made again it is {_words(verdict)}"
    if (claim.outcome, claim.rule) != (verdict.outcome.word, verdict.rule):
        return f"the entry claims {claim.outcome} by {claim.rule}, the verdict is {_words(verdict)}"
    if weighed.facts is not None and weighed.facts.kind != CANCELLATION:
        again = verdict_again(weighed.state.policy, found)
        if again != verdict:
            return f"the verdict is {_words(verdict)}, and by its receipt alone {_words(again)}"
    return ""


def _words(verdict: Verdict) -> str:
    return f"{verdict.outcome.word} by {verdict.rule}"
