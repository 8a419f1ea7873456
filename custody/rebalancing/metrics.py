"""What a rebalancer shows to Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server


class RebalancerMetrics:
    """Counters and gauges of one rebalancer, in a registry of their own. Amounts are in whole units."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.looked_seconds = self._gauge("looked_seconds", "When the last look ended, since 1970", [])
        self.held = self._gauge("held", "What the wallet holds", ["route"])
        self.owed = self._gauge("owed", "What is asked of the wallet and not paid", ["route"])
        self.maximum = self._gauge("maximum", "The most that the policy lets it hold", ["route"])
        self.band = self._gauge("band", "The band's edges", ["route", "edge"])
        self.mode = self._gauge("mode", "1 for what the band rests on now", ["route", "mode"])
        self.alarm = self._gauge("alarm", "1 from when the breaker tripped until people end it", ["route"])
        self.blind = self._gauge("blind", "1 while a chain does not say what is held", ["route"])
        self.moves = Counter(
            "quorumkeep_rebalancer_moves",
            "Moves that entered a stage",
            ["route", "stage"],
            registry=self.registry,
        )
        self.failures = Counter(
            "quorumkeep_rebalancer_failures", "Looks that could not be finished", registry=self.registry
        )

    def serve(self, port: int, address: str) -> None:
        """Answer scrapes over HTTP; port 0 is off."""
        if port:
            start_http_server(port, address, registry=self.registry)

    def _gauge(self, name: str, what: str, labels: list[str]) -> Gauge:
        return Gauge(f"quorumkeep_rebalancer_{name}", what, labels, registry=self.registry)
