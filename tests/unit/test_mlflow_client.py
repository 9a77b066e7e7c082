"""A server that is away for a while, loses its answers, or says no: MLflow's own application, with faults in front."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from werkzeug.serving import BaseWSGIServer, make_server

from selfemo import config as configuration
from selfemo.config import Config
from selfemo.errors import UserError
from selfemo.registry.client import Registry
from selfemo.registry.mlflow_client import Client, Refused, Unreachable, quoted
from selfemo.registry.outbox import Outbox
from selfemo.registry.versions import CHAMPION

LOGIN = "<html><body>Sign in to go on</body></html>"


class Server:
    """MLflow over HTTP, in a thread of this process.

    Attributes:
        fault: Asked for each request, with its path: what to answer in MLflow's place (status, type, body), ``lost``
            to do as asked and not answer, or None to do as asked.
        asked: Paths of the requests that came.
    """

    def __init__(self, database: str) -> None:
        from mlflow.server import app, handlers

        handlers.initialize_backend_stores(database, database, str(Path.cwd() / "artifacts"))
        mlflow.set_registry_uri("")  # it has set its own for clients of this process too
        os.environ.pop("MLFLOW_REGISTRY_URI", None)
        self._app = app
        self.fault: Callable[[str], tuple[int, str, str] | str | None] = lambda path: None
        self.asked: list[str] = []
        self._server: BaseWSGIServer | None = None
        self.port = 0
        self.start()
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = make_server("127.0.0.1", self.port, self._answer, threaded=True)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._server = None

    def _answer(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        path = re.sub(r".*/mlflow/", "", environ["PATH_INFO"])
        self.asked.append(path)
        fault = self.fault(path)
        if fault is None:
            return self._app(environ, start_response)  # type: ignore[no-any-return]
        if isinstance(fault, str):
            list(self._app(environ, lambda *_: lambda data: None))
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        status, kind, body = fault
        start_response(f"{status} said", [("content-type", kind)])
        return [body.encode()]


class Time:
    """A clock that only sleeping moves; what happens meanwhile is in ``meanwhile``."""

    def __init__(self) -> None:
        self.now = 0.0
        self.meanwhile: Callable[[float], object] = lambda now: None

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        self.meanwhile(self.now)

    def clock(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'm.db'}"


@pytest.fixture
def server(elsewhere: Path, database: str) -> Iterator[Server]:
    made = Server(database)
    yield made
    made.stop()


@pytest.fixture
def config(request: pytest.FixtureRequest) -> Config:
    """Of a run and a model of this test's own."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name)[:60]
    return configuration.load(None, [f"run={name}", f"mlflow.model={name}"])


@pytest.fixture
def registry(server: Server, time: Time, config: Config) -> Registry:
    made = Registry(server.uri, config)
    made.client = Client(server.uri, sleep=time.sleep, clock=time.clock)
    return made


