"""What a scoring observer shows to Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

BUCKETS = (5, 15, 25, 35, 50, 65, 80, 95, 100)


class RiskMetrics:
    """Counters and gauges of one observer, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.looked_seconds = Gauge(
            "quorumkeep_scoring_looked_seconds",
            "When the last look ended, since 1970",
            registry=self.registry,
        )
        self.silent = Gauge(
            "quorumkeep_scoring_silent",
            "1 while nothing is stated for want of a list that is young enough",
            registry=self.registry,
        )
        self.statements = Counter(
            "quorumkeep_scoring_statements", "Statements that were logged", ["result"], registry=self.registry
        )
        self.scores = Histogram(
            "quorumkeep_scoring_risk", "Scores that were logged", buckets=BUCKETS, registry=self.registry
        )
        self.failures = Counter(
            "quorumkeep_scoring_failures", "Looks that could not be finished", registry=self.registry
        )

    def serve(self, port: int, address: str) -> None:
        """Answer scrapes over HTTP; port 0 is off."""
        if port:
            start_http_server(port, address, registry=self.registry)
