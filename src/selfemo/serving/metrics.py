"""What the server tells Prometheus of itself: requests by path and status, their time, and what the engine works on."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sized

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selfemo.data.labels import LabelSpace
from selfemo.policy.stepping import TokenCounts
from selfemo.serving.limits import CHATS, CLIENT_LEFT, OPEN
from selfemo.serving.record import record_of
from selfemo.serving.scheduler import Scheduler
from selfemo.serving.schema import TurnEmotions

PATHS = (*CHATS, "/v1/emotions", "/v1/feedback", "/v1/models")
"""Paths that are told apart; any other is "other", so that no client can make up figures without end."""
METHODS = ("GET", "POST", "DELETE")
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80)
"""Upper bounds of the histogram's buckets: up to what the last of a full queue may wait."""
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
ROWS = (1, 2, 4, 8, 16, 32, 64)


class Requests:
    """How many requests there were, by path and status, and their time; and figures of the process."""

    def __init__(self) -> None:
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

    def also(self, figures: Collector) -> None:
        """Tell the figures of another part of the server."""
        self._registry.register(figures)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        """All figures, as Prometheus reads them."""
        return generate_latest(self._registry)


class Metrics(Requests):
    """The figures of a server that loads a policy: also its engine's, and what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self._rows = Histogram(
            "selfemo_step_requests",
            "Requests that a step of the engine worked on.",
            buckets=ROWS,
            registry=self._registry,
        )
        self._labels = Counter(
            "selfemo_read_labels",
            "Turns that were read, by the label that came first.",
            ("space", "label"),
            registry=self._registry,
        )
        self._confidence = Histogram(
            "selfemo_read_confidence",
            "How likely the label that came first was.",
            ("space",),
            buckets=SHARES,
            registry=self._registry,
        )

    def watch(self, scheduler: Scheduler, sessions: Sized) -> None:
        """Tell also what a scheduler works on and how many sessions there are."""
        for name, text, value in (
            ("selfemo_requests_in_flight", "Requests that the engine works on or has waiting.", lambda: scheduler.held),
            ("selfemo_requests_waiting", "Requests that wait for the engine.", lambda: scheduler.waiting),
            ("selfemo_draining", "1 once the server is told to stop.", lambda: int(scheduler.draining)),
            ("selfemo_sessions", "Conversations that are remembered.", lambda: len(sessions)),
            (
                "selfemo_kept_tokens",
                "Tokens whose keys and values are kept for requests to come.",
                lambda: scheduler.stepper.figures.kept,
            ),
        ):
            Gauge(name, text, registry=self._registry).set_function(value)
        self._registry.register(_Tokens(lambda: scheduler.stepper.figures))

    def stepped(self, requests: int) -> None:
        """Count a step of the engine."""
        self._rows.observe(requests)

    def read(self, space: LabelSpace, turns: Iterable[TurnEmotions]) -> None:
        """Count turns that were read; the names are the label space's own, never a client's."""
        for turn in turns:
            label = next(iter(turn.emotions), "")
            if label in space.index:
                self._labels.labels(space.name, label).inc()
                self._confidence.labels(space.name).observe(turn.scores.get(label, 0.0))


class _Tokens(Collector):
    """Tokens of the engine, by what became of them."""

    def __init__(self, figures: Callable[[], TokenCounts]) -> None:
        self.figures = figures

    def collect(self) -> Iterator[CounterMetricFamily]:
        """See prometheus_client."""
        family = CounterMetricFamily(
            "selfemo_tokens", "Tokens that went through the model, were there already, or were drawn.", labels=["kind"]
        )
        figures = self.figures()
        for kind in ("computed", "reused", "drawn"):
            family.add_metric([kind], getattr(figures, kind))
        yield family


class Measured:
    """Counts every request, also those that are refused before the application, gives it its id and a line of the log.

    Probes and scrapes it lets pass.

    Args:
        app: What answers.
        metrics: Where requests are counted.
        log: Takes the lines.
        open_paths: Those of probes and scrapes.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Requests,
        log: Callable[[str], None] | None = None,
        open_paths: Collection[str] = OPEN,
    ) -> None:
        self.app, self.metrics, self.log, self.open_paths = app, metrics, log, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self.open_paths:
            await self.app(scope, receive, send)
            return
        status, begun, record = CLIENT_LEFT, time.perf_counter(), record_of(scope)

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", []), *record.headers]}
            await send(message)

        try:
            await self.app(scope, receive, seen)
        except Exception as error:
            # What answers for an exception stands before this one, and its 500 is not seen here.
            if status == CLIENT_LEFT and not isinstance(error, ClientDisconnect):
                status = 500
            raise
        finally:
            seconds = time.perf_counter() - begun
            path = scope["path"] if scope["path"] in PATHS else "other"
            self.metrics.answered(path, status, seconds)
            if self.log is not None:
                method = scope["method"] if scope["method"] in METHODS else "other"
                self.log(record.line(method, path, status, seconds))
