"""``selfemo canary``: a version that serves a share of the traffic before it becomes champion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from selfemo.cli.base import configured, surroundings

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
def show(config: Config) -> None:
    """Say which version is canary, since when, and why; asks the registry alone.

    \b
    Example:
      selfemo canary show --config prod.yaml
    """
    from selfemo.canary.decide import shown

    click.echo("\n".join(shown(surroundings(config, needs=("mlflow",)))))


@canary.command()
@configured
def check(config: Config) -> None:
    """Look at the canary once, and roll it back, let it go on, or make it champion. Give it to a CronJob.

    Asks Prometheus for the errors and seconds of both servers, and both servers for the emotions of the same
    conversations; SELFEMO_SERVE_KEY is their key. Exit code 1 if the canary is rolled back.

    \b
    Example:
      selfemo canary check --config prod.yaml
    """
    from selfemo.canary.decide import Became
    from selfemo.canary.decide import check as look

    outcome = look(surroundings(config))
    click.echo("\n".join(outcome.lines))
    if outcome.became is Became.STOPPED:
        raise SystemExit(1)


@canary.command()
@configured
@click.option("--reason", required=True, help="Why.")
def stop(config: Config, reason: str) -> None:
    """Roll the canary back: the champion gets all the traffic again.

    \b
    Example:
      selfemo canary stop --config prod.yaml --reason "it swears"
    """
    from selfemo.canary.decide import stop as end

    click.echo(end(surroundings(config), reason))
