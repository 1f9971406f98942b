"""What a server counts, in the format of Prometheus."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

MEMORY = 0.9
"""How much of the pace of before stays when a request ends."""


class Metrics:
    """Counts of one server.

    Attributes:
        pace: time between requests that end, of late, in s.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        kind = ["route", "status"]
        self.requests = Counter("emotion2vec_requests", "Requests that were answered", kind, registry=self._registry)
        self.latency = Histogram(
            "emotion2vec_request_seconds", "Time of a request, in s", ["route"], registry=self._registry
        )
        self.waiting = Gauge("emotion2vec_requests_waiting", "Requests that are not answered", registry=self._registry)
        self.seconds = Counter("emotion2vec_audio_seconds", "Audio that was decoded, in s", registry=self._registry)
        self.together = Histogram(
            "emotion2vec_clips_together",
            "Clips that were computed together with one",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self._registry,
        )
        self.restarts = Counter(
            "emotion2vec_process_restarts", "Processes that had to be started again", registry=self._registry
        )
        self.pace = 0.1
        self._last = time.monotonic()

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self.requests.labels(route, str(status)).inc()
        self.latency.labels(route).observe(seconds)
        now = time.monotonic()
        self.pace = MEMORY * self.pace + (1 - MEMORY) * min(10.0, now - self._last)
        self._last = now

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self._registry)
