"""What an observer of chains shows to Prometheus."""

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from custody.observing.blocks import Memory
from custody.observing.stating import Stated


class ObserveMetrics:
    """Counters and gauges of one observer, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.looked_seconds = Gauge(
            "quorumkeep_observing_looked_seconds",
            "When the last look at all chains ended, since 1970",
            registry=self.registry,
        )
        self.height = Gauge(
            "quorumkeep_observing_height",
            "The first block that is not looked through yet",
            ["chain"],
            registry=self.registry,
        )
        self.statements = Counter(
            "quorumkeep_observing_statements",
            "Statements handed in",
            ["kind", "logged"],
            registry=self.registry,
        )
        self.settling = Gauge(
            "quorumkeep_observing_settling",
            "Transactions of ours that are not observed yet",
            registry=self.registry,
        )
        self.given_up = Gauge(
            "quorumkeep_observing_given_up",
            "Transactions of ours that are not observed and not asked about any more, since the start",
            registry=self.registry,
        )
        self.contradicted = Gauge(
            "quorumkeep_observing_contradicted",
            "Deposits that the log has otherwise than this observer's chains, as last seen",
            registry=self.registry,
        )
        self.failures = Counter(
            "quorumkeep_observing_failures", "Looks that could not be finished", registry=self.registry
        )

    def serve(self, port: int, address: str) -> None:
        """Answer scrapes over HTTP; port 0 is off."""
        if port:
            start_http_server(port, address, registry=self.registry)

    def count(self, made: Sequence[Stated]) -> Sequence[Stated]:
        """Count what was stated, and hand it on."""
        for one in made:
            self.statements.labels(kind=one.kind, logged=str(one.logged).lower()).inc()
        return made

    def heights(self, memories: Mapping[str, Memory]) -> None:
        """Show how far each chain is looked through."""
        for name, memory in memories.items():
            self.height.labels(chain=name).set(memory.next or 0)
