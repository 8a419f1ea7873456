"""What a rebalancer needs from outside: the coordinator, and a place for its records."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from custody.rebalancing.moves import Stage
from custody.rebalancing.records import (
    Alarm,
    Direction,
    Exposure,
    Foreseen,
    Holdings,
    Move,
    Movement,
    Note,
    Observed,
)
from policy.encoding import Json
from policy.errors import OperationalError


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of the rebalancer as the coordinator has it."""

    request: bytes
    body: bytes
    state: str
    tx_hash: str
    error: str
    approvals: int
    updated_ms: int


class TurnedAway(OperationalError):
    """The coordinator refuses what was asked, and always will as it is. ``code`` is the API's."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Desk(Protocol):
    """The coordinator, as one backend sees it.

    Every method may be repeated, and raises ``OperationalError`` when no answer came.
    """

    @property
    def origin(self) -> str:
        """The log's name."""

    @property
    def name(self) -> str:
        """The backend's name in the roster."""

    def holdings(self) -> Holdings:
        """What there is now."""

    def movements(self, after: int) -> tuple[tuple[Movement, ...], int]:
        """Signed payments from a number on, and where to go on; a smaller number after a change of branch."""

    def address(self, wallet: str) -> str:
        """Where a wallet is paid to."""

    def submit(self, body: bytes) -> Asked:
        """Sign and hand in a request; the same bytes again give the same answer. Raises ``TurnedAway``."""

    def get(self, request: bytes) -> Asked | None:
        """One request of its own, or None."""

    def own_requests(self, before: bytes = b"") -> tuple[Asked, ...]:
        """Its newest requests, or those before one of them; newest first."""

    def call_back(self, request: bytes, reason: str) -> None:
        """Say no to a request of its own before it is signed. Raises ``TurnedAway`` when it is too late."""

    def report(self, body: dict[str, Json]) -> None:
        """Sign and hand in a report; the newest one is kept. Raises ``TurnedAway`` when it is not taken."""

    def tell(self, note: Note) -> None:
        """Put a note into the log, where it may stand twice. Raises ``TurnedAway`` when it never will."""


class Book(Protocol):
    """The rebalancer's records; every method is one transaction, durable when it returns."""

    def cursor(self) -> int:
        """The number of the next movement to ask for."""

    def add_movements(self, movements: Sequence[Movement], *, cursor: int) -> None:
        """Keep movements, each request's once, and go on from ``cursor``."""

    def movements(self, asset: str, *, since_ms: int = 0, after: int = -1) -> tuple[Movement, ...]:
        """Movements of an asset, in the order of the log."""

    def observed(self, route: str) -> Observed | None:
        """The latest look at a route."""

    def observe(self, route: str, seen: Observed, *, hours: Sequence[tuple[int, int, bool]]) -> None:
        """Keep a look at a route, and what it adds to the deposits of hours: (hour, amount, known)."""

    def deposits(self, route: str) -> dict[int, int | None]:
        """Deposits by hour; None where a look was missing."""

    def add_exposure(self, route: str, seen: Exposure) -> None:
        """Keep what was held and planned in an hour."""

    def exposures(self, route: str, *, since_ms: int = 0) -> tuple[Exposure, ...]:
        """What was held and planned, oldest first."""

    def add_forecast(self, route: str, foreseen: Sequence[Foreseen]) -> None:
        """Keep a forecast; the first one made of a day stays as it was."""

    def forecasts(self, route: str, *, since_ms: int = 0) -> tuple[Foreseen, ...]:
        """Forecasts of days from ``since_ms`` on, by the day and then by when they were made."""

    def put_move(self, move: Move) -> None:
        """Keep a move as it is now; whether it was let go stays as a person said."""

    def release(self, name: str) -> None:
        """A person lets a move go above the breaker's quota."""

    def move(self, name: str) -> Move | None:
        """One move, or None."""

    def moves(self, *, limit: int = 100) -> tuple[Move, ...]:
        """Moves, newest first."""

    def moves_in(self, stages: Sequence[Stage]) -> tuple[Move, ...]:
        """Moves in any of ``stages``, oldest first."""

    def moves_since(self, since_ms: int) -> tuple[Move, ...]:
        """Moves that changed from ``since_ms`` on, and those under way; oldest first."""

    def moves_of_period(self, route: str, direction: Direction, *, period_ms: int) -> tuple[Move, ...]:
        """The moves of a period in one direction, oldest first."""

    def alarms(self, route: str) -> tuple[Alarm, ...]:
        """Every alarm of a route, oldest first."""

    def put_alarm(self, alarm: Alarm) -> None:
        """Keep an alarm as it is now."""

    def add_note(self, note: Note) -> None:
        """Keep a note."""

    def notes(self, *, limit: int = 50) -> tuple[Note, ...]:
        """Notes, newest first."""

    def newest_note(self, route: str, kinds: Sequence[str]) -> Note | None:
        """The latest of these kinds about a route."""

    def untold_notes(self) -> tuple[Note, ...]:
        """Notes that the log has not been told, oldest first."""

    def told(self, note: Note) -> None:
        """The log has this note, or never will."""
