"""``selfemo canary``: a version that serves a share of the traffic before it becomes champion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from selfemo.cli.base import configured, surroundings
from selfemo.cli.output import Report, reports
from selfemo.cli.registry import STANDING, standing
from selfemo.errors import Exit

if TYPE_CHECKING:
    from selfemo.config import Config


@click.group()
def canary() -> None:
    """A version that serves a share of the traffic before it becomes champion (docs/promotion.md).

    \b
    Example:
      selfemo canary show --config prod.yaml
    """


@canary.command()
@configured
@reports(*STANDING, "share", "started", "answers", "reason")
def show(config: Config) -> Report:
    """Say which version is canary, since when, and why; asks the registry alone.

    \b
    Example:
      selfemo canary show --config prod.yaml
    """
    from selfemo.canary.watch import status

    context = surroundings(config, needs=("mlflow",))
    found = status(context)
    said = "\n".join(found.lines)
    known = {"share": found.share, "started": found.started, "answers": found.answers, "reason": found.reason}
    return Report({**standing(context, said), **known}, said)


@canary.command()
@configured
@reports(*STANDING, "became")
def check(config: Config) -> Report:
    """Look at the canary once, and roll it back, let it go on, or make it champion. Give it to a CronJob.

    Asks Prometheus for the errors and seconds of both servers, and both servers for the emotions of the same
    conversations; SELFEMO_SERVE_KEY is their key. Exit code 1 if the canary is rolled back.

    \b
    Example:
      selfemo canary check --config prod.yaml
    """
    from selfemo.canary.watch import Became
    from selfemo.canary.watch import check as look

    context = surroundings(config)
    outcome = look(context)
    said = "\n".join(outcome.lines)
    code = Exit.NO if outcome.became is Became.STOPPED else Exit.DONE
    return Report({**standing(context, said), "became": outcome.became}, said, code)


@canary.command()
@configured
@click.option("--reason", required=True, help="Why.")
@reports(*STANDING)
def stop(config: Config, reason: str) -> Report:
    """Roll the canary back: the champion gets all the traffic again.

    \b
    Example:
      selfemo canary stop --config prod.yaml --reason "it swears"
    """
    from selfemo.canary.watch import stop as end

    context = surroundings(config)
    said = end(context, reason)
    return Report(standing(context, said), said)
