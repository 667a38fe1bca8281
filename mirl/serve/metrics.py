"""Metrics of a server for Prometheus."""

from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from mirl.serve.refusal import STATUS

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
"""Bounds of the histogram buckets in seconds."""


class Metrics:
    """Metrics of one server since its start; `ticket` holds the facts of the ticket that restores."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, ticket: dict[str, Any]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "mirl_requests", "Requests to restore a picture", ["outcome"], registry=self._registry
        )
        for outcome in STATUS:
            self._requests.labels(outcome)  # from the start, so that a rate can be taken of the first one
        self.restore_seconds = Histogram(
            "mirl_restore_seconds",
            "Time to decode, restore and encode a picture",
            buckets=SECONDS,
            registry=self._registry,
        )
        self.wait_seconds = Histogram(
            "mirl_wait_seconds",
            "Time that a picture waits before that",
            buckets=SECONDS,
            registry=self._registry,
        )
        self.pixels = Counter("mirl_pixels", "Pixels restored", registry=self._registry)
        self.queue_length = Gauge("mirl_queue_length", "Pictures that wait", registry=self._registry)
        self.slots_taken = Gauge(
            "mirl_slots_taken",
            "Pictures that arrive, wait, are restored or fetched",
            registry=self._registry,
        )
        self.restarts = Counter(
            "mirl_restarts", "Restoring processes begun after one was lost", registry=self._registry
        )
        about = Gauge(
            "mirl_ticket", "1, for the ticket that restores", ["name", "sha256"], registry=self._registry
        )
        about.labels(name=ticket["name"], sha256=ticket["sha256"]).set(1)

    def count(self, outcome: str) -> None:
        """Count a request that ended with `outcome`."""
        self._requests.labels(outcome).inc()

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self._registry)
