"""Which TrainJobs the reaper deletes, and which it never touches, on a served API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfemo import config as configuration
from selfemo.cli import main
from selfemo.cluster.reaper import GRACE, reap
from selfemo.cluster.trainjob import manifest
from selfemo.errors import UserError
from tests.cluster.conftest import JOBS, PODS, Api, kubeconfig

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=3)


def job(api: Api, *owners: str, name: str = "a-job", made: datetime = LONG_AGO) -> None:
    """A TrainJob that is there; each owner is a pod's name, whose uid is ``uid-NAME``."""
    config = configuration.load(None, ["cluster.trainer=trainjob"])
    found: dict[str, Any] = manifest(config, name, "image@sha256:1", ["train"], environment={})
    found["metadata"] |= {"creationTimestamp": made.isoformat(), "uid": "uid-job", "resourceVersion": "41"}
    if owners:
        rows = [{"apiVersion": "v1", "kind": "Pod", "name": o, "uid": f"uid-{o}"} for o in owners]
        found["metadata"]["ownerReferences"] = rows
    api.objects[JOBS, "self-emo", name] = found


def pod(api: Api, name: str, phase: str, uid: str = "", ended: datetime | None = None) -> None:
    status: dict[str, Any] = {"phase": phase}
    if ended:
        state = {"terminated": {"exitCode": 137, "finishedAt": ended.isoformat()}}
        row = {"name": "main", "image": "i", "imageID": "i", "ready": False, "restartCount": 0, "state": state}
        status["containerStatuses"] = [row]
    metadata = {"name": name, "namespace": "self-emo", "uid": uid or f"uid-{name}"}
    api.objects[PODS, "self-emo", name] = {"metadata": metadata, "status": status}


def reaped(api: Api) -> dict[str, str]:
    return reap(api.client, "self-emo", NOW)


def test_a_job_goes_when_all_pods_that_own_it_are_gone_or_ended(api: Api) -> None:
    job(api, "gone", "killed")
    pod(api, "killed", "Failed", ended=LONG_AGO)
    assert reaped(api) == {"a-job": "pod gone is gone, pod killed has ended (Failed)"}
    assert not api.exists("a-job")


@pytest.mark.parametrize("phase", ["Pending", "Running", "Unknown"])
def test_a_job_stays_while_one_of_its_owners_lives(api: Api, phase: str) -> None:
    job(api, "gone", "second")
    pod(api, "second", phase)
    assert reaped(api) == {}
    assert api.exists("a-job")


def test_another_pod_under_an_owners_name_is_not_the_owner(api: Api) -> None:
    job(api, "worker")
    pod(api, "worker", "Running", uid="uid-of-another")
    assert reaped(api) == {"a-job": "pod worker is another one now"}


@pytest.mark.parametrize("ending", ["Complete", "Failed"])
def test_a_job_that_has_ended_is_left_for_its_log(api: Api, ending: str) -> None:
    job(api, "gone")
    api.say("a-job", ending)
    assert reaped(api) == {}
    assert api.exists("a-job")


def test_a_job_that_waits_in_its_queue_for_nobody_goes(api: Api) -> None:
    job(api, "gone")
    api.say("a-job", "Suspended")
    assert list(reaped(api)) == ["a-job"]


def test_a_young_job_is_left_to_a_retry(api: Api) -> None:
    job(api, "gone", made=NOW - GRACE + timedelta(seconds=1))
    assert reaped(api) == {}


def test_a_job_whose_owner_ended_a_moment_ago_is_left_to_a_retry(api: Api) -> None:
    job(api, "killed")
    pod(api, "killed", "Failed", ended=NOW - GRACE + timedelta(seconds=1))
    assert reaped(api) == {}
    pod(api, "killed", "Failed", ended=NOW - GRACE)
    assert list(reaped(api)) == ["a-job"]


def test_a_job_that_no_pod_has_made_is_left_to_whoever_made_it(api: Api) -> None:
    job(api)
    assert reaped(api) == {}


def test_a_job_that_is_being_deleted_is_not_deleted_again(api: Api) -> None:
    job(api, "gone")
    api.objects[JOBS, "self-emo", "a-job"].patch({"metadata": {"deletionTimestamp": LONG_AGO.isoformat()}})
    assert reaped(api) == {}
    assert not api.calls("delete")


def test_only_our_own_jobs_are_asked_for(api: Api) -> None:
    reaped(api)
    (asked,) = api.calls("get")
    assert asked.params["labelSelector"] == "app.kubernetes.io/name=selfemo"


def test_a_job_is_deleted_only_as_it_was_seen(api: Api) -> None:
    """A launcher that adopts it meanwhile changes its version: the API refuses then."""
    job(api, "gone", name="adopted")
    api.server["delete"] << 409
    assert reaped(api) == {}
    (asked,) = api.calls("delete")
    assert asked.data["preconditions"] == {"uid": "uid-job", "resourceVersion": "41"}


@pytest.mark.parametrize("status", [403, 404, 500])
def test_an_api_that_does_not_let_it_is_an_error_that_says_what_is_needed(api: Api, status: int) -> None:
    api.server["get"] << status
    with pytest.raises(UserError, match="trainjobs list and delete, pods get"):
        reaped(api)


def test_it_lists_jobs_gets_pods_deletes_jobs_and_does_nothing_more(api: Api) -> None:
    job(api, "gone")
    reaped(api)
    jobs = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/self-emo/trainjobs"
    assert [(r.method.value, r.url.path) for r in api.server] == [
        ("GET", jobs),
        ("GET", "/api/v1/namespaces/self-emo/pods/gone"),
        ("DELETE", f"{jobs}/a-job"),
    ]


def test_the_command_says_what_it_deleted_and_why(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubeconfig(api, tmp_path, monkeypatch)
    job(api, "gone")
    said = CliRunner().invoke(main, ["reap-trainjobs"])
    assert (said.exit_code, "TrainJob self-emo/a-job is deleted: pod gone is gone" in said.output) == (0, True)
    job(api, "gone")
    said = CliRunner().invoke(main, ["reap-trainjobs", "--namespace", "another"])
    assert "no TrainJob of namespace another is without a launcher" in said.output
    assert api.exists("a-job")


def test_without_a_cluster_the_command_says_where_it_can_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    said = CliRunner().invoke(main, ["reap-trainjobs"])
    assert (said.exit_code, "with a kubeconfig" in said.output) == (2, True)
