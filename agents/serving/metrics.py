"""What a server counts, in Prometheus' format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from agents.serving.decision import Decision

_BUCKETS = (0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.05, 0.1, 0.25, 1.0)


class Metrics:
    """All metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = Counter(
            "gcn_requests_total", "Requests by route and status", ["route", "code"], registry=r
        )
        self.request_s = Histogram(
            "gcn_request_seconds", "Time in the server", ["route"], buckets=_BUCKETS, registry=r
        )
        self.decisions = Counter(
            "gcn_decisions_total", "Decisions by kind, who decided, and why not the policy", ["kind", "by", "reason"],
            registry=r,
        )  # fmt: skip
        self.decision_s = Histogram(
            "gcn_decision_seconds", "Time of a decision", ["kind"], buckets=_BUCKETS, registry=r
        )
        self.corrections = Counter(
            "gcn_corrections_total", "Choices that a guard took back", ["kind"], registry=r
        )
        self.snapshots = Counter("gcn_snapshots_total", "Snapshots by outcome", ["outcome"], registry=r)
        self.age = Gauge("gcn_snapshot_age_seconds", "Since the last good snapshot", registry=r)
        self.unknown = Gauge("gcn_unknown_readings", "Readings that the last snapshot lacks", registry=r)
        self.bundle = Gauge("gcn_bundle_info", "The loaded bundle", ["name", "digest"], registry=r)
        self.reloads = Counter("gcn_reloads_total", "Reloads by outcome", ["outcome"], registry=r)
        self._seen: dict[tuple[str, ...], tuple[Counter, Histogram]] = {}

    def request(self, route: str, code: int, seconds: float) -> None:
        """Count one request."""
        self._count(self.requests, self.request_s, (route, str(code)), seconds)

    def decision(self, decision: Decision) -> None:
        """Count one decision."""
        labels = (decision.kind, decision.by, decision.reason)
        self._count(self.decisions, self.decision_s, labels, decision.seconds)
        if decision.corrections:
            self.corrections.labels(decision.kind).inc(len(decision.corrections))

    def _count(self, counter: Counter, histogram: Histogram, labels: tuple[str, ...], seconds: float) -> None:
        """One more, by all labels, and its time, by the first; looking children up takes longer than counting."""
        if labels not in self._seen:
            self._seen[labels] = counter.labels(*labels), histogram.labels(labels[0])
        one, time = self._seen[labels]
        one.inc()
        time.observe(seconds)

    def loaded(self, name: str, digest: str) -> None:
        """Name the bundle that is served."""
        self.bundle.clear()
        self.bundle.labels(name, digest[:12]).set(1)

    def text(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self.registry)
