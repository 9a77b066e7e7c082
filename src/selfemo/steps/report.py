"""The run as one page, and the end of its MLflow run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from selfemo.config import Config
from selfemo.context import FAILURE, Context
from selfemo.registry import pages
from selfemo.registry.promotion import decisions
from selfemo.registry.rounds import RoundFate, RoundRow
from selfemo.store.artifacts import Manifest

SUCCEEDED = ("SUCCEEDED", "COMPLETE", "CACHED")
"""How Kubeflow says so: the first without ML Metadata, the others with it; KFP's local runner says the first."""
KILLED = ("CANCELED", "CANCELING", "RUNNING")
"""And that somebody ended it. With 2.17.0 the loop of a run that was terminated is still "running" when this step
learns it, since none of its steps has said how it ended; so is one whose pod was lost for good."""


def report(config: Config, state: str, error: str = "") -> Path:
    """The run as one page, whatever became of it; closes the MLflow run, and those of rounds that were cut off.

    Args:
        config: Of the run.
        state: What Kubeflow says became of the loop.
        error: And why.

    Returns:
        The page, on this machine.
    """
    from selfemo.report.page import write_report

    context = Context(config)
    registry = context.registry
    # Kubeflow names the loop alone; the step that failed has said why, if it could.
    error = registry.client.get_run(registry.parent).data.tags.get(FAILURE) or error if error else error
    rows = finished_rounds(context)
    page = context.workdir / "runs" / config.run / "report.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    write_report(context, rows, page, state in SUCCEEDED, error)
    registry.artifacts(registry.parent, [page])
    pages.write_note(registry, registry.parent, pages.run_note(registry, rows))
    if error:
        registry.tags(registry.parent, {"selfemo.error": error[:4000]})
    status = "FINISHED" if state in SUCCEEDED else "KILLED" if state in KILLED else "FAILED"
    for round in registry.rounds():
        if round.info.status == "RUNNING":
            registry.finish(round.info.run_id, status)
    registry.finish(registry.parent, status)
    return page


def finished_rounds(context: Context) -> list[RoundRow]:
    """Rounds of the current attempt at the run that were decided, in order, and what the registry made of them."""
    decided = decisions(context)
    became = context.registry.champion.became() if decided else {}
    return [_row(context, decision, became) for decision in decided]


def _row(context: Context, decision: Manifest, became: Mapping[str, RoundFate]) -> RoundRow:
    row = RoundRow.from_dict(decision.result["row"])
    if not decision.result["trained"]:
        return row
    trained = context.policies.find(str(decision.inputs["challenger"])).uri
    return replace(row, became=became.get(trained, RoundFate.UNKNOWN))
