"""What the launcher makes of each thing that a cluster does to a TrainJob, on a served API."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from selfemo.cluster import launcher as module
from selfemo.cluster.launcher import Launcher
from selfemo.cluster.trainjob import HASH
from selfemo.errors import UserError
from tests.cluster.conftest import JOBS, NAME, PODS, Api, Time, collect_garbage, job


def test_a_job_is_created_waited_for_and_left_where_it_ended(api: Api, launcher: Launcher, time: Time) -> None:
    time.meanwhile(lambda: api.say(NAME, "Complete"))
    launcher.run(job(), minutes=10)
    assert len(api.calls("post")) == 1
    assert api.exists(NAME)  # it has ended: its log may still be read


def test_a_job_that_ends_before_the_first_look_has_ended(api: Api, launcher: Launcher, monkeypatch: Any) -> None:
    create = launcher._create

    def fast(job: Any) -> None:
        create(job)
        api.say(NAME, "Complete")

    monkeypatch.setattr(launcher, "_create", fast)
    launcher.run(job(), minutes=10)
    assert len(api.calls("get")) <= 2  # nothing waits to see it running


def test_a_failed_job_is_an_error_with_its_reason_and_stays(api: Api, launcher: Launcher, time: Time) -> None:
    time.meanwhile(lambda: api.say(NAME, "Failed", "BackoffLimitExceeded", message="node-0 exited 1"))
    with pytest.raises(UserError, match=r"BackoffLimitExceeded: node-0 exited 1"):
        launcher.run(job(), minutes=10)
    assert api.exists(NAME)


def test_the_same_job_that_is_there_already_is_adopted(api: Api, launcher: Launcher, time: Time) -> None:
    api.objects[JOBS, "self-emo", NAME] = job()
    time.meanwhile(lambda: api.say(NAME, "Complete"))
    launcher.run(job(), minutes=10)
    assert not api.calls("delete")


def test_an_adopted_job_stays_when_the_pod_that_made_it_goes(api: Api, launcher: Launcher, time: Time) -> None:
    api.objects[JOBS, "self-emo", NAME] = job(owner=("first", "uid-1"))
    for pod in ("first", "second"):
        api.objects[PODS, "self-emo", pod] = {"metadata": {"name": pod, "namespace": "self-emo"}}

    def first_goes() -> None:
        del api.objects[PODS, "self-emo", "first"]
        collect_garbage(api)

    time.meanwhile(first_goes, lambda: api.say(NAME, "Complete"))
    launcher.run(job(owner=("second", "uid-2")), minutes=10)
    assert api.exists(NAME)
    (patch,) = api.calls("patch")
    assert patch.headers["Content-Type"] == "application/merge-patch+json"
    assert [o["uid"] for o in patch.data["metadata"]["ownerReferences"]] == ["uid-1", "uid-2"]


def test_a_job_that_is_ours_already_is_not_changed(api: Api, launcher: Launcher, time: Time) -> None:
    api.objects[JOBS, "self-emo", NAME] = job(owner=("first", "uid-1"))
    time.meanwhile(lambda: api.say(NAME, "Complete"))
    launcher.run(job(owner=("first", "uid-1")), minutes=10)
    assert not api.calls("patch")


def test_a_job_that_changed_while_it_was_adopted_is_looked_at_again(api: Api, launcher: Launcher, time: Time) -> None:
    found = job(owner=("first", "uid-1"))
    found["metadata"]["resourceVersion"] = "7"
    api.objects[JOBS, "self-emo", NAME] = found
    api.server["patch"][:1] << 409
    time.meanwhile(lambda: None, lambda: api.say(NAME, "Complete"))
    launcher.run(job(owner=("second", "uid-2")), minutes=10)
    assert api.calls("patch")[0].data["metadata"]["resourceVersion"] == "7"
    assert api.exists(NAME)


def test_an_account_that_may_not_patch_is_told_so(api: Api, launcher: Launcher) -> None:
    api.objects[JOBS, "self-emo", NAME] = job(owner=("first", "uid-1"))
    api.server["patch"] << 403
    with pytest.raises(UserError, match=r"refused the TrainJob \(403"):
        launcher.run(job(owner=("second", "uid-2")), minutes=10)
    assert api.exists(NAME)


def test_a_job_of_another_spec_is_neither_adopted_nor_touched(api: Api, launcher: Launcher) -> None:
    other = job(AWS_REGION="elsewhere")
    assert other["metadata"]["annotations"][HASH] != job()["metadata"]["annotations"][HASH]
    api.objects[JOBS, "self-emo", NAME] = other
    with pytest.raises(UserError, match="another spec"):
        launcher.run(job(), minutes=10)
    assert api.exists(NAME)
    assert not api.calls("delete")


def test_a_job_that_failed_before_is_made_again(api: Api, launcher: Launcher, time: Time) -> None:
    api.objects[JOBS, "self-emo", NAME] = job()
    api.say(NAME, "Failed", "Evicted")

    time.meanwhile(lambda: api.say(NAME, "Complete"))
    launcher.run(job(), minutes=10)
    assert len(api.calls("delete")) == 1


def test_waiting_in_a_queue_takes_no_time(api: Api, launcher: Launcher, time: Time) -> None:
    time.meanwhile(
        lambda: api.say(NAME, "Suspended", "Suspended"),
        lambda: time.goes_by(24 * 3600),
        lambda: api.say(NAME, "Suspended", "Resumed", status="False"),
        lambda: api.say(NAME, "Complete"),
    )
    launcher.run(job(), minutes=10)
    assert api.exists(NAME)
    assert not time.acts


def test_a_job_that_takes_too_long_is_deleted(api: Api, launcher: Launcher, time: Time) -> None:
    with pytest.raises(UserError, match="has not ended"):
        launcher.run(job(), minutes=10)
    assert not api.exists(NAME)
    assert 600 <= time.now <= 600 + 2 * launcher.poll


def test_a_few_server_errors_are_borne_even_where_the_job_was_made_all_the_same(
    api: Api, launcher: Launcher, time: Time
) -> None:
    api.server["post"][:2] << 500  # kmock stores the job, as a server does whose answer is lost
    api.server["get"][:3] << 503
    time.meanwhile(*[lambda: None] * 6, lambda: api.say(NAME, "Complete"))
    launcher.run(job(), minutes=10)
    assert api.exists(NAME)
    assert len(api.calls("get")) > 3


def test_an_api_that_fails_on_and_on_is_an_error_and_nothing_goes_on_alone(
    api: Api, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FAULTS", 5)
    api.server["get"] << 500
    with pytest.raises(UserError, match="failed 5 times in a row: 500"):
        launcher.run(job(), minutes=10)
    assert not api.exists(NAME)


def test_a_job_that_is_there_but_cannot_be_looked_at_is_an_error_in_the_end(
    api: Api, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FAULTS", 5)
    api.objects[JOBS, "self-emo", NAME] = job()
    api.server["get"] << 500
    with pytest.raises(UserError, match="failed 5 times in a row: 500"):
        launcher.run(job(), minutes=10)
    assert api.exists(NAME)  # it is not ours to delete: we could not even read its spec


def test_a_job_that_somebody_deletes_is_an_error(api: Api, launcher: Launcher, time: Time) -> None:
    def gone() -> None:
        del api.objects[JOBS, "self-emo", NAME]

    time.meanwhile(gone)
    with pytest.raises(UserError, match="gone"):
        launcher.run(job(), minutes=10)


@pytest.mark.parametrize("status", [400, 403, 422])
def test_a_refused_job_is_an_error_at_once(api: Api, launcher: Launcher, status: int) -> None:
    api.server["post"] << status
    with pytest.raises(UserError, match=f"refused the TrainJob .{status}"):
        launcher.run(job(), minutes=10)
    assert len(api.calls("post")) == 1


def test_without_a_trainer_the_error_says_how_to_do_without(api: Api, launcher: Launcher) -> None:
    api.server["post"] << 404
    with pytest.raises(UserError) as raised:
        launcher.run(job(), minutes=10)
    assert "cluster.trainer: pod" in str(raised.value)


def test_when_we_are_stopped_the_job_is_deleted(api: Api, launcher: Launcher, time: Time) -> None:
    time.meanwhile(lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        launcher.run(job(), minutes=10)
    assert not api.exists(NAME)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("moment", ["_created", "_own"])
def test_when_we_are_stopped_while_the_job_is_made_or_adopted_it_is_deleted(
    api: Api, launcher: Launcher, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    if moment == "_own":
        api.objects[JOBS, "self-emo", NAME] = job(owner=("first", "uid-1"))
    _stopped_after(launcher, moment, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        launcher.run(job(owner=("second", "uid-2")), minutes=10)
    assert not api.exists(NAME)


def test_when_we_are_stopped_while_another_spec_stands_under_the_name_it_is_left(
    api: Api, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.objects[JOBS, "self-emo", NAME] = job(AWS_REGION="elsewhere")
    _stopped_after(launcher, "_created", monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        launcher.run(job(), minutes=10)
    assert api.exists(NAME)


def _stopped_after(launcher: Launcher, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the process told to stop when a method of the launcher's has done its work."""
    whole = getattr(launcher, moment)

    def done(*given: Any) -> Any:
        found = whole(*given)
        os.kill(os.getpid(), signal.SIGTERM)
        return found

    monkeypatch.setattr(launcher, moment, done)


def test_a_launcher_in_another_thread_leaves_signals_alone(api: Api, launcher: Launcher, time: Time) -> None:
    time.meanwhile(lambda: api.say(NAME, "Complete"))
    failed: list[BaseException] = []

    def go() -> None:
        try:
            launcher.run(job(), minutes=10)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    assert not failed
    assert not time.acts
