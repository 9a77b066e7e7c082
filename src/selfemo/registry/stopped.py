"""Which rounds the collapse guard stopped lately: what an alert asks, since only MLflow knows it. Defined here."""

from __future__ import annotations

import time
from dataclasses import dataclass

from selfemo.registry.client import Registry
from selfemo.registry.mlflow_client import quoted

DECIDED = "selfemo.decided_at"
"""Tag of a round: when it was first decided, in milliseconds of Unix time."""


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
    since = (time.time() - hours * 3600) * 1000
    where = "tags.`selfemo.kind` = 'round' and tags.`selfemo.stopped` != ''"
    stopped = [r.data.tags for r in registry.client.search_runs([registry.experiment], where)]
    # Not by when its run ended: a round ends again when its pipeline is resumed.
    newest = sorted((t for t in stopped if int(t.get(DECIDED, 0)) > since), key=lambda t: int(t[DECIDED]), reverse=True)
    return [StoppedRound(_run_of(registry, t), t["selfemo.round"], t["selfemo.stopped"]) for t in newest]


def _run_of(registry: Registry, tags: dict[str, str]) -> str:
    """Name of the run that a round belongs to: rounds bear only its id."""
    where = f"attributes.run_id = {quoted(tags['mlflow.parentRunId'])}"
    found = registry.client.search_runs([registry.experiment], where)
    return str(found[0].data.tags["selfemo.run"]) if found else "a deleted run"