def test_a_server_that_is_down_for_a_while_is_waited_for(
    server: Server, registry: Registry, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    run = registry.round(1)
    server.stop()
    time.meanwhile = lambda now: server.start() if now > 20 and server._server is None else None
    with caplog.at_level(logging.INFO):
        registry.metrics(run, [(1, {"loss": 0.5})])
    assert [m.value for m in registry.client.get_metric_history(run, "loss")] == [0.5]
    said = [r.getMessage() for r in caplog.records if r.name == "selfemo.registry.mlflow_client"]
    assert len(said) == 2  # once when it went, once when it came: not a line for each try
    assert "trying again, for 180 s" in said[0]
    assert "answers again" in said[1]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_passes_by_itself_is_tried_again(server: Server, registry: Registry, time: Time, status: int) -> None:
    run = registry.round(1)
    server.fault = lambda path: (status, "text/plain", "busy") if time.now < 5 else None
    registry.tags(run, {"a": str(status)})
    assert registry.client.get_run(run).data.tags["a"] == str(status)


def test_a_server_that_stays_away_is_given_up_with_its_name(registry: Registry, server: Server, time: Time) -> None:
    server.stop()
    with pytest.raises(Unreachable, match="does not answer") as raised:
        registry.versions.alias(CHAMPION)
    assert raised.value.where == server.uri
    assert 180 <= time.now < 200
    server.start()


def test_a_write_that_decides_says_that_it_was_not_made(registry: Registry, server: Server, time: Time) -> None:
    version = registry.versions.register("s3://b/a", registry.round(1), {})
    server.fault = lambda path: (503, "text/plain", "no") if path.endswith("alias") else None
    with pytest.raises(Unreachable):
        registry.champion.promote(version, passed=True, reason="better")
    server.fault = lambda path: None
    assert registry.versions.alias(CHAMPION) is None
    registry.champion.promote(version, passed=True, reason="better")
    assert registry.versions.alias(CHAMPION).version == version  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("status", "kind", "body", "match"),
    [
        (401, "application/json", '{"error_code": "UNAUTHENTICATED", "message": "token expired"}', "token expired"),
        (403, "application/json", '{"error_code": "PERMISSION_DENIED", "message": "not yours"}', "not yours"),
        (401, "text/html", LOGIN, "401"),
        (403, "text/html", LOGIN, "403"),
        (404, "text/html", LOGIN, "404"),
        (200, "text/html", LOGIN, "Sign in"),
    ],
)
@pytest.mark.parametrize(
    "ask",
    [
        lambda r: r.version("1"),
        lambda r: r.alias(CHAMPION),
        lambda r: r.source("models:/m/1"),
        lambda r: r.experiment,
        lambda r: r.register("s3://b/a", "run", {}),
        lambda r: r.parent,
    ],
    ids=["version", "alias", "source", "experiment", "register", "parent"],
)
def test_no_is_not_there_is_none(
    registry: Registry,
    server: Server,
    time: Time,
    ask: Callable[[Registry], object],
    status: int,
    kind: str,
    body: str,
    match: str,
) -> None:
    server.fault = lambda path: (status, kind, body)
    with pytest.raises(Refused, match=match) as raised:
        ask(registry)
    assert raised.value.where == server.uri
    assert raised.value.fix
    assert time.now == 0, "asking again does not help"


def test_an_experiment_that_may_not_be_made_is_not_looked_for_again(registry: Registry, server: Server) -> None:
    denied = json.dumps({"error_code": "PERMISSION_DENIED", "message": "no new experiments"})
    missing = json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"})
    server.fault = lambda path: (
        (403, "application/json", denied) if path.endswith("create") else (404, "application/json", missing)
    )
    with pytest.raises(Refused, match="no new experiments"):
        _ = registry.experiment


def test_a_password_in_the_address_is_not_shown(server: Server, time: Time) -> None:
    server.stop()
    client = Client(server.uri.replace("://", "://bob:secret@"), 0, time.sleep, time.clock)
    with pytest.raises(Unreachable) as raised:
        client.get_run("x")
    assert raised.value.where == server.uri
    server.start()


def test_a_place_that_cannot_be_opened_says_so(elsewhere: Path) -> None:
    registry = Registry((elsewhere / "mlruns").as_uri(), configuration.load(None))
    with pytest.raises(Refused, match="maintenance mode"):
        registry.versions.get("1")


def test_what_there_is_none_of_is_said_as_before(registry: Registry) -> None:
    registry.versions.register("s3://b/a", registry.round(1), {})
    assert registry.versions.alias(CHAMPION) is None
    for number in ("9", "nine"):
        with pytest.raises(UserError, match=f"no version {number}"):
            registry.versions.get(number)
    with pytest.raises(UserError, match="write models:/NAME"):
        registry.versions.source("models:/nobody@champion")


# Answers that got lost


def lost_once(path: str) -> Callable[[str], str | None]:
    left = [path]
    return lambda asked: "lost" if asked == path and left and left.pop() else None


