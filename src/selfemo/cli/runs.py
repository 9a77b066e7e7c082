"""``selfemo runs`` and ``selfemo compare``: what a person asks the day after."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from selfemo.cli.base import configured, surroundings

if TYPE_CHECKING:
    from selfemo.config import Config

JSON = click.option("--json", "as_json", is_flag=True, help="Print it for a program.")


@click.command()
@configured
@JSON
def runs(config: Config, as_json: bool) -> None:
    """List all runs: what each came to, which holds the champion, and what became of it.

    "best" is the policy that the run's own gate left champion, which is not the one with the highest figure: a gain
    that may be chance does not count. Runs of other stores are listed without figures.

    \b
    Example:
      selfemo runs --config configs/demo.yaml
    """
    from selfemo.runs import show
    from selfemo.runs.table import lines

    context = surroundings(config)
    found = lines(context)
    if as_json:
        click.echo(json.dumps([line.to_dict() for line in found], ensure_ascii=False))
    elif found:
        show.runs(found)
    else:
        click.echo(f"no run is there yet in experiment {config.mlflow.experiment}: selfemo run")


@click.command()
@configured
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@click.option("--turns", type=click.IntRange(0), default=8, show_default=True, help="Changed turns that are shown.")
@JSON
def compare(config: Config, first: str, second: str, turns: int, as_json: bool) -> None:
    """Compare two runs: which is better, where, and what differed in settings, data, code and machine.

    RUN is the policy that the run's gate left champion, RUN:N that of its round N. Both are held against each other on
    the held-out turns that both were scored on, by the gate's own paired test. The first is the one before: a gain is
    the second's.

    \b
    Example:
      selfemo compare demo:0 demo:2
      selfemo compare demo colder --json
    """
    from selfemo.runs import show
    from selfemo.runs.differences import compare as compared
    from selfemo.runs.sides import side

    context = surroundings(config)
    sides = side(context, first), side(context, second)
    found = compared(*sides, config)
    if as_json:
        click.echo(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    show.comparison(found, sides, turns)
