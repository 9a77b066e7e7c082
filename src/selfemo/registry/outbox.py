"""What a long training step tells MLflow on the way: kept while the server is away, and never a reason to fail.

A record is tried once when it comes, so that training waits for nobody; what could not be sent stays, and goes with a
later one. At the end it is tried as patiently as any other call. What is given up then is lost to MLflow alone: the
step publishes the same figures next to its weights.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from selfemo.errors import UserError
from selfemo.registry.client import Registry
from selfemo.registry.mlflow_client import Point, points

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 300.0
"""Seconds after a failure before the server is tried again: a server that hangs costs training half a minute a try."""


class Outbox:
    """Metrics for the MLflow run of a round; leaving it sends what is left.

    Args:
        registry: Of the run.
        round: Number of the round.
        clock: Tells the time, in seconds.
    """

    def __init__(self, registry: Registry, round: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._patient, self._round, self._clock = registry, round, clock
        self._hasty = Registry(registry.tracking_uri, registry.config, patience=0)
        self._run: str | None = None
        self._points: list[Point] = []
        self._pause, self._again, self._warned = FIRST_PAUSE, 0.0, False

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log metrics of an optimizer step."""
        self._points += points([(step, values)])
        self._try()

    def __enter__(self) -> Outbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._points:
            return
        try:
            # A step that failed says so at once, whatever becomes of its metrics.
            self._send(self._patient if error is None else self._hasty)
        except UserError as away:
            log.warning(
                "%d metrics did not reach MLflow, and are kept next to the step's weights only: %s",
                len(self._points),
                away.message,
            )

    def _try(self) -> None:
        if self._clock() < self._again:
            return
        try:
            self._send(self._hasty)
        except UserError as away:
            self._again = self._clock() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            if not self._warned:
                log.warning("metrics are kept until MLflow takes them; training goes on: %s", away.message)
            self._warned = True
        else:
            if self._warned:
                log.info("MLflow takes metrics again; none was lost")
            self._pause, self._again, self._warned = FIRST_PAUSE, 0.0, False

    def _send(self, registry: Registry) -> None:
        self._run = self._run or registry.round(self._round)
        registry.log(self._run, self._points)
        self._points = []
