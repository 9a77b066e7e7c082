"""The report closes the run in MLflow, as Kubeflow says how it ended."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from components.report.component import report
from selfemo.config import Config
from selfemo.context import Context


@pytest.mark.parametrize(
    ("state", "closed"),
    [
        ("SUCCEEDED", "FINISHED"),  # Kubeflow without ML Metadata, and its local runner
        ("COMPLETE", "FINISHED"),  # with it: 2.17's word
        ("FAILED", "FAILED"),
        ("CANCELED", "KILLED"),
        ("RUNNING", "KILLED"),  # what 2.17.0 says when a run was terminated
    ],
)
def test_the_run_is_closed_as_kubeflow_says_with_the_round_that_was_cut_off(
    small_local: Config, state: str, closed: str
) -> None:
    registry = Context(small_local).registry
    decided, cut_off = registry.round(0), registry.round(1)
    registry.finish(decided)
    report.python_func(small_local.to_json(), "", "", SimpleNamespace(state=state, error_message=""))
    status = {run: registry.client.get_run(run).info.status for run in (registry.parent, decided, cut_off)}
    assert status == {registry.parent: closed, decided: "FINISHED", cut_off: closed}