@pytest.mark.parametrize("write", ["runs/create", "registered-models/create", "model-versions/create"])
def test_an_answer_that_got_lost_makes_nothing_twice(registry: Registry, server: Server, write: str) -> None:
    server.fault = lost_once(write)
    run = registry.round(1)
    version = registry.versions.register("s3://b/a", run, {"selfemo.scores": "s"})
    assert server.asked.count(write) >= 1
    assert [r.info.run_id for r in registry.rounds()] == [run]
    found = registry.client.search_model_versions(f"name={quoted(registry.model)}")
    assert [v.version for v in found] == [version] == ["1"]


def test_surplus_of_an_older_release_does_no_harm(registry: Registry) -> None:
    """Two runs of one round and two versions of one policy: everybody means the first."""
    run = registry.round(1)
    tags = dict(registry.client.get_run(run).data.tags)
    registry.client.create_run(registry.experiment, tags=tags, run_name=tags["mlflow.runName"])
    version = registry.versions.register("s3://b/a", run, {})
    registry.client.create_model_version(registry.model, "s3://b/a", await_creation_for=0)
    assert Registry.round(registry, 1) == run
    assert registry.versions.register("s3://b/a", run, {}) == version


# Names


@pytest.mark.parametrize("name", ["joe's model", 'the "best"', "a@b", "50 %_", "m#1?"])
def test_models_may_be_called_what_mlflow_takes(elsewhere: Path, database: str, name: str) -> None:
    registry = Registry(database, configuration.load(None, [f"mlflow.model={json.dumps(name)}"]))
    run = registry.round(1)
    version = registry.versions.register("s3://b/a", run, {})
    assert registry.versions.register("s3://b/a", run, {}) == version
    registry.champion.promote(version, passed=True, reason="first")
    assert (
        registry.versions.source(f"models:/{name}@champion")
        == registry.versions.source(f"models:/{name}/{version}")
        == "s3://b/a"
    )


@pytest.mark.parametrize("name", ['it\'s "it"', " ", "a\nb", "a/b", "a:b"])
def test_a_name_that_mlflow_cannot_search_for_is_refused_at_once(name: str) -> None:
    with pytest.raises(UserError, match=r"mlflow\.model"):
        configuration.load(None, [f"mlflow.model={json.dumps(name)}"])


# The outbox


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


def test_metrics_and_plots_that_cannot_be_delivered_end_nothing(
    registry: Registry, server: Server, time: Time, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "plot.png").write_text("plot")
    for fault in ((503, "text/plain", "busy"), (403, "text/html", LOGIN)):
        server.fault = lambda path, fault=fault: fault
        caplog.clear()
        with Outbox(registry, 1, time.clock) as outbox:
            outbox.metrics(1, {"loss": 0.5})
            outbox.artifacts([tmp_path / "plot.png"], "plots")
        assert "1 metrics and 1 files did not reach MLflow" in caplog.text


def test_what_is_left_at_the_end_is_sent_patiently(
    registry: Registry, server: Server, time: Time, tmp_path: Path
) -> None:
    run = registry.round(1)
    (tmp_path / "plot.png").write_text("plot")
    server.stop()
    time.meanwhile = lambda now: server.start() if now > 30 and server._server is None else None
    with Outbox(registry, 1, time.clock) as outbox:
        outbox.metrics(1, {"loss": 0.5})
        outbox.artifacts([tmp_path / "plot.png"], "plots")
    assert history(registry, run) == [(1, 0.5)]
    assert [f.path for f in registry.client.list_artifacts(run, "plots")] == ["plots/plot.png"]


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


def test_mlflows_own_retries_are_off(registry: Registry, server: Server) -> None:
    """They would send a request that makes something again, without looking whether it had arrived."""
    _ = registry.client.mlflow
    assert mlflow.environment_variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.get() == 0
