"""The one driver of every protocol: rounds of one message a peer, without I/O.

A protocol is a chain of step functions. A step takes the bodies that all peers sent in the last round
and returns ``Send`` (bodies for every peer, and the next step) or ``Done``. The wire payload is one
byte of round number and the body. Rules:

- A step runs once exactly one body of every peer is there; peers are handed over in sorted order.
- A peer is at most one round ahead, so at most one round is buffered.
- The same message again is ignored; another message for a round that was answered names its sender.
- A stranger cannot end a run; everything else that is wrong ends it, and nothing of it is used later.
- After the end, further messages are ignored: they are late or meant for nobody.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from itertools import accumulate, pairwise
from typing import TypeAlias

from policy.errors import CallerError, FaultyParticipant, InvariantError, MalformedError
from signer_nodes.mpc.curve import PointAtInfinity

ROUND_MAX = 255
Step: TypeAlias = "Callable[[Mapping[int, bytes]], StepResult]"


@dataclass(frozen=True, slots=True)
class Send:
    """One body for every peer, and the step that takes their answers."""

    outbox: Mapping[int, bytes] = field(repr=False)
    next: Step = field(repr=False)


@dataclass(frozen=True, slots=True)
class Done:
    """The end: a result, and last bodies for every peer or for none."""

    result: object = field(repr=False)
    outbox: Mapping[int, bytes] = field(default_factory=dict, repr=False)


StepResult: TypeAlias = Send | Done


@dataclass(frozen=True, slots=True)
class Progress:
    """What one call brought about: payloads to send, in order, and the result once there is one."""

    outgoing: tuple[tuple[int, bytes], ...] = field(default=(), repr=False)
    result: object | None = field(default=None, repr=False)


class RunState(Enum):
    """Where a run stands."""

    NEW = "new"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


class Rounds:
    """One party's run of one protocol.

    ``first`` is called with no bodies by ``start``. The transport must have authenticated every
    ``sender``. ``body_bytes_max`` bounds each received body before anything looks at it.
    """

    def __init__(self, me: int, peers: tuple[int, ...], *, first: Step, body_bytes_max: int) -> None:
        if not peers or me in peers or len(set(peers)) != len(peers):
            raise CallerError(f"party {me} needs distinct peers other than itself, got {peers}")
        self.me = me
        self.peers = tuple(sorted(peers))
        self.state = RunState.NEW
        self._step = first
        self._body_bytes_max = body_bytes_max
        self._round = 0
        self._waiting: dict[int, dict[int, bytes]] = {}
        self._seen: dict[tuple[int, int], bytes] = {}

    @property
    def round(self) -> int:
        """The round whose messages this party has sent last; 0 before ``start``."""
        return self._round

    @property
    def missing(self) -> tuple[int, ...]:
        """The peers whose message of the current round has not come."""
        return tuple(peer for peer in self.peers if (self._round, peer) not in self._seen)

    def start(self) -> Progress:
        """Run the first step. Messages that came before are taken into account."""
        if self.state is not RunState.NEW:
            raise CallerError(f"this run is {self.state.value}: a run starts once")
        self.state = RunState.RUNNING
        return self._guarded(lambda: self._advance({}))

    def receive(self, sender: int, payload: bytes) -> Progress:
        """Take one payload from an authenticated ``sender``.

        Raises ``FaultyParticipant`` for what no honest peer sends, and whatever a step raises; both
        end the run, except for a ``sender`` that is no peer of it.
        """
        if self.state in (RunState.FINISHED, RunState.FAILED):
            return Progress()
        if sender not in self.peers:
            raise FaultyParticipant(sender, f"is not one of the peers {self.peers} of this run")
        return self._guarded(lambda: self._take(sender, payload))

    def _guarded(self, action: Callable[[], Progress]) -> Progress:
        try:
            return action()
        except Exception:  # whatever a step raises ends the run, and whoever began it is told
            self._end(RunState.FAILED)
            raise

    def _take(self, sender: int, payload: bytes) -> Progress:
        number, body = self._open(sender, payload)
        digest = hashlib.sha256(body).digest()
        known = self._seen.get((number, sender))
        if known is not None and known != digest:
            raise FaultyParticipant(sender, f"sent two different messages for round {number}")
        if known is not None:
            return Progress()
        if number not in (self._round, self._round + 1) or number == 0:
            raise FaultyParticipant(sender, f"sent round {number} while round {self._round} is open")
        self._seen[number, sender] = digest
        self._waiting.setdefault(number, {})[sender] = body
        return self._run_complete_rounds(Progress())

    def _open(self, sender: int, payload: bytes) -> tuple[int, bytes]:
        if not payload:
            raise FaultyParticipant(sender, "sent an empty payload")
        if len(payload) - 1 > self._body_bytes_max:
            raise FaultyParticipant(
                sender,
                f"sent a body of {len(payload) - 1} bytes, the limit is {self._body_bytes_max}",
            )
        return payload[0], payload[1:]

    def _run_complete_rounds(self, progress: Progress) -> Progress:
        while self.state is RunState.RUNNING and len(self._waiting.get(self._round, {})) == len(self.peers):
            bodies = self._waiting.pop(self._round)
            after = self._run_step({peer: bodies[peer] for peer in self.peers})
            progress = Progress(progress.outgoing + after.outgoing, after.result)
        return progress

    def _advance(self, bodies: Mapping[int, bytes]) -> Progress:
        return self._run_complete_rounds(self._run_step(bodies))

    def _run_step(self, bodies: Mapping[int, bytes]) -> Progress:
        result = self._step(bodies)
        if isinstance(result, Send):
            self._step = result.next
            return Progress(self._payloads(result.outbox))
        outgoing = self._payloads(result.outbox) if result.outbox else ()
        self._end(RunState.FINISHED)
        return Progress(outgoing, result.result)

    def _payloads(self, outbox: Mapping[int, bytes]) -> tuple[tuple[int, bytes], ...]:
        if tuple(sorted(outbox)) != self.peers or self._round == ROUND_MAX:
            raise InvariantError(f"a step must send one body to each of {self.peers}, got {sorted(outbox)}")
        self._round += 1
        return tuple((peer, bytes([self._round]) + outbox[peer]) for peer in self.peers)

    def _end(self, state: RunState) -> None:
        self.state = state
        self._step = _ended  # lets go of the secrets that the next step had captured
        self._waiting.clear()


@contextmanager
def blaming(sender: int) -> Iterator[None]:
    """Turn what is malformed in ``sender``'s message into a ``FaultyParticipant`` that names it."""
    try:
        yield
    except (MalformedError, PointAtInfinity) as error:
        raise FaultyParticipant(sender, str(error)) from error


def parts(body: bytes, *lengths: int) -> tuple[bytes, ...]:
    """Cut a body into consecutive fields of exactly these lengths. Raises ``MalformedError``."""
    if len(body) != sum(lengths):
        raise MalformedError(f"a body has {len(body)} bytes instead of {sum(lengths)}")
    ends = list(accumulate(lengths, initial=0))
    return tuple(body[start:end] for start, end in pairwise(ends))


def _ended(_bodies: Mapping[int, bytes]) -> StepResult:
    raise InvariantError("a step was asked of a run that has ended")
