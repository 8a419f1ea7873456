"""What a scoring observer states of the requests that wait, and whose word on it is complete.

Rules: (1) nothing is stated from a log that does not hold, or by a list that says nothing; (2) what others
stated by hand is left as it is; (3) a list of another day screens again what waits, and is stated where it
changes the result; (4) all observers with the same log and list state the same bytes, so that their
signatures add up.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from custody.risk.following import Follower
from custody.risk.ports import Door, Exchange, NoScreening, Offered, Screened, Screener
from custody.risk.reading import Reader, Scored
from policy.encoding import Json, canonical, statement
from policy.errors import InvalidSignatureError, OperationalError
from policy.fact_entries import Basis
from policy.roster import verified_signers
from policy.state import JobStatus, RequestState, State
from policy.stored.pages import DamagedState

_LOG = logging.getLogger(__name__)
TAG = "screening"


@dataclass(frozen=True, slots=True)
class Statement:
    """One that this observer made, whether it is in the log already, and how many have signed it."""

    request: bytes
    result: str
    risk: int
    signers: tuple[str, ...]
    logged: bool


@dataclass(frozen=True, slots=True)
class Observer:
    """Who states: a name of the roster and its Ed25519 signature."""

    name: str
    sign: Callable[[bytes], bytes]


def body_of(state: State, scored: Scored, *, screened: Screened) -> dict[str, Json]:
    """The statement about a request. Its time is the request's, or just after that of the last statement."""
    record = state.requests[scored.ask.request]
    basis = Basis(scored.score.model, screened.list_hash, scored.score.points)
    last = record.screening
    return {
        "origin": state.origin,
        "request": scored.ask.request.hex(),
        "result": screened.result,
        "risk": scored.score.risk,
        "observed_ms": record.logged_ms if last is None else last.observed_ms + 1,
        "basis": basis.to_json(),
    }


class Stater:
    """Looks at what waits, whenever it is told to. Its owner serialises the calls."""

    def __init__(
        self,
        follower: Follower,
        reader: Reader,
        *,
        observer: Observer,
        screener: Screener,
        exchange: Exchange,
        door: Door,
    ) -> None:
        self._follower, self._reader = follower, reader
        self._observer, self._screener = observer, screener
        self._exchange, self._door = exchange, door

    def look(self, now_ms: int) -> list[Statement]:
        """State what is to be stated now. Raises ``OperationalError``, ``NoScreening`` for want of a list."""
        self._follower.advance()
        if not self._follower.holds:
            raise OperationalError("the log's newest checkpoint does not cover what was read: look again")
        state = self._follower.state
        if self._observer.name not in state.roster.observers:
            raise OperationalError(f"the roster has no observer {self._observer.name}: have it enrolled")
        if state.roster.f and not self._exchange.shared:
            raise OperationalError(
                f"{state.roster.f + 1} observers have to state the same: name the folder that they share, "
                "as 'exchange' in risk.toml"
            )
        waiting = [one for one in self._reader.open.values() if _waits(state, one.ask.request)]
        made, failed = list[Statement](), list[OperationalError]()
        for scored in waiting:
            try:
                made += self._state(state, scored, now_ms)
            except DamagedState:
                raise
            except OperationalError as error:  # the others are looked after all the same
                failed.append(error)
        if not waiting:
            self._screener.screen((), now_ms=now_ms)  # that a list is too old is said before it is missed
        if failed:
            kind = NoScreening if isinstance(failed[0], NoScreening) else OperationalError
            raise kind(f"{failed[0]} ({len(failed)} of {len(waiting)} requests wait for it)") from failed[0]
        self._withdraw({one.request for one in made if not one.logged})
        return made

    def _state(self, state: State, scored: Scored, now_ms: int) -> list[Statement]:
        request = scored.ask.request
        screened = self._screener.screen(scored.payees, now_ms=now_ms)
        if not self._is_news(state.requests[request], request, screened):
            return []
        body = body_of(state, scored, screened=screened)
        signatures = self._signatures(state, request, body)
        is_enough = len(signatures) > state.roster.f
        if is_enough:
            self._door.hand_in(body, signatures)
        signers = tuple(sorted(signatures))
        return [Statement(request, screened.result, scored.score.risk, signers, is_enough)]

    def _is_news(self, record: RequestState, request: bytes, screened: Screened) -> bool:
        if record.screening is None:
            return True
        said = self._reader.stated.get(request)
        return said is not None and said.basis is not None and said.result != screened.result

    def _signatures(self, state: State, request: bytes, body: dict[str, Json]) -> dict[str, bytes]:
        """This observer's, and those of others who left the same statement."""
        own = self._observer.sign(statement(TAG, body))
        self._exchange.offer(request, Offered(self._observer.name, body, own))
        found = {self._observer.name: own}
        for other in self._exchange.others(request, state.roster.observers):
            if canonical(other.body) != canonical(body):
                _LOG.warning("%s states something else of %s: %s", other.observer, request.hex(), other.body)
            elif _is_signed(state.roster.observers, other):
                found[other.observer] = other.signature
        return found

    def _withdraw(self, standing: set[bytes]) -> None:
        """Take away what was left for others and is of no use any more."""
        for request in self._exchange.mine():
            if request not in standing:
                self._exchange.withdraw(request)


def _waits(state: State, request: bytes) -> bool:
    """Whether it may still be signed one day, and is not yet."""
    record = state.requests[request]
    over = record.closed or record.rejected_by or record.request.expires_ms <= state.time_ms
    return not over and all(job.status is not JobStatus.SIGNED for job in state.live_jobs(request))


def _is_signed(observers: Mapping[str, bytes], offered: Offered) -> bool:
    signatures = {offered.observer: offered.signature}
    try:
        return bool(verified_signers(TAG, offered.body, signatures=signatures, keys=observers))
    except InvalidSignatureError as error:
        _LOG.warning("a statement in the exchange is not counted: %s", error)
        return False
