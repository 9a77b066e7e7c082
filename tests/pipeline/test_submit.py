"""Submitting to Kubeflow Pipelines: the real client against a stub of its API, which remembers what it was told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.compile import COMPILED, compile_to, version_of
from pipelines.kubeflow import TOKEN, USER, connect
from pipelines.schedule import recurring
from pipelines.submit import Submission, main, room_of
from selfemo import config as configuration
from selfemo.config import Config
from selfemo.errors import UserError
from tests.pipeline.stub import Stub

pytestmark = pytest.mark.no_cover  # no library code, which it would only slow down


def settings(stub: Stub, *overrides: str) -> Config:
    return configuration.load(
        None,
        [
            f"cluster.host={stub.url}",
            "store.root=s3://bucket/self-emo",
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


def test_where_kubeflow_is_seen_from_is_no_part_of_the_run(stub: Stub) -> None:
    first = submission(stub).run()
    elsewhere = stub.url.replace("127.0.0.1", "localhost")
    assert submission(stub, f"cluster.host={elsewhere}").run() == first


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--resume", "2"], "give --wait as well"),
        (["--recurring", "0 0 3 * * *", "--cycle", "tonight"], "leave out --cycle and --wait"),
        (["--recurring", "0 0 3 * * *", "--wait"], "leave out --cycle and --wait"),
    ],
)
def test_flags_that_say_nothing_together_are_refused(
    stub: Stub,
    flags: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "config.json"
    file.write_text(settings(stub).to_json())
    monkeypatch.setattr("sys.argv", ["submit", str(file), *flags])
    assert main() == 2
    assert words in capsys.readouterr().err
    assert not stub.kept["runs"] and not stub.kept["recurringRuns"]


def test_an_active_run_of_another_configuration_is_not_taken_for_ours(stub: Stub) -> None:
    submission(stub).run()
    with pytest.raises(UserError, match="another configuration"):
        submission(stub, "seed=8").run()


def test_the_form_has_the_rounds_that_are_wanted_and_no_more(stub: Stub) -> None:
    submission(stub, "loop.rounds=7").run()
    assert stub.kept["pipelines"][0]["display_name"] == "selfemo-7"


@pytest.mark.parametrize("outcome", ["SUCCEEDED", "FAILED", "CANCELED"])
def test_waiting_follows_the_run_and_tells_its_outcome(
    stub: Stub, capsys: pytest.CaptureFixture[str], outcome: str
) -> None:
    ours = submission(stub)
    stub.states, stub.faults = ["PENDING", "RUNNING", "RUNNING", outcome], 2
    assert ours.wait(ours.run()) == outcome
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("Self-play")] == [
        "Self-play: pending",
        "Self-play: running",
        f"Self-play: {outcome.lower()}",
    ]
    assert said[-1] == f"run demo has ended: {outcome.lower()}"
    assert sum("looking again" in line for line in said) == 2


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
        recurring(Submission(config, connect(config), form), "0 0 3 * * *")
    Submission(config, connect(config), form).run()
    assert [p["display_name"] for p in stub.kept["pipelines"]] == ["selfemo-5"]
    (version,) = stub.kept["versions"]
    assert version["display_name"] == version_of(form)
    assert stub.uploads and all(b"of/git:1" in upload for upload in stub.uploads)
    (run,), (job,) = stub.kept["runs"], stub.kept["recurringRuns"]
    assert run["pipeline_version_reference"] == job["pipeline_version_reference"]


def test_each_run_of_a_schedule_is_a_cycle_and_one_can_be_run_by_hand(stub: Stub) -> None:
    recurring(submission(stub), "0 0 3 * * *")
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


def test_a_run_that_failed_is_started_again_as_often_as_asked(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.states = ["FAILED", "FAILED", "SUCCEEDED"]
    first = submission(stub)
    assert first.see_through(first.run(), resume=2)
    assert len(stub.kept["runs"]) == 3
    stub.states = ["FAILED"]
    again = submission(stub)
    assert not again.see_through(again.run(), resume=1)
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


def test_a_run_that_was_terminated_is_not_started_again(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """Kubeflow 2.17.0 says FAILED in the end; that it was terminated is in its history."""
    stub.history = ["PENDING", "RUNNING", "CANCELING", "FAILED"]
    stub.states = ["FAILED"]
    ours = submission(stub)
    assert not ours.see_through(ours.run(), resume=3)
    assert len(stub.kept["runs"]) == 1
    assert "run demo has ended: canceled" in capsys.readouterr().err


def test_a_form_with_too_few_rounds_is_refused(stub: Stub, tmp_path: Path) -> None:
    (form,) = compile_to(tmp_path, sizes=(2,))
    room_of(form, settings(stub, "loop.rounds=2"))
    with pytest.raises(UserError, match=r"room for 2 rounds, and loop.rounds is 3"):
        room_of(form, settings(stub, "loop.rounds=3"))
