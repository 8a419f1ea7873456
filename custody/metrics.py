"""What the coordinator shows to Prometheus."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server


class Metrics:
    """The coordinator's counters and gauges, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.transitions = Counter(
            "quorumkeep_request_transitions",
            "Requests that entered a state",
            ["state"],
            registry=self.registry,
        )
        self.checkpoint_seconds = Histogram(
            "quorumkeep_checkpoint_seconds",
            "From a durable checkpoint to its w cosignatures",
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
            registry=self.registry,
        )
        self.log_size = Gauge("quorumkeep_log_size", "Entries in the log", registry=self.registry)
        self.quorum_size = Gauge(
            "quorumkeep_quorum_size", "Entries under w cosignatures", registry=self.registry
        )
        self.presignatures = Gauge(
            "quorumkeep_presignatures",
            "Presignatures in stock",
            ["key", "signers"],
            registry=self.registry,
        )
        self.signing_seconds = Histogram(
            "quorumkeep_signing_seconds",
            "From a reservation to its signature",
            buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
            registry=self.registry,
        )
        self.failed_jobs = Counter(
            "quorumkeep_failed_jobs", "Jobs given up and retried", registry=self.registry
        )
        self.shadow_verdicts = Counter(
            "quorumkeep_shadow_verdicts",
            "Verdicts that the shadow policy was asked for too, by both outcomes",
            ["kind", "real", "shadow"],
            registry=self.registry,
        )
        self.shadow_errors = Counter(
            "quorumkeep_shadow_errors",
            "Entries that the shadow policy has no verdict on: it failed, or was too slow",
            registry=self.registry,
        )
        self.webhook_deliveries = Counter(
            "quorumkeep_webhook_deliveries",
            "Tries to tell a webhook of an event, and whether it took it",
            ["webhook", "taken"],
            registry=self.registry,
        )

        self._add_watch()

    def _add_watch(self) -> None:
        """What keeps watch over the deployment rather than over payments."""
        self.failed_logins = self._counter(
            "failed_logins", "Calls and logins by nobody that the roster knows", ["door"]
        )
        self.contradictions = self._counter(
            "contradictions", "Statements that say otherwise than the log what came to us", ["observer"]
        )
        self.undone = self._counter(
            "undone", "Settled requests that a reorganisation undid; they are sent again", ["chain"]
        )
        self.endpoint_doubts = self._counter(
            "chain_endpoint_doubts",
            "Questions that an endpoint answered not, or otherwise than enough others",
            ["chain", "endpoint", "kind"],
        )
        self.risk_score = self._gauge("risk_score", "The score of the risk indicators, 0 is best")
        self.indicator = self._gauge("indicator", "A risk indicator's reading; NaN if unknown", ["name"])
        self.indicator_points = self._gauge("indicator_points", "What it is worth, to 100", ["name"])
        self.frozen = self._gauge("frozen", "1 while signing is frozen")
        self.pending_changes = self._gauge("pending_changes", "Changes that wait for their delay")
        self.cosigner_up = self._gauge("cosigner_up", "1 while it follows the log", ["cosigner"])
        self.cosigner_behind = self._gauge("cosigner_behind_entries", "Entries it lacks", ["cosigner"])
        self.cosigner_clock_off_seconds = self._gauge(
            "cosigner_clock_off_seconds", "How far its clock is ahead of the coordinator's", ["cosigner"]
        )
        self.cosigner_disk_free_bytes = self._gauge(
            "cosigner_disk_free_bytes", "Room left on its disk", ["cosigner"]
        )

        self.certificate_left_seconds = self._gauge(
            "certificate_left_seconds", "Until a certificate of the configuration ends", ["key"]
        )

    def doubted(self, chain: str, endpoint: str, *, kind: str) -> None:
        """One of several endpoints of a chain was silent, or stood alone."""
        self.endpoint_doubts.labels(chain=chain, endpoint=endpoint, kind=kind).inc()

    def _gauge(self, name: str, what: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(f"quorumkeep_{name}", what, labels, registry=self.registry)

    def _counter(self, name: str, what: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(f"quorumkeep_{name}", what, labels, registry=self.registry)

    def serve(self, port: int, address: str) -> None:
        """Answer scrapes over HTTP; port 0 is off."""
        if port:
            start_http_server(port, address, registry=self.registry)
