"""Schedules and their nights, against a stub of Kubeflow's API."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.cron import checked
from pipelines.schedule import EPOCH, again, recurring
from pipelines.submit import main
from selfemo.errors import UserError
from tests.pipeline.stub import Stub
from tests.pipeline.test_submit import settings, submission

pytestmark = pytest.mark.no_cover  # no library code, which it would only slow down

NIGHT = "2026-11-26T03:00:00Z"


@pytest.fixture
def nights(stub: Stub) -> Stub:
    """A schedule whose last run has failed."""
    schedule = recurring(submission(stub), "0 0 3 * * *")
    for time, state in (("2026-11-25T03:00:00Z", "FAILED"), (NIGHT, "FAILED")):
        made = stub.kept["recurringRuns"][0]
        what: dict[str, Any] = {
            "runtime_config": {"parameters": {"config": made["runtime_config"]["parameters"]["config"]}}
        }
        what["pipeline_version_reference"] = dict(made["pipeline_version_reference"])
        night = {"display_name": f"demo{time}", "recurring_run_id": schedule, "state": state, **what}
        made = stub.add("runs", "run_id", {**night, "created_at": time, "scheduled_at": "2026-01-01T00:00:00Z"})
        stub.workflows[made["run_id"]] = {"metadata": {"creationTimestamp": time}}
    stub.kept["runs"].reverse()  # the newest first, as it is asked for
    return stub


def retry(stub: Stub, *overrides: str, most: int = 2) -> str | None:
    return again(submission(stub, *overrides), most)


def started(stub: Stub) -> list[str]:
    return [run["display_name"] for run in stub.kept["runs"] if not run.get("recurring_run_id")]


def test_the_last_night_is_started_again_under_the_name_that_it_had(nights: Stub) -> None:
    assert retry(nights)
    assert started(nights) == ["demo-20261126-030000"]
    (run,) = [run for run in nights.kept["runs"] if not run.get("recurring_run_id")]
    assert run["runtime_config"]["parameters"]["cycle"] == "20261126-030000"


def test_the_nights_time_is_what_its_driver_told_it(nights: Stub) -> None:
    """A Workflow without a label gives the time at which it was made; one with a label gives that."""
    (last, *_) = nights.kept["runs"]
    nights.workflows[last["run_id"]]["metadata"]["labels"] = {EPOCH: "1764126000"}
    retry(nights)
    assert started(nights) == ["demo-20251126-030000"]
    del nights.workflows[last["run_id"]]  # a backend that shows no Workflow
    retry(nights)
    assert started(nights)[-1] == "demo-20261126-030000"


def test_it_is_started_again_so_many_times_and_no_more(nights: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(4):
        retry(nights)
        for run in nights.kept["runs"]:
            run["state"] = "FAILED"
    assert started(nights) == ["demo-20261126-030000"] * 2
    assert "left alone: it was started again 2 times, and failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "history", "said"),
    [
        ("SUCCEEDED", [], "is left alone: succeeded"),
        ("RUNNING", [], "is active"),
        ("FAILED", ["RUNNING", "CANCELING", "FAILED"], "is left alone: canceled"),
    ],
)
def test_a_night_that_went_well_or_goes_on_or_was_ended_is_left_alone(
    nights: Stub, capsys: pytest.CaptureFixture[str], state: str, history: list[str], said: str
) -> None:
    nights.kept["runs"][0] |= {"state": state, "state_history": [{"state": past} for past in history]}
    assert retry(nights) is None
    assert not started(nights)
    assert said in capsys.readouterr().err


def test_a_schedule_that_has_not_run_yet_is_left_alone(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    recurring(submission(stub), "0 0 3 * * *")
    assert retry(stub) is None
    assert "has had no run yet" in capsys.readouterr().err


def test_a_schedule_is_made_once_and_replaced_when_it_differs(stub: Stub) -> None:
    first = recurring(submission(stub), "0 0 3 * * *")
    assert recurring(submission(stub), "0 0 3 * * *") == first
    recurring(submission(stub), "0 0 4 * * *")
    (job,) = stub.kept["recurringRuns"]
    assert job["trigger"]["cron_schedule"]["cron"] == "0 0 4 * * *"
    assert job["max_concurrency"] == 1
    assert job["no_catchup"] is True


def test_a_schedule_whose_night_goes_on_is_ended_and_deleted_later(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kubeflow makes a schedule the owner of its runs' Workflows: deleted, it takes a running night with it."""
    first = recurring(submission(stub), "0 0 3 * * *")
    night = stub.add("runs", "run_id", {"display_name": "n", "recurring_run_id": first, "state": "RUNNING"})
    second = recurring(submission(stub), "0 0 4 * * *")
    assert {j["recurring_run_id"]: j["status"] for j in stub.kept["recurringRuns"]} == {
        first: "DISABLED",
        second: "ENABLED",
    }
    assert f"its run {night['run_id']} goes on" in capsys.readouterr().err
    assert recurring(submission(stub), "0 0 4 * * *") == second
    third = recurring(submission(stub), "0 0 3 * * *")  # what is ended is not taken up again
    assert third not in (first, second)
    night["state"] = "SUCCEEDED"
    fourth = recurring(submission(stub), "0 0 5 * * *")
    assert [j["recurring_run_id"] for j in stub.kept["recurringRuns"]] == [fourth]


