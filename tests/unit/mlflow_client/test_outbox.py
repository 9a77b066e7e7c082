"""Metrics of a training reach MLflow late if it is away, and never end the training."""

from __future__ import annotations

import pytest

from selfemo.registry.client import Registry
from selfemo.registry.outbox import Outbox
from tests.unit.mlflow_client.faults import LOGIN, Server, Time, always, lost_once


def history(registry: Registry, run: str) -> list[tuple[int, float]]:
    return sorted((m.step, m.value) for m in registry.client.get_metric_history(run, "loss"))


def test_training_goes_on_while_mlflow_is_away_and_its_metrics_come_later(
    registry: Registry, server: Server, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    run = registry.round(1)
    with Outbox(registry, 1, time.clock) as outbox:
        for step in range(100):
            if step == 10:
                server.stop()
            if step == 60:
                server.start()
            outbox.metrics(step, {"loss": float(step)})
            time.now += 2.0
            if step == 59:
                assert len([r for r in caplog.records if r.name == "selfemo.registry.outbox"]) == 1
    assert history(registry, run) == [(step, float(step)) for step in range(100)]


def test_a_server_that_is_away_is_not_asked_at_every_step(registry: Registry, server: Server, time: Time) -> None:
    registry.round(1)
    server.fault = lambda path: (503, "text/plain", "busy")
    server.asked.clear()
    outbox = Outbox(registry, 1, time.clock)
    for step in range(1000):
        outbox.metrics(step, {"loss": 0.0})
        time.now += 1.0
    assert len(server.asked) < 10


def test_metrics_that_cannot_be_delivered_end_nothing(
    registry: Registry, server: Server, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    for fault in ((503, "text/plain", "busy"), (403, "text/html", LOGIN)):
        server.fault = always(*fault)
        caplog.clear()
        with Outbox(registry, 1, time.clock) as outbox:
            outbox.metrics(1, {"loss": 0.5})
        assert "1 metrics did not reach MLflow" in caplog.text


def test_what_is_left_at_the_end_is_sent_patiently(registry: Registry, server: Server, time: Time) -> None:
    run = registry.round(1)
    server.stop()
    time.meanwhile = lambda now: server.start() if now > 30 and server._server is None else None
    with Outbox(registry, 1, time.clock) as outbox:
        outbox.metrics(1, {"loss": 0.5})
    assert history(registry, run) == [(1, 0.5)]


def test_an_answer_that_got_lost_counts_no_metric_twice(registry: Registry, server: Server, time: Time) -> None:
    run = registry.round(1)
    server.fault = lost_once("runs/log-batch")
    with Outbox(registry, 1, time.clock) as outbox:
        outbox.metrics(1, {"loss": 0.5})
        time.now += 60.0
        outbox.metrics(2, {"loss": 0.25})
    assert history(registry, run) == [(1, 0.5), (2, 0.25)]


def test_the_training_that_failed_is_what_is_said_even_if_mlflow_is_away(registry: Registry, server: Server) -> None:
    server.fault = lambda path: (503, "text/plain", "busy")

    def training() -> None:
        with Outbox(registry, 1) as outbox:
            outbox.metrics(1, {"loss": 0.5})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        training()
