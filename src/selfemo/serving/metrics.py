"""What the server tells Prometheus of itself: requests by path and status, their time, and how many it holds."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selfemo.serving.limits import CLIENT_LEFT, HEALTH, METRICS

PATHS = ("/v1/chat/completions", "/v1/emotions", "/v1/models")
"""Paths that are told apart; any other is "other", so that no client can make up figures without end."""
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80)
"""Upper bounds of the histogram's buckets: up to what the last of a full queue may wait."""


class Metrics:
    """The figures of one server.

    Args:
        held: Says how many requests the engine works on or has waiting.
    """

    def __init__(self, held: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "selfemo_requests", "Requests that were answered.", ("path", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "selfemo_request_seconds",
            "From a request's head to its answer's end.",
            ("path",),
            buckets=SECONDS,
            registry=self._registry,
        )
        in_flight = Gauge(
            "selfemo_requests_in_flight", "Requests that the engine works on or has waiting.", registry=self._registry
        )
        in_flight.set_function(held)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        name = path if path in PATHS else "other"
        self._requests.labels(name, str(status)).inc()
        self._seconds.labels(name).observe(seconds)

    def text(self) -> bytes:
        """All figures, as Prometheus reads them."""
        return generate_latest(self._registry)


class Measured:
    """Counts every request, also those that are refused before the application; probes and scrapes it does not count.

    Args:
        app: What answers.
        metrics: Where they are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in (HEALTH, METRICS):
            await self.app(scope, receive, send)
            return
        status, begun = CLIENT_LEFT, time.perf_counter()

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, seen)
        finally:
            self.metrics.answered(scope["path"], status, time.perf_counter() - begun)
