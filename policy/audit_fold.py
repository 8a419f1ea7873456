"""The fold of an audit: every signature is checked once, here or before.

Here, unless somebody has looked at the signatures before (``policy.prechecking``), or this auditor has
folded the entry in an earlier run (``Seen``). What was found before holds only under the roster, and for the
message and key, that it was found under; what was seen before, only if all of it folds to the same state.
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from types import MappingProxyType
from typing import Final, NamedTuple

from policy.ledger import fold
from policy.prechecking import Checker, Found, Proof, Task
from policy.state import Outcome, State, UnverifiedState
from policy.suites import DKLS23_SECP256K1

AHEAD_FROM: Final = 4096
"""Logs that are shorter are not worth another process."""
CHUNK: Final = 2048
CHUNKS_AHEAD: Final = 6


class Seen(NamedTuple):
    """How far an auditor has come in a log: its first ``size`` entries, of which ``inert`` had no effect."""

    size: int
    root: bytes
    digest: bytes
    inert: frozenset[int]


class Looked(NamedTuple):
    """What was found of entries ahead of the fold, under the roster of this hash."""

    found: Found = MappingProxyType({})
    roster_hash: bytes = b""


NOTHING_SEEN: Final = Seen(0, b"", b"", frozenset())


class AuditFold:
    """The state so far, and the next entry into it."""

    def __init__(self, state: State, seen: Seen = NOTHING_SEEN) -> None:
        self.state, self._seen = state, seen

    def fold(self, data: bytes, looked: Looked) -> Outcome:
        """Fold an entry, of which ``looked`` may have something. Raises ``UnknownVersion``."""
        index = self.state.size
        if index < self._seen.size and index not in self._seen.inert:
            self.state, outcome = fold(_believing(self.state), data)
            return outcome
        proof = looked.found.get(index)
        if proof is not None:
            state, outcome = fold(_believing(self.state), data)
            if state.roster_hash == looked.roster_hash and _fits(state, outcome, proof):
                self.state = state
                return outcome
        self.state, outcome = fold(_verifying(self.state), data)
        return outcome


def checked_ahead(
    entries: Iterator[bytes], checker: Checker | None, *, state: Callable[[], State]
) -> Iterator[tuple[bytes, Looked]]:
    """Every entry with what the checker found of it and its neighbours. A few chunks are read ahead."""
    if checker is None:
        yield from ((data, Looked()) for data in entries)
        return
    start, waiting = 0, deque[tuple[list[bytes], Callable[[], Looked]]]()
    while True:
        chunks, width = (
            (CHUNKS_AHEAD, CHUNK) if start else (1, 1)
        )  # the genesis entry says who signs the next
        while len(waiting) < chunks:
            chunk = list(islice(entries, width))
            if not chunk:
                break
            waiting.append((chunk, _submitted(checker, state(), start=start, chunk=chunk)))
            start += len(chunk)
        if not waiting:
            return
        chunk, result = waiting.popleft()
        looked = result()
        yield from ((data, looked) for data in chunk)


def _submitted(checker: Checker, state: State, *, start: int, chunk: list[bytes]) -> Callable[[], Looked]:
    if state.roster_or_none is None:
        return Looked
    task = Task(state.origin, state.roster_document, state.roster_hash, start, chunk)
    result = checker.submit(task)
    return lambda: Looked(result(), task.roster_hash)


def _fits(state: State, outcome: Outcome, proof: Proof) -> bool:
    """Whether the signature of a job was checked over what the log says it must be."""
    if outcome.kind != "signature" or not outcome.accepted:
        return outcome.kind != "signature"
    job = state.jobs[outcome.subject]
    if job.suite != DKLS23_SECP256K1 or len(job.signings) != 1:
        return False
    signing = job.signings[0]
    return (signing.message, signing.public_key) == proof


def _believing(state: State) -> State:
    return state if isinstance(state, UnverifiedState) else _as(UnverifiedState, state)


def _verifying(state: State) -> State:
    return _as(State, state) if isinstance(state, UnverifiedState) else state


def _as(kind: type[State], state: State) -> State:
    return kind(*(getattr(state, name) for name in State.__struct_fields__))
