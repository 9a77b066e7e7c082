"""The run as one page, and the end of its MLflow run."""

from __future__ import annotations

from pathlib import Path

from selfemo.config import Config
from selfemo.context import Context
from selfemo.registry.promotion import decisions
from selfemo.registry.rounds import RoundRow


def report(config: Config, succeeded: bool, error: str = "") -> Path:
    """The run as one page, whatever became of it; closes the MLflow run.

    Returns:
        The page, on this machine.
    """
    from selfemo.report.page import write_report

    context = Context(config)
    registry = context.registry
    rows = finished_rounds(context)
    page = context.workdir / "runs" / config.run / "report.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    write_report(context, rows, page, succeeded, error)
    registry.artifacts(registry.parent, [page])
    if error:
        registry.tags(registry.parent, {"selfemo.error": error[:4000]})
    registry.finish(registry.parent, succeeded)
    return page


def finished_rounds(context: Context) -> list[RoundRow]:
    """Rounds of the current attempt at the run that were decided, in order."""
    return [RoundRow(**decision.result["row"]) for decision in decisions(context)]
