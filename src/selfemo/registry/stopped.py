"""Which rounds the collapse guard stopped lately: what an alert asks, since only MLflow knows it. Defined here."""

from __future__ import annotations

import time
from dataclasses import dataclass

from selfemo.registry.client import Registry
from selfemo.registry.mlflow_client import quoted


@dataclass(frozen=True)
class StoppedRound:
    """A round that the collapse guard stopped.

    Attributes:
        run: Name of the pipeline's run.
        round: Its number.
        reason: What the guard said.
    """

    run: str
    round: str
    reason: str


def stopped_rounds(registry: Registry, hours: float) -> list[StoppedRound]:
    """Rounds of any run of this experiment that the guard stopped, newest first.

    Args:
        registry: Of the installation; its run's name does not matter.
        hours: How long ago they may have been decided.
    """
    since = int((time.time() - hours * 3600) * 1000)
    where = f"tags.`selfemo.kind` = 'round' and tags.`selfemo.stopped` != '' and attributes.end_time > {since}"
    newest = ["attributes.end_time DESC"]
    runs = registry.client.search_runs([registry.experiment], where, order_by=newest)
    return [
        StoppedRound(_run_of(registry, r.data.tags), r.data.tags["selfemo.round"], r.data.tags["selfemo.stopped"])
        for r in runs
    ]


def _run_of(registry: Registry, tags: dict[str, str]) -> str:
    """Name of the run that a round belongs to: rounds bear only its id."""
    where = f"attributes.run_id = {quoted(tags['mlflow.parentRunId'])}"
    found = registry.client.search_runs([registry.experiment], where)
    return str(found[0].data.tags["selfemo.run"]) if found else "a deleted run"
