"""One look after the other: learn what moved, follow what was asked, decide, ask.

Rules: (1) what is known from outside is asked for first, and a route about which a chain says nothing decides
nothing; (2) at most one move of a route is in flight, and while one is signed and not settled nothing new is
decided of its route; (3) what is asked for is put down, signed and whole, before it is sent; (4) a top-up
whose reason is gone before it is signed is called back, and asked for anew when there is one. Nothing here
has authority: a move is a request like any other, and the nodes decide.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

from custody.rebalancer.breaker import Breaker, Tripped
from custody.rebalancer.flows import units
from custody.rebalancer.plan import Bounds, Position
from custody.rebalancing import deciding, observing, sharing
from custody.rebalancing.deciding import Decision, Mode, Sight
from custody.rebalancing.following import adopt, follow_moves
from custody.rebalancing.granting import Granter, Settings
from custody.rebalancing.hourly import hourly_breaker, run_this_hour
from custody.rebalancing.metrics import RebalancerMetrics
from custody.rebalancing.moves import ANNOUNCED, IN_FLIGHT, Stage
from custody.rebalancing.observing import LATELY_DAYS
from custody.rebalancing.ports import Book, Desk, TurnedAway
from custody.rebalancing.proposing import Scope, wishes
from custody.rebalancing.records import (
    DAY_MS,
    HOUR_MS,
    Alarm,
    Direction,
    Exposure,
    Holdings,
    Move,
    Movement,
    Note,
    Observed,
    Price,
    Route,
    replace,
)
from custody.rebalancing.sharing import Part
from policy.errors import OperationalError

OLD_BOUNDS_MS = 7 * DAY_MS
MODES = tuple(mode.value for mode in Mode)
_LOG = logging.getLogger(__name__)


class Rebalancer:
    """Looks when told to. ``now_ms`` is the clock."""

    def __init__(
        self,
        desk: Desk,
        book: Book,
        *,
        routes: Sequence[Route],
        settings: Settings,
        metrics: RebalancerMetrics,
        now_ms: Callable[[], int],
    ) -> None:
        self._desk = desk
        self._book = book
        self._routes = tuple(routes)
        self._settings = settings
        self._metrics = metrics
        self._now_ms = now_ms
        self._granter = Granter(desk, book, settings=settings, now_ms=now_ms)
        self._breakers: dict[str, tuple[int, int, Breaker]] = {}
        self._hourly: dict[str, tuple[int, int, tuple[Breaker, float] | None]] = {}
        self._kept: set[tuple[str, int]] = set()
        self._adopted = False

    def look(self) -> list[Move]:
        """One whole round; the moves that changed. Raises ``OperationalError`` if a part of it failed."""
        changed: list[Move] = []
        if not self._adopted:
            changed += adopt(self._book, self._desk, now_ms=self._now_ms(), routes=self._routes)
            self._adopted = True
        self._learn()
        changed += follow_moves(self._book, self._desk, now_ms=self._now_ms())
        holdings = self._desk.holdings()
        failed: OperationalError | None = None
        parts = sharing.parts_of(self._routes, holdings, withdrawn=self._withdrawn())
        for route in self._routes:
            try:
                changed += self._route(route, holdings, parts=parts)
            except OperationalError as error:  # the other routes are looked after all the same
                _LOG.warning("route %s: %s", route.name, error)
                failed = error
        self._tell()
        self._metrics.looked_seconds.set(self._now_ms() / 1000)
        for move in changed:
            self._metrics.moves.labels(route=move.route, stage=move.stage.value).inc()
            _LOG.info("%s: %s %s", move.name, move.stage, move.error)
        if failed is not None:
            raise failed
        return changed

    def _tell(self) -> None:
        """Put what people should know into the log; what gets no answer now is told at the next look."""
        for note in self._book.untold_notes():
            try:
                self._desk.tell(note)
            except TurnedAway as error:
                _LOG.warning("the log takes no note of %s: %s", note.kind, error)
            except OperationalError as error:
                _LOG.warning("the log was not told of %s: %s", note.kind, error)
                return
            self._book.told(note)

    def _learn(self) -> None:
        """Take in every movement there is; where the log went on from another branch, all of them again."""
        while True:
            cursor = self._book.cursor()
            found, following = self._desk.movements(cursor)
            if following == cursor:
                return
            self._book.add_movements(found, cursor=0 if following < cursor else following)

    def _withdrawn(self) -> dict[str, int]:
        """What was withdrawn of late, by route."""
        now_ms, found = self._now_ms(), {}
        for route in self._routes:
            movements = self._book.movements(route.asset, since_ms=now_ms - (LATELY_DAYS + 1) * DAY_MS)
            alarms = self._book.alarms(route.name)
            found[route.name] = observing.withdrawn_lately(route, movements, alarms=alarms, now_ms=now_ms)
        return found

    def _route(self, route: Route, holdings: Holdings, *, parts: Mapping[str, Part]) -> list[Move]:
        moves = [m for m in self._book.moves_in(sorted(ANNOUNCED | IN_FLIGHT)) if m.route == route.name]
        held = observing.held_of(holdings, route)
        position = observing.position_of(holdings, route, moves=_flights(moves), me=self._desk.name)
        self._metrics.blind.labels(route=route.name).set(position is None)
        if held is None or position is None:
            self._turn(route, "blind", f"no chain says what {route.wallet} holds: nothing is decided")
            return []
        stated = self._stated(route, holdings)
        mine = sharing.narrowed(route, parts.get(route.name))
        bounds = deciding.bounds_of(mine, stated) or self._last_bounds(route)
        if bounds is None:
            self._turn(route, "blind", f"no price says what the policy's bounds come to in {route.asset}")
            return []
        route = replace(route, bounds=bounds)
        movements = self._book.movements(route.asset)
        self._observe(route, movements, held=held, now_ms=holdings.time_ms)
        sight = self._sight(route, movements, holdings=holdings)
        decision = deciding.decide(sight, position)
        if sight.alarm is None and (alarm := self._run(sight, decision, movements)) is not None:
            sight = replace(sight, alarm=alarm)
            decision = deciding.decide(sight, position)
        self._keep(route, decision, position)
        if any(move.stage is Stage.MOVING for move in moves):
            return []
        scope = self._scope(sight, position, holdings, parts=parts)
        return self._propose(sight, decision, position, moves=moves, scope=scope)

    def _observe(self, route: Route, movements: Sequence[Movement], *, held: int, now_ms: int) -> None:
        before, cursor = self._book.observed(route.name), self._book.cursor()
        new = [one for one in movements if before is not None and one.number >= before.number]
        found = observing.look(route, before, movements=new, now=Observed(now_ms, held, 0, cursor))
        self._book.observe(route.name, found.seen, hours=found.hours)

    def _sight(self, route: Route, movements: Sequence[Movement], *, holdings: Holdings) -> Sight:
        now_ms, alarms = self._now_ms(), self._book.alarms(route.name)
        deposits = self._book.deposits(route.name)
        history = observing.history_of(route, movements, deposits=deposits, alarms=alarms, now_ms=now_ms)
        price = deciding.price_of(holdings, route, stated=self._stated(route, holdings))
        alarm = next((one for one in alarms if not one.ended_ms), None)
        return deciding.sight_of(route, history, price=price, alarm=alarm, now_ms=now_ms)

    def _stated(self, route: Route, holdings: Holdings) -> Price | None:
        age_ms = self._settings.price_max_age_ms
        return deciding.fresh(holdings, route, max_age_ms=age_ms, now_ms=self._now_ms())

    def _last_bounds(self, route: Route) -> Bounds | None:
        """What bounds in value came to at the last price there was."""
        known = self._book.exposures(route.name, since_ms=self._now_ms() - OLD_BOUNDS_MS)
        return known[-1].bounds if known else None

    def _run(self, sight: Sight, decision: Decision, movements: Sequence[Movement]) -> Alarm | None:
        """The alarm of a run that has begun, put down and told."""
        route, now_ms = sight.route, self._now_ms()
        ended_ms = max((one.ended_ms for one in self._book.alarms(route.name)), default=0)
        since_ms = max(now_ms - now_ms % DAY_MS, ended_ms)
        day, known = now_ms // DAY_MS, self._breakers.get(route.name)
        if known is None or known[:2] != (day, ended_ms):
            known = day, ended_ms, deciding.breaker_of(sight.history, calm_ms=ended_ms)
            self._breakers[route.name] = known
        withdrawn = observing.withdrawn_since(route, movements, since_ms=since_ms)
        tripped = deciding.run_now(known[2], sight, withdrawn_base=withdrawn, now_ms=now_ms)
        tripped = tripped or self._run_by_hours(route, movements, calm_ms=ended_ms)
        if tripped is None:
            return None
        exposures = self._book.exposures(route.name, since_ms=since_ms - DAY_MS)
        calm = [one for one in exposures if one.mode == Mode.FORECAST]
        band = calm[0].band if calm else decision.plan.band
        alarm = deciding.alarm_of(route, tripped, band=band, now_ms=now_ms)
        self._book.put_alarm(alarm)
        _LOG.error(
            "ALARM %s: %s, %d base units withdrawn, %d are normal at most: the band is frozen, top-ups above "
            "%d base units a day wait for a person; look, then: quorumkeep rebalance calm %s",
            *(
                route.name,
                alarm.rule,
                alarm.observed_base,
                alarm.threshold_base,
                alarm.quota_base,
                route.name,
            ),
        )
        return alarm

    def _run_by_hours(self, route: Route, movements: Sequence[Movement], *, calm_ms: int) -> Tripped | None:
        """The same by hours, for a route that pays around the clock."""
        now_ms = self._now_ms()
        hour_ms = now_ms - now_ms % HOUR_MS
        if self._hourly.get(route.name, (0, 0, None))[:2] != (hour_ms, calm_ms):
            alarms = self._book.alarms(route.name)
            hours = observing.hours_until(route, movements, alarms=alarms, now_ms=now_ms)
            made = hourly_breaker(hours, unit_base=route.unit_base, calm_ms=calm_ms)
            self._hourly[route.name] = hour_ms, calm_ms, made
        _, _, watched = self._hourly[route.name]
        if watched is None:
            return None
        breaker, expected = watched
        return run_this_hour(
            breaker,
            expected=expected,
            withdrawn_base=observing.withdrawn_since(route, movements, since_ms=max(hour_ms, calm_ms)),
            unit_base=route.unit_base,
            now_ms=now_ms,
        )

    def _keep(self, route: Route, decision: Decision, position: Position) -> None:
        now_ms, plan = self._now_ms(), decision.plan
        seen = Exposure(
            hour_ms=now_ms - now_ms % HOUR_MS,
            hot_base=position.hot_base,
            owed_base=position.owed_base,
            bounds=route.bounds,
            band=plan.band,
            mode=decision.mode.value,
            reasons=decision.reasons,
        )
        self._book.add_exposure(route.name, seen)
        if (route.name, decision.forecast.now_ms) not in self._kept:
            self._book.add_forecast(route.name, deciding.foreseen(decision))
            self._kept.add((route.name, decision.forecast.now_ms))
        self._turn(route, decision.mode.value, "; ".join(decision.reasons))
        self._show(route, seen)

    def _turn(self, route: Route, kind: str, text: str) -> None:
        """Note what the band rests on, whenever that changes."""
        before = self._book.newest_note(route.name, (*MODES, "blind"))
        if before is None or before.kind != kind:
            self._book.add_note(Note(self._now_ms(), route.name, kind, text))
            (_LOG.info if kind == Mode.FORECAST else _LOG.warning)("%s: %s: %s", route.name, kind, text)

    def _show(self, route: Route, seen: Exposure) -> None:
        metrics, name, band = self._metrics, route.name, seen.band
        metrics.held.labels(route=name).set(units(seen.hot_base, route.unit_base))
        metrics.owed.labels(route=name).set(units(seen.owed_base, route.unit_base))
        metrics.maximum.labels(route=name).set(units(seen.bounds.maximum_base, route.unit_base))
        edges = {"s": band.s_base, "S": band.S_base, "U": band.U_base, "T": band.T_base}
        for edge, amount in edges.items():
            metrics.band.labels(route=name, edge=edge).set(units(amount, route.unit_base))
        for mode in Mode:
            metrics.mode.labels(route=name, mode=mode.value).set(mode.value == seen.mode)
        metrics.alarm.labels(route=name).set(seen.mode == Mode.RUN)

    def _propose(
        self, sight: Sight, decision: Decision, position: Position, *, moves: list[Move], scope: Scope
    ) -> list[Move]:
        wanted = wishes(
            decision,
            free_base=position.hot_base - position.owed_base,
            moves=moves,
            ahead=None if sight.alarm else deciding.ahead(decision, position, now_ms=self._now_ms()),
            scope=scope,
        )
        granted = (self._granter.grant(sight.route, wish, reasons=decision.reasons) for wish in wanted)
        return [move for move in granted if move is not None]

    def _scope(
        self, sight: Sight, position: Position, holdings: Holdings, *, parts: Mapping[str, Part]
    ) -> Scope:
        """What bounds the next move: above all the policy's maximum, whatever is owed and may yet leave."""
        route, alarm = sight.route, sight.alarm
        fee = route.fee_ceiling if route.native else 0
        room = route.bounds.maximum_base - position.hot_base - position.incoming_base
        together = sharing.room_base(
            route,
            self._routes,
            holdings=holdings,
            parts=parts,
            moves=self._book.moves_in(sorted(IN_FLIGHT)),
            me=self._desk.name,
        )
        room = room if together is None else min(room, together)
        source = observing.balance_of(holdings, route.source, asset=route.asset) or 0
        paying = observing.accounts_of(holdings, route.wallet, asset=route.asset)[0].balance_base or 0
        return Scope(
            source_base=max(0, min(source - fee, room)),
            paying_base=max(0, paying - fee),
            quota_base=None if alarm is None else max(0, alarm.quota_base - self._raised(route)),
            least_base=max(1, fee),
        )

    def _raised(self, route: Route) -> int:
        """What was asked for today by top-ups that nobody had to let go."""
        today = self._now_ms() - self._now_ms() % DAY_MS
        counted = (*IN_FLIGHT, Stage.ARRIVED)
        return sum(
            move.amount_base
            for move in self._book.moves_of_period(route.name, Direction.TOP_UP, period_ms=today)
            if move.stage in counted and not move.released
        )


def _flights(moves: Sequence[Move]) -> list[Move]:
    return [move for move in moves if move.stage in IN_FLIGHT]
