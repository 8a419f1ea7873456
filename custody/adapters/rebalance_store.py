"""A rebalancer's own records in one SQLite file; every method is one transaction."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, RowMapping, and_, create_engine, event, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import SQLAlchemyError

from custody.adapters.rebalance_tables import (
    ALARMS,
    CURSOR,
    DEPOSITS,
    EXPOSURES,
    FORECASTS,
    METADATA,
    MOVEMENTS,
    MOVES,
    NOTES,
    OBSERVED,
)
from custody.rebalancer.plan import Band, Bounds
from custody.rebalancing.moves import IN_FLIGHT, Stage
from custody.rebalancing.records import (
    Alarm,
    Direction,
    Exposure,
    Foreseen,
    Move,
    Movement,
    Note,
    Observed,
)
from policy.errors import OperationalError

_MOVE_FIELDS = tuple(Move.__dataclass_fields__)


class RebalanceStore:
    """Implements ``custody.rebalancing.ports.Book``."""

    def __init__(self, path: Path) -> None:
        self._engine = create_engine(f"sqlite:///{path}")
        event.listen(self._engine, "connect", _durable)
        try:
            METADATA.create_all(self._engine)
        except SQLAlchemyError as error:
            raise OperationalError(f"cannot open {path}: {error}; check its folder and rights") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    # What was seen.

    def cursor(self) -> int:
        """The number of the next movement to ask for."""
        with self._read() as db:
            return int(db.execute(select(CURSOR.c.number)).scalar() or 0)

    def add_movements(self, movements: Sequence[Movement], *, cursor: int) -> None:
        """Keep movements, each request's once, and go on from ``cursor``."""
        with self._write() as db:
            for one in movements:
                row = {name: getattr(one, name) for name in Movement.__dataclass_fields__}
                db.execute(upsert(MOVEMENTS).values(row).on_conflict_do_nothing())
            row = {"place": 0, "number": cursor}
            db.execute(upsert(CURSOR).values(row).on_conflict_do_update(index_elements=["place"], set_=row))

    def movements(self, asset: str, *, since_ms: int = 0, after: int = -1) -> tuple[Movement, ...]:
        """Movements of an asset, in the order of the log."""
        query = select(MOVEMENTS).where(MOVEMENTS.c.asset == asset, MOVEMENTS.c.number > after)
        query = query.where(MOVEMENTS.c.signed_ms >= since_ms).order_by(MOVEMENTS.c.number)
        with self._read() as db:
            return tuple(Movement(**row) for row in db.execute(query).mappings())

    def observed(self, route: str) -> Observed | None:
        """The latest look at a route."""
        names = [OBSERVED.c[name] for name in Observed.__dataclass_fields__]
        with self._read() as db:
            row = db.execute(select(*names).where(OBSERVED.c.route == route)).mappings().first()
        return None if row is None else Observed(**row)

    def observe(self, route: str, seen: Observed, *, hours: Sequence[tuple[int, int, bool]]) -> None:
        """Keep a look at a route, and what it adds to the deposits of hours: (hour, amount, known)."""
        values = {"route": route, **{name: getattr(seen, name) for name in Observed.__dataclass_fields__}}
        with self._write() as db:
            for hour_ms, amount, known in hours:
                place = (DEPOSITS.c.route == route) & (DEPOSITS.c.hour_ms == hour_ms)
                row = db.execute(select(DEPOSITS).where(place)).mappings().first()
                new = {"amount_base": amount, "known": known}
                if row is not None:
                    new = {"amount_base": row["amount_base"] + amount, "known": row["known"] and known}
                    db.execute(update(DEPOSITS).where(place).values(new))
                else:
                    db.execute(insert(DEPOSITS).values(route=route, hour_ms=hour_ms, **new))
            db.execute(
                upsert(OBSERVED).values(values).on_conflict_do_update(index_elements=["route"], set_=values)
            )

    def deposits(self, route: str) -> dict[int, int | None]:
        """Deposits by hour; None where a look was missing."""
        query = select(DEPOSITS).where(DEPOSITS.c.route == route)
        with self._read() as db:
            rows = db.execute(query).mappings().all()
        return {row["hour_ms"]: row["amount_base"] if row["known"] else None for row in rows}

    # What was thought.

    def add_exposure(self, route: str, seen: Exposure) -> None:
        """Keep what was held and planned in an hour; the latest word of the hour stays."""
        bounds, band = seen.bounds, seen.band
        row = {
            "route": route,
            "hour_ms": seen.hour_ms,
            "hot_base": seen.hot_base,
            "owed_base": seen.owed_base,
            "minimum_base": bounds.minimum_base,
            "target_base": bounds.target_base,
            "maximum_base": bounds.maximum_base,
            "refill_base": band.s_base,
            "fill_base": band.S_base,
            "sweep_base": band.U_base,
            "rest_base": band.T_base,
            "mode": seen.mode,
            "reasons": json.dumps(seen.reasons),
        }
        with self._write() as db:
            places = ["route", "hour_ms"]
            db.execute(upsert(EXPOSURES).values(row).on_conflict_do_update(index_elements=places, set_=row))

    def exposures(self, route: str, *, since_ms: int = 0) -> tuple[Exposure, ...]:
        """What was held and planned, oldest first."""
        query = select(EXPOSURES).where(EXPOSURES.c.route == route, EXPOSURES.c.hour_ms >= since_ms)
        with self._read() as db:
            return tuple(_exposure(row) for row in db.execute(query.order_by(EXPOSURES.c.hour_ms)).mappings())

    def add_forecast(self, route: str, foreseen: Sequence[Foreseen]) -> None:
        """Keep a forecast; the first one made of a day stays as it was."""
        with self._write() as db:
            for one in foreseen:
                row = {
                    "route": route,
                    "made_ms": one.made_ms,
                    "day_ms": one.day_ms,
                    "flow": one.flow,
                    "levels": json.dumps(one.levels),
                    "amounts": json.dumps([str(amount) for amount in one.amounts_base]),
                }
                db.execute(upsert(FORECASTS).values(row).on_conflict_do_nothing())

    def forecasts(self, route: str, *, since_ms: int = 0) -> tuple[Foreseen, ...]:
        """Forecasts of days from ``since_ms`` on, by the day and then by when they were made."""
        query = select(FORECASTS).where(FORECASTS.c.route == route, FORECASTS.c.day_ms >= since_ms)
        query = query.order_by(FORECASTS.c.day_ms, FORECASTS.c.made_ms, FORECASTS.c.flow)
        with self._read() as db:
            return tuple(
                Foreseen(
                    row["made_ms"],
                    row["day_ms"],
                    row["flow"],
                    tuple(json.loads(row["levels"])),
                    tuple(int(amount) for amount in json.loads(row["amounts"])),
                )
                for row in db.execute(query).mappings()
            )

    # Moves.

    def put_move(self, move: Move) -> None:
        """Keep a move as it is now; whether it was let go stays as a person said."""
        row: dict[str, Any] = {name: getattr(move, name) for name in _MOVE_FIELDS}
        row |= {"direction": move.direction.value, "stage": move.stage.value}
        row["reasons"] = json.dumps(move.reasons)
        changed = {name: value for name, value in row.items() if name != "released"}
        with self._write() as db:
            db.execute(upsert(MOVES).values(row).on_conflict_do_update(index_elements=["name"], set_=changed))

    def release(self, name: str) -> None:
        """A person lets a move go above the breaker's quota."""
        with self._write() as db:
            db.execute(update(MOVES).where(MOVES.c.name == name).values(released=True))

    def move(self, name: str) -> Move | None:
        """One move, or None."""
        with self._read() as db:
            row = db.execute(select(MOVES).where(MOVES.c.name == name)).mappings().first()
        return None if row is None else _move(row)

    def moves(self, *, limit: int = 100) -> tuple[Move, ...]:
        """Moves, newest first."""
        query = select(MOVES).order_by(MOVES.c.created_ms.desc(), MOVES.c.name.desc()).limit(limit)
        with self._read() as db:
            return tuple(_move(row) for row in db.execute(query).mappings())

    def moves_in(self, stages: Sequence[Stage]) -> tuple[Move, ...]:
        """Moves in any of ``stages``, oldest first."""
        query = select(MOVES).where(MOVES.c.stage.in_([stage.value for stage in stages]))
        with self._read() as db:
            return tuple(_move(row) for row in db.execute(query.order_by(MOVES.c.created_ms)).mappings())

    def moves_since(self, since_ms: int) -> tuple[Move, ...]:
        """Moves that changed from ``since_ms`` on, and those under way; oldest first."""
        counts = or_(MOVES.c.updated_ms >= since_ms, MOVES.c.stage.in_([stage.value for stage in IN_FLIGHT]))
        query = select(MOVES).where(counts).order_by(MOVES.c.created_ms, MOVES.c.name)
        with self._read() as db:
            return tuple(_move(row) for row in db.execute(query).mappings())

    def moves_of_period(self, route: str, direction: Direction, *, period_ms: int) -> tuple[Move, ...]:
        """The moves of a period in one direction, oldest first."""
        query = select(MOVES).where(MOVES.c.route == route, MOVES.c.direction == direction.value)
        query = query.where(MOVES.c.period_ms == period_ms).order_by(MOVES.c.created_ms)
        with self._read() as db:
            return tuple(_move(row) for row in db.execute(query).mappings())

    # Alarms and notes.

    def alarms(self, route: str) -> tuple[Alarm, ...]:
        """Every alarm of a route, oldest first."""
        query = select(ALARMS).where(ALARMS.c.route == route).order_by(ALARMS.c.since_ms)
        with self._read() as db:
            rows = db.execute(query).mappings().all()
        return tuple(Alarm(**{**row, "band": Band(*map(int, json.loads(row["band"])))}) for row in rows)

    def put_alarm(self, alarm: Alarm) -> None:
        """Keep an alarm as it is now."""
        band = alarm.band
        edges = [str(edge) for edge in (band.s_base, band.S_base, band.U_base, band.T_base)]
        row = {name: getattr(alarm, name) for name in Alarm.__dataclass_fields__} | {
            "band": json.dumps(edges)
        }
        with self._write() as db:
            places = ["route", "since_ms"]
            db.execute(upsert(ALARMS).values(row).on_conflict_do_update(index_elements=places, set_=row))

    def add_note(self, note: Note) -> None:
        """Keep a note."""
        row = {name: getattr(note, name) for name in Note.__dataclass_fields__}
        with self._write() as db:
            db.execute(upsert(NOTES).values(**row, told=False).on_conflict_do_nothing())

    def notes(self, *, limit: int = 50) -> tuple[Note, ...]:
        """Notes, newest first."""
        return self._notes(select(NOTES).order_by(NOTES.c.time_ms.desc()).limit(limit))

    def newest_note(self, route: str, kinds: Sequence[str]) -> Note | None:
        """The latest of these kinds about a route."""
        query = select(NOTES).where(NOTES.c.route == route, NOTES.c.kind.in_(kinds))
        return next(iter(self._notes(query.order_by(NOTES.c.time_ms.desc()).limit(1))), None)

    def untold_notes(self) -> tuple[Note, ...]:
        """Notes that the log has not been told, oldest first."""
        return self._notes(select(NOTES).where(NOTES.c.told.is_(False)).order_by(NOTES.c.time_ms))

    def told(self, note: Note) -> None:
        """The log has this note, or never will."""
        columns = (NOTES.c.time_ms, NOTES.c.route, NOTES.c.kind)
        place = and_(*(column == getattr(note, column.name) for column in columns))
        with self._write() as db:
            db.execute(update(NOTES).where(place).values(told=True))

    def _notes(self, query: Any) -> tuple[Note, ...]:
        with self._read() as db:
            rows = db.execute(query).mappings().all()
        return tuple(Note(row["time_ms"], row["route"], row["kind"], row["text"]) for row in rows)

    @contextlib.contextmanager
    def _read(self) -> Iterator[Connection]:
        with _named(), self._engine.connect() as db:
            yield db

    @contextlib.contextmanager
    def _write(self) -> Iterator[Connection]:
        with _named(), self._engine.begin() as db:
            yield db


@contextlib.contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise OperationalError(
            f"the rebalancer's database fails: {error}; make room, then start it"
        ) from error


def _durable(connection: Any, _: object) -> None:
    """A move that was sent is on the disk, whatever happens to the machine."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _move(row: RowMapping) -> Move:
    fields: dict[str, Any] = {name: row[name] for name in _MOVE_FIELDS}
    fields |= {"direction": Direction(row["direction"]), "stage": Stage(row["stage"])}
    return Move(**{**fields, "reasons": tuple(json.loads(row["reasons"]))})


def _exposure(row: RowMapping) -> Exposure:
    return Exposure(
        hour_ms=row["hour_ms"],
        hot_base=row["hot_base"],
        owed_base=row["owed_base"],
        bounds=Bounds(row["minimum_base"], row["target_base"], row["maximum_base"]),
        band=Band(row["refill_base"], row["fill_base"], row["sweep_base"], row["rest_base"]),
        mode=row["mode"],
        reasons=tuple(json.loads(row["reasons"])),
    )
