"""Submitting to Kubeflow Pipelines: the real client against a stub of its API, which remembers what it was told."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pipelines.compile import COMPILED, version_of
from pipelines.kubeflow import TOKEN, USER, connect
from pipelines.submit import Submission
from selfemo import config as configuration
from selfemo.config import Config
from selfemo.errors import UserError

ROOT = "/apis/v2beta1"


class Stub:
    """Pipelines, versions, experiments, runs and schedules, kept in memory.

    Attributes:
        multi_user: Whether it has namespaces: then it refuses to be told none, and else to be told one.
        states: What a run says of itself at each look, the last one for ever.
        faults: How many of the next looks at a run fail.
    """

    def __init__(self) -> None:
        self.kept: dict[str, list[dict[str, Any]]] = {
            k: [] for k in ("pipelines", "versions", "experiments", "runs", "recurringRuns")
        }
        self.states = ["SUCCEEDED"]
        self.multi_user = True
        self.faults = 0
        self.tokens: set[str | None] = set()
        self.users: set[str | None] = set()
        self.uploads: list[bytes] = []

    def add(self, kind: str, key: str, what: dict[str, Any]) -> dict[str, Any]:
        what[key] = f"{kind}-{len(self.kept[kind]) + 1}"
        self.kept[kind].append(what)
        return what

    def get(self, path: str, query: dict[str, str]) -> dict[str, Any] | None:
        if path == "/healthz":
            return {"multi_user": self.multi_user}
        if match := re.fullmatch(r"/pipelines/names/(.+)", path):
            return next((p for p in self.kept["pipelines"] if p["display_name"] == match.group(1)), None)
        if path == "/pipelines":
            return {"pipelines": self.kept["pipelines"]}
        if match := re.fullmatch(r"/pipelines/([^/]+)/versions", path):
            return {"pipeline_versions": [v for v in self.kept["versions"] if v["pipeline_id"] == match.group(1)]}
        if path == "/experiments":
            return {"experiments": self.kept["experiments"]}
        if path == "/runs":
            return {"runs": self.kept["runs"]}
        if path == "/recurringruns":
            return {"recurringRuns": self.kept["recurringRuns"]}
        if match := re.fullmatch(r"/runs/([^/]+)", path):
            return self.look(match.group(1))
        return None

    def refuses(self, command: str, path: str, query: dict[str, str], body: bytes) -> bool:
        """As the API server of 2.17.0 does, with a store of pipelines in Kubernetes too."""
        if path in ("/pipelines/upload", "/experiments", "/pipelines"):
            given = json.loads(body).get("namespace") if (command, path) == ("POST", "/experiments") else None
            return bool(given or query.get("namespace")) != self.multi_user
        return False

    def look(self, name: str) -> dict[str, Any]:
        run = next(r for r in self.kept["runs"] if r["run_id"] == name)
        if self.faults:
            self.faults -= 1
            raise RuntimeError("not now")
        run["state"] = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        done = {"task_id": "t1", "display_name": "Self-play", "state": run["state"]}
        return {**run, "run_details": {"task_details": [done]}}

    def post(self, path: str, query: dict[str, str], body: bytes) -> dict[str, Any]:
        if path == "/pipelines/upload":
            self.uploads.append(body)
            return self.add("pipelines", "pipeline_id", {"display_name": query["name"]})
        if path == "/pipelines/upload_version":
            self.uploads.append(body)
            what = {"display_name": query["name"], "pipeline_id": query["pipelineid"]}
            return self.add("versions", "pipeline_version_id", what)
        given = json.loads(body)
        if path == "/experiments":
            return self.add("experiments", "experiment_id", given)
        if path == "/runs":
            return self.add("runs", "run_id", {**given, "state": "RUNNING"})
        return self.add("recurringRuns", "recurring_run_id", given)


@pytest.fixture
def stub() -> Iterator[Stub]:
    found = Stub()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            parts = urlsplit(self.path)
            path = parts.path.removeprefix(ROOT)
            query = {k: v[0] for k, v in parse_qs(parts.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found.tokens.add(self.headers.get("Authorization"))
            found.users.add(self.headers.get("kubeflow-userid"))
            if found.refuses(self.command, path, query, body):
                self.send_error(400, "namespace")
                return
            try:
                if self.command == "GET":
                    what = found.get(path, query)
                elif self.command == "DELETE":
                    found.kept["recurringRuns"] = [
                        r for r in found.kept["recurringRuns"] if not path.endswith(r["recurring_run_id"])
                    ]
                    what = {}
                else:
                    what = found.post(path, query, body)
            except RuntimeError:
                self.send_error(503)
                return
            text = json.dumps({} if what is None else what).encode()
            self.send_response(404 if what is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield found
    server.shutdown()


def settings(stub: Stub, *overrides: str) -> Config:
    return configuration.load(
        None,
        [
            f"cluster.host={stub.url}",
            "store.root=s3://bucket/self-emo",  # type: ignore[attr-defined]
            "mlflow.tracking_uri=https://mlflow.example.org",
            *overrides,
        ],
    )


def submission(stub: Stub, *overrides: str) -> Submission:
    config = settings(stub, *overrides)
    return Submission(config, connect(config), poll=0.01)


def test_a_run_is_started_once_by_name_and_its_version_uploaded_once_by_content(stub: Stub) -> None:
    first = submission(stub).run()
    assert submission(stub).run() == first  # it is active
    (run,) = stub.kept["runs"]
    assert run["display_name"] == "demo"
    assert run["service_account"] == "selfemo"
    assert json.loads(run["runtime_config"]["parameters"]["config"])["workdir"] == "/work"
    run["state"] = "FAILED"
    assert submission(stub).run() != first  # finished steps return at once there
    assert len(stub.kept["pipelines"]) == 1
    assert len(stub.kept["versions"]) == 1
    submission(stub, "run=bigger", "cluster.profile=node8").run()
    assert len(stub.kept["versions"]) == 2


def test_an_active_run_of_another_configuration_is_not_taken_for_ours(stub: Stub) -> None:
    submission(stub).run()
    with pytest.raises(UserError, match="another configuration"):
        submission(stub, "seed=8").run()


def test_more_rounds_take_the_larger_form(stub: Stub) -> None:
    submission(stub, "loop.rounds=7").run()
    assert stub.kept["pipelines"][0]["display_name"] == "selfemo-10"


@pytest.mark.parametrize(("outcome", "good"), [("SUCCEEDED", True), ("FAILED", False), ("CANCELED", False)])
def test_waiting_follows_the_run_and_tells_its_outcome(
    stub: Stub, capsys: pytest.CaptureFixture[str], outcome: str, good: bool
) -> None:
    ours = submission(stub)
    stub.states, stub.faults = ["PENDING", "RUNNING", "RUNNING", outcome], 2
    assert ours.wait(ours.run()) is good
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("Self-play")] == [
        "Self-play: pending",
        "Self-play: running",
        f"Self-play: {outcome.lower()}",
    ]
    assert said[-1] == f"run demo has ended: {outcome.lower()}"
    assert sum("looking again" in line for line in said) == 2


def test_a_schedule_is_made_once_and_replaced_when_it_differs(stub: Stub) -> None:
    first = submission(stub).recurring("0 0 3 * * *")
    assert submission(stub).recurring("0 0 3 * * *") == first
    submission(stub).recurring("0 0 4 * * *")
    (job,) = stub.kept["recurringRuns"]
    assert job["trigger"]["cron_schedule"]["cron"] == "0 0 4 * * *"
    assert job["max_concurrency"] == 1
    assert job["no_catchup"] is True


def test_the_token_comes_from_the_environment_and_goes_nowhere_else(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(TOKEN, "canary-token")
    ours = submission(stub)
    ours.wait(ours.run())
    assert any("canary-token" in (t or "") for t in stub.tokens)
    assert "canary-token" not in json.dumps(stub.kept) + "".join(capsys.readouterr())
    assert not any(b"canary-token" in upload for upload in stub.uploads)


def test_a_pods_own_token_for_kubeflow_is_used(stub: Stub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("canary-of-the-pod\n")
    monkeypatch.delenv(TOKEN, raising=False)
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    submission(stub).run()
    assert any("canary-of-the-pod" in (t or "") for t in stub.tokens)


@pytest.mark.parametrize(
    ("override", "words"),
    [("store.root=null", "embedded store"), ("mlflow.tracking_uri=null", "embedded MLflow")],
)
def test_servers_of_this_machine_are_refused(stub: Stub, override: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        submission(stub, override)


def test_a_host_that_is_none_is_an_error_that_names_it(stub: Stub) -> None:
    config = settings(stub, "cluster.host=http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"cluster\.host: http://127\.0\.0\.1:9"):
        Submission(config, connect(config))


def test_what_git_has_is_what_runs(stub: Stub, tmp_path: Path) -> None:
    form = tmp_path / "form.yaml"
    form.write_text((COMPILED / "selfemo-5.yaml").read_text().replace("selfemo/pipeline-python:0.1.0", "of/git:1"))
    config = settings(stub)
    for _ in range(2):
        Submission(config, connect(config), form).recurring("0 0 3 * * *")
    Submission(config, connect(config), form).run()
    assert [p["display_name"] for p in stub.kept["pipelines"]] == ["selfemo-5"]
    (version,) = stub.kept["versions"]
    assert version["display_name"] == version_of(form)
    assert all(b"of/git:1" in upload for upload in stub.uploads)
    (run,), (job,) = stub.kept["runs"], stub.kept["recurringRuns"]
    assert run["pipeline_version_reference"] == job["pipeline_version_reference"]


def test_each_run_of_a_schedule_is_a_cycle_and_one_can_be_run_by_hand(stub: Stub) -> None:
    submission(stub).recurring("0 0 3 * * *")
    (job,) = stub.kept["recurringRuns"]
    assert job["runtime_config"]["parameters"]["cycle"] == "scheduled"
    config = settings(stub)
    Submission(config, connect(config), cycle="20261126-030000").run()
    (run,) = stub.kept["runs"]
    assert run["display_name"] == "demo-20261126-030000"
    assert run["runtime_config"]["parameters"]["cycle"] == "20261126-030000"


def test_kubeflow_for_one_user_is_told_no_namespace(stub: Stub) -> None:
    stub.multi_user = False
    config = settings(stub, "cluster.namespace=kubeflow")
    assert Submission(config, connect(config)).run()


@pytest.mark.parametrize(("cron", "fix"), [("0 3 * * *", "write '0 0 3 * * *'"), ("3am", "write it like")])
def test_a_schedule_without_seconds_is_refused_with_the_one_that_is_meant(stub: Stub, cron: str, fix: str) -> None:
    with pytest.raises(UserError, match=re.escape(fix)):
        submission(stub).recurring(cron)
    assert not stub.kept["recurringRuns"]


def test_a_run_that_failed_is_started_again_as_often_as_asked(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.states = ["FAILED", "FAILED", "SUCCEEDED"]
    assert submission(stub).see_through(resume=2)
    assert len(stub.kept["runs"]) == 3
    stub.states = ["FAILED"]
    assert not submission(stub).see_through(resume=1)
    assert len(stub.kept["runs"]) == 5
    assert "run demo is started again; 1 more times if it fails" in capsys.readouterr().err


def test_who_we_are_can_be_said_where_nothing_in_front_asks(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(USER, "jane@example.org")
    submission(stub).run()
    assert "jane@example.org" in stub.users


def test_a_form_that_is_none_is_named(stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "form.yaml").write_text("kind: ConfigMap")
    config = settings(stub)
    with pytest.raises(UserError, match="no compiled pipeline"):
        Submission(config, connect(config), tmp_path / "form.yaml").run()
