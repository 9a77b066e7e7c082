"""Which rounds the collapse guard stopped lately: what an alert asks, since only MLflow knows it. Defined here."""

from __future__ import annotations

import time

from selfemo.registry.client import Registry

DECIDED = "selfemo.decided_at"
"""Tag of a round: when it was first decided, in milliseconds of Unix time."""


def stopped_rounds(registry: Registry, hours: float) -> list[tuple[str, str]]:
    """Rounds of any run of this experiment that the guard stopped, newest first.

    Args:
        registry: Of the installation; its run's name does not matter.
        hours: How long ago they may have been decided.

    Returns:
        Name of each in MLflow, which is the run's and the round's, and what the guard said.
    """
    since = (time.time() - hours * 3600) * 1000
    where = "tags.`selfemo.kind` = 'round' and tags.`selfemo.stopped` != ''"
    # Not by when its run ended: a round ends again when its pipeline is resumed.
    found = [
        (int(run.data.tags.get(DECIDED, 0)), str(run.info.run_name), str(run.data.tags["selfemo.stopped"]))
        for run in registry.client.search_runs([registry.experiment], where)
    ]
    return [(name, reason) for at, name, reason in sorted(found, reverse=True) if at > since]