@pytest.mark.parametrize(
    ("cron", "fix"),
    [
        ("0 3 * * *", "write '0 0 3 * * *'"),
        ("*/5 * * * 1-5", "write '0 */5 * * * 1-5'"),
        ("3am", "write it like"),
        ("every day", "write it like"),
        ("0 3 * * * * *", "write it like"),
        ("a b c d e", "write it like"),
        ("a b c d e f", "'a' is no second"),
        ("0 0 24 * * *", "'24' is no hour: 0 to 23"),
        ("0 0 3 0 * *", "'0' is no day of the month"),
        ("0 0 3 * 13 *", "'13' is no month"),
        ("0 0 3 * * 7", "'7' is no day of the week"),
        ("0 0 5-3 * * *", "'5-3' never comes"),
        ("0 */0 3 * * *", "'*/0' never comes"),
        ("0 0 3 * * mon;tue", "is no day of the week"),
        ("0 0 3 31 feb,4 *", "never comes"),
        ("@nightly", "no schedule that Kubeflow has"),
        ("@every 0h", "no schedule that Kubeflow has"),
        ("@every day", "no schedule that Kubeflow has"),
        ("", "0 fields"),
    ],
)
def test_a_schedule_without_seconds_is_refused_with_the_one_that_is_meant(stub: Stub, cron: str, fix: str) -> None:
    with pytest.raises(UserError, match=re.escape(fix)):
        recurring(submission(stub), cron)
    assert not stub.kept["recurringRuns"]


@pytest.mark.parametrize(
    "cron",
    [
        "0 0 3 * * *",
        "*/30 0-10,20 3/2 ? JAN-mar mon,wed-FRI",
        "@daily",
        "@every 1h30m",
        "@every 12h",
        "0 0 3 1 * ?",
        "0 0 3 29-31 2,3 *",
    ],
)
def test_a_schedule_that_kubeflow_has_is_taken(cron: str) -> None:
    assert checked(cron) == cron


def test_a_schedule_that_a_person_paused_stays_paused(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    first = recurring(submission(stub), "0 0 3 * * *")
    stub.kept["recurringRuns"][0]["status"] = "DISABLED"
    assert recurring(submission(stub), "0 0 3 * * *") == first
    assert "schedule demo is paused" in capsys.readouterr().err
    recurring(submission(stub), "0 0 4 * * *")
    (job,) = stub.kept["recurringRuns"]
    assert (job["trigger"]["cron_schedule"]["cron"], job["status"]) == ("0 0 4 * * *", "DISABLED")


@pytest.mark.parametrize("override", ["seed=8", "loop.rounds=1"])
def test_a_night_of_another_configuration_is_left_alone(
    nights: Stub, capsys: pytest.CaptureFixture[str], override: str
) -> None:
    assert retry(nights, override) is None
    assert not started(nights)
    assert "is left alone: the configuration is another one now" in capsys.readouterr().err


def test_a_night_of_another_pipeline_is_left_alone(nights: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    nights.kept["runs"][0]["pipeline_version_reference"]["pipeline_version_id"] = "versions-0"
    assert retry(nights) is None
    assert "is left alone: the pipeline is another one now" in capsys.readouterr().err


@pytest.mark.parametrize(("minutes", "goes_on"), [(5, True), (120, False)])
def test_a_run_whose_workflow_is_gone_is_not_waited_for_for_ever(stub: Stub, minutes: int, goes_on: bool) -> None:
    """Kubeflow says CANCELING of it, and nothing will ever end it."""
    first = submission(stub).run()
    since = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
    stub.kept["runs"][0] |= {"state": "CANCELING", "state_history": [{"state": "CANCELING", "update_time": since}]}
    assert (submission(stub).run() == first) is goes_on


def test_the_command_prints_the_id_of_what_it_started_and_nothing_where_it_started_nothing(
    nights: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(settings(nights).to_json())
    monkeypatch.setattr("sys.argv", ["submit", str(tmp_path / "config.json"), "--again", "1"])
    assert main() == 0
    assert capsys.readouterr().out == f"{nights.kept['runs'][-1]['run_id']}\n"
    assert main() == 0
    assert capsys.readouterr().out == ""
