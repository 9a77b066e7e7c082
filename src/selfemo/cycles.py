"""Cycles: the runs of a schedule, each under a name of its own, so that each plays its own rounds.

A run of a name that is there already resumes it: nothing would ever be played twice. So a scheduled run is the
configuration's ``run`` and the time that Kubeflow tells it as its scheduled time (some seconds later, where the steps'
account may not read the run's Workflow); tried again, it has the same name, and resumes.
"""

from __future__ import annotations

import re

from selfemo.config import Config, validate
from selfemo.errors import UserError

SCHEDULED = "scheduled"
"""As a cycle's name: take the time that Kubeflow scheduled the run for."""
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,30}")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z")


def of(config: Config, cycle: str = "", scheduled_at: str = "") -> Config:
    """The configuration of one cycle: the same under a name of its own.

    Args:
        config: Of all cycles.
        cycle: Name of the cycle; empty is no cycle, and changes nothing; :data:`SCHEDULED` takes the time.
        scheduled_at: When the run was scheduled for, in UTC, as Kubeflow writes it: ``2026-11-26T03:00:00Z``.

    Raises:
        UserError: If the name is none, or the time is not known.
    """
    if not cycle:
        return config
    if cycle == SCHEDULED:
        found = _TIME.fullmatch(scheduled_at)
        if found is None:
            raise UserError(
                f"Kubeflow did not say when the run was scheduled for, but {scheduled_at!r}",
                where="cycle",
                fix="run it on Kubeflow Pipelines 2.17 or later, or give the cycle a name",
            )
        cycle = "{}{}{}-{}{}{}".format(*found.groups())
    if not _NAME.fullmatch(cycle):
        raise UserError(
            f"{cycle!r} is no name", where="cycle", fix="lower-case letters, digits, '.' and '-', 31 at most"
        )
    return validate({**config.model_dump(mode="json"), "run": f"{config.run}-{cycle}"}, lambda _: "cycle")
