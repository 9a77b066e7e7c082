"""Nights that failed, against a stub of Kubeflow's API."""

from __future__ import annotations

import pytest

from pipelines.kubeflow import connect
from pipelines.resubmit import resubmit
from tests.pipeline.stub import Stub
from tests.pipeline.test_submit import settings, submission

NIGHT = "2026-11-26T03:00:00Z"


@pytest.fixture
def nights(stub: Stub) -> Stub:
    """A schedule whose last run has failed."""
    schedule = submission(stub).recurring("0 0 3 * * *")
    for time, state in (("2026-11-25T03:00:00Z", "FAILED"), (NIGHT, "FAILED")):
        night = {"display_name": f"demo{time}", "recurring_run_id": schedule, "state": state}
        stub.add("runs", "run_id", {**night, "scheduled_at": time})
    stub.kept["runs"].reverse()  # the newest first, as it is asked for
    return stub


def again(stub: Stub, most: int = 2) -> str | None:
    config = settings(stub)
    return resubmit(config, connect(config), None, most)


def started(stub: Stub) -> list[str]:
    return [run["display_name"] for run in stub.kept["runs"] if not run.get("recurring_run_id")]


def test_the_last_night_is_started_again_under_the_name_that_it_had(nights: Stub) -> None:
    assert again(nights)
    assert started(nights) == ["demo-20261126-030000"]
    (run,) = [run for run in nights.kept["runs"] if not run.get("recurring_run_id")]
    assert run["runtime_config"]["parameters"]["cycle"] == "20261126-030000"


def test_it_is_started_again_so_many_times_and_no_more(nights: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(4):
        again(nights)
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
    assert again(nights) is None
    assert not started(nights)
    assert said in capsys.readouterr().err


def test_a_schedule_that_has_not_run_yet_is_left_alone(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    submission(stub).recurring("0 0 3 * * *")
    assert again(stub) is None
    assert "has had no run yet" in capsys.readouterr().err
