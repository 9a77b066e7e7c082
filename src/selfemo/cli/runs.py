"""``selfemo runs`` and ``selfemo compare``: what a person asks the day after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from selfemo.cli import complete
from selfemo.cli.base import configured, surroundings
from selfemo.cli.output import Report, reports

if TYPE_CHECKING:
    from selfemo.config import Config


@click.command()
@configured
@reports("experiment", "runs")
def runs(config: Config) -> Report:
    """List all runs: what each came to, which holds the champion, and what became of it.

    "best" is the policy that the run's own gate left champion, which is not the one with the highest figure: a gain
    that may be chance does not count. Runs of other stores are listed without figures.

    \b
    Example:
      selfemo runs --config configs/demo.yaml
    """
    from selfemo.runs import show
    from selfemo.runs.table import lines

    experiment = config.mlflow.experiment
    found = lines(surroundings(config))
    none = f"no run is there yet in experiment {experiment}: selfemo run"
    return Report({"experiment": experiment, "runs": found}, (lambda: show.runs(found)) if found else none)


@click.command()
@configured
@click.argument("first", metavar="RUN", shell_complete=complete.runs)
@click.argument("second", metavar="RUN", shell_complete=complete.runs)
@click.option("--turns", type=click.IntRange(0), default=8, show_default=True, help="Changed turns that are shown.")
@reports("first", "second", "corpora", "settings", "data", "code", "machines", "machine")
def compare(config: Config, first: str, second: str, turns: int) -> Report:
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
    return Report(found.to_dict(), lambda: show.comparison(found, sides, turns))
