"""What a sweeper shows to Prometheus."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from custody.rebalancing.records import Direction, Move
from custody.sweeping.deciding import Decision

PREFIX = "quorumkeep_sweeper"


class SweeperMetrics:
    """Counters and gauges of one sweeper, in a registry of their own. Amounts are in base units."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.looked_seconds = self._gauge("looked_seconds", "When the last look ended, since 1970")
        self.paused = self._gauge("paused", "Accounts that are left alone after refusals")
        self.unknown = self._gauge("unknown", "Balances that no chain tells")
        self.in_flight = self._gauge("in_flight", "Moves under way", "direction")
        self.oldest_seconds = self._gauge("oldest_seconds", "How long the oldest move is under way")
        self.tank_held = self._gauge("tank_held", "What a gas tank holds, in base units", "asset")
        self.tank_low = self._gauge("tank_low", "1 while a gas tank should be filled", "asset")
        self.thirsty = self._gauge("thirsty", "Accounts that lack gas", "asset")
        self.moves = self._counter("moves", "Moves that entered a stage", "direction", "asset", "stage")
        self.failures = self._counter("failures", "Looks that could not be finished")

    def serve(self, port: int, address: str) -> None:
        """Answer scrapes over HTTP; port 0 is off."""
        if port:
            start_http_server(port, address, registry=self.registry)

    def show(self, decision: Decision, *, moves: Sequence[Move], now_ms: int) -> None:
        """What a look found; ``moves`` are under way."""
        self.looked_seconds.set(now_ms / 1000)
        self.paused.set(len(decision.paused))
        self.unknown.set(decision.unknown)
        for direction in Direction:
            self.in_flight.labels(direction.value).set(sum(one.direction is direction for one in moves))
        self.oldest_seconds.set((now_ms - min((one.created_ms for one in moves), default=now_ms)) / 1000)
        for tank in decision.tanks:
            if tank.held_base is not None:
                self.tank_held.labels(tank.asset).set(tank.held_base)
            self.tank_low.labels(tank.asset).set(tank.low)
            self.thirsty.labels(tank.asset).set(tank.thirsty)

    def moved(self, move: Move) -> None:
        """A move is at another stage."""
        self.moves.labels(move.direction.value, move.route.partition("@")[0], move.stage.value).inc()

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", what, labels, registry=self.registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", what, labels, registry=self.registry)
