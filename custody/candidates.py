"""From what should enter the log to entries, states and a checkpoint. Pure.

A candidate the fold would not take in is not written, with two exceptions: a request that the policy
denies stands in the log, inert, so that the denial is on record; and so does what only moves its time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from policy import ledger
from policy.encoding import Json
from policy.entries import ENTRY_BYTES_MAX, make_entry
from policy.errors import CallerError, OperationalError, ProtocolError
from policy.evaluate import Outcome as Answer
from policy.log.checkpoint import Checkpoint
from policy.log.merkle import Frontier, leaf_hash
from policy.state import Outcome, State
from policy.stored.pages import DamagedState

BATCH_ENTRIES_MAX = 64
BATCH_BYTES_MAX = 512 * 1024
JUDGED = ("request", "reserve")


@dataclass(frozen=True, slots=True)
class Candidate:
    """What should enter the log: ``proof`` is ``signature``, ``signatures`` or ``assertion``.

    A body may be a function of the state before its entry: then it is made when its turn comes. By then it
    may be that there is none, as when a change took out the wallet: ``OperationalError``.
    ``only_time`` is for an inert entry that is written to move the log's time.
    """

    kind: str
    body: "Json | Callable[[State], Json]"
    proof: Mapping[str, Json] = field(default_factory=dict)
    only_time: bool = False


@dataclass(frozen=True, slots=True)
class Tip:
    """The end of the log: the folded state and the tree."""

    state: State
    frontier: Frontier

    def checkpoint(self) -> Checkpoint:
        """The head to be signed."""
        return Checkpoint(self.state.origin, self.frontier.size, self.frontier.root(), self.state.digest)


@dataclass(frozen=True, slots=True)
class Folded:
    """One entry of the log, and what it came to; ``state`` is the one after it."""

    entry: bytes
    outcome: Outcome
    state: State


@dataclass(frozen=True, slots=True)
class Batch:
    """The tip after as many candidates as fit, what became of each of them, and the entries."""

    tip: Tip
    outcomes: tuple[Outcome, ...]
    written: tuple[Folded, ...]


EMPTY = Tip(ledger.initial(), Frontier())


def extend(tip: Tip, entry: bytes) -> tuple[Tip, Folded]:
    """Fold one entry of the log."""
    state, outcome = ledger.fold(tip.state, entry)
    return Tip(state, tip.frontier.append(leaf_hash(entry))), Folded(entry, outcome, state)


def write_batch(tip: Tip, candidates: Sequence[Candidate], *, now_ms: int) -> Batch:
    """Write the first candidates, at most a batch; ``len(outcomes)`` says how many were dealt with."""
    time_ms = max(tip.state.time_ms, now_ms)
    outcomes: list[Outcome] = []
    written: list[Folded] = []
    total = 0
    for candidate in candidates[:BATCH_ENTRIES_MAX]:
        made = _write(tip.state, candidate, time_ms)
        if isinstance(made, Outcome):
            outcomes.append(made)
            continue
        total += len(made)
        if written and total > BATCH_BYTES_MAX:
            break
        after, folded = extend(tip, made)
        outcomes.append(folded.outcome)
        if folded.outcome.accepted or _is_denial(folded.outcome) or candidate.only_time:
            tip = after
            written.append(folded)
    return Batch(tip, tuple(outcomes), tuple(written))


def _write(state: State, candidate: Candidate, time_ms: int) -> bytes | Outcome:
    """The bytes of the entry, or why there will be none."""
    proof = dict(candidate.proof)
    try:
        body = candidate.body(state) if callable(candidate.body) else candidate.body
        if candidate.kind in JUDGED:
            verdict = ledger.judge(state, candidate.kind, body=body, time_ms=time_ms)
            if candidate.kind == "reserve" and verdict.outcome is not Answer.ALLOW:
                return Outcome("reserve", False, verdict.reason, b"", verdict)
            proof["verdict"] = verdict.to_json()
        entry = make_entry(candidate.kind, time_ms, body=body, **proof)
    except DamagedState:
        raise
    except (ProtocolError, CallerError, OperationalError) as error:  # what the fold takes as inert, and more
        return Outcome(candidate.kind, False, str(error))
    if len(entry) > ENTRY_BYTES_MAX:
        return Outcome(
            candidate.kind, False, f"an entry of {len(entry)} bytes, at most {ENTRY_BYTES_MAX} fit"
        )
    return entry


def _is_denial(outcome: Outcome) -> bool:
    """Whether the policy itself said no to a request: that is on record, and worth a line of the log."""
    verdict = outcome.verdict
    return outcome.kind == "request" and verdict is not None and verdict.outcome is Answer.DENY
