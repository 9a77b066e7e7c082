"""Cycles: the runs of a schedule, each under a name and with a seed of its own, so that each plays its own rounds.

A run of a name that is there already resumes it: nothing would ever be played twice. So a scheduled run is the
configuration's ``run`` and the time that Kubeflow tells it as its scheduled time (some seconds later, where the steps'
account may not read the run's Workflow); tried again, it has the same name, and resumes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from selfemo.config import Config, validate
from selfemo.data.seeds import seed_of
from selfemo.errors import UserError

SCHEDULED = "scheduled"
"""As a cycle's name: take the time that Kubeflow scheduled the run for."""
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,30}")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z")


def of(config: Config, cycle: str = "", scheduled_at: str = "") -> Config:
    """The configuration of one cycle: the same under a name of its own, with a seed of its own.

    The schedule's seed goes with it: it draws who is scored, and nobody may be scored in one cycle who was learnt from
    in another.

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
    own = {
        "run": f"{config.run}-{cycle}",
        "seed": seed_of(config.seed, "cycle", cycle) % 2**31,
        "cycle": {"schedule": config.run, "seed": config.seed},
    }
    return validate({**config.model_dump(mode="json"), **own}, lambda _: "cycle")


def played(config: Config, prepared: Mapping[str, Any]) -> Config:
    """The configuration that the steps after ``prepare`` take: without rounds, where there is nothing new to learn.

    Args:
        config: Of the cycle.
        prepared: What ``prepare`` came to.
    """
    if not prepared.get("idle"):
        return config
    return config.model_copy(update={"loop": config.loop.model_copy(update={"rounds": 0})})
