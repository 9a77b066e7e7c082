"""``selfemo drift``: whether what is served is still like what the policy was judged on."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from selfemo.cli import complete
from selfemo.cli.base import configured, surroundings
from selfemo.cli.feedback import PLACE, place_of
from selfemo.cli.output import Report, reports
from selfemo.errors import Exit
from selfemo.method.drifted import BOUND, CHANCE, FEWEST
from selfemo.terminal import show_table

if TYPE_CHECKING:
    from selfemo.config import Config
    from selfemo.method.drift import Measure


@click.command()
@configured
@PLACE
@click.option("--policy", help="Whose readings; default: the registry's champion.", shell_complete=complete.policies)
@click.option("--days", type=click.IntRange(min=1), default=7, show_default=True, help="How far back is looked.")
@click.option("--bound", type=click.FloatRange(min=0), default=BOUND, show_default=True, help="Index that is too much.")
@click.option("--fail", is_flag=True, help="End with exit code 1 if anything has drifted, for a CronJob.")
@reports("policy", "corpus", "days", "of_other_weights", "drifted", "measures")
def drift(config: Config, place: str | None, policy: str | None, days: int, bound: float, fail: bool) -> Report:
    """Compare labels, confidence and words of what was served with what the champion was judged on (docs/feedback.md).

    \b
    Example:
      selfemo drift --place s3://served/feedback --days 7
    """
    from selfemo.drift import reference, served
    from selfemo.method.drift import compare
    from selfemo.serving.command import known_labels

    name = policy or f"models:/{config.mlflow.model}@champion"
    context = surroundings(config)
    found = context.policies.find(name)
    spaces, corpus = known_labels(config, found)
    before = reference(context, name, found, corpus, spaces[corpus])
    since = datetime.now(UTC) - timedelta(days=days)
    after, others = served(place_of(config, place), corpus, found.digest, since)
    measures = compare(before, after, spaces[corpus], bound)
    drifted = [m.name for m in measures if m.drifted]

    def show() -> None:
        _show(measures, f"{name} on {corpus}, the last {days} days")
        if others:
            click.echo(f"{others} readings by other weights are left out")
        if drifted:
            click.echo(f"drifted: {', '.join(drifted)}. Have people look: selfemo review open")
            click.echo("start a cycle before its night: selfemo submit --config FILE --cycle $(date -u +%Y%m%d-%H%M%S)")

    values = {
        "policy": name,
        "corpus": corpus,
        "days": days,
        "of_other_weights": others,
        "drifted": drifted,
        "measures": [{**asdict(m), "drifted": m.drifted} for m in measures],
    }
    return Report(values, show, Exit.NO if fail and drifted else Exit.DONE)


def _show(measures: list[Measure], title: str) -> None:
    rows = []
    for m in measures:
        finding = f"fewer than {FEWEST} dialogues" if not m.decided else "drifted" if m.drifted else "as it was judged"
        moved = ", ".join(f"{name} {here:.0%} to {there:.0%}" for name, here, there in m.moved[:2] if m.decided)
        chance = "-" if not m.decided else f"< {CHANCE}" if m.chance < CHANCE else f"{m.chance:.2f}"
        rows.append((m.name, m.reference, m.served, f"{m.psi:.2f} of {m.bound}", chance, finding, moved))
    head = ("what", "dialogues then", "now", "index", "chance", "finding", "moved most")
    show_table(head, rows, title=title, left=("finding", "moved most"))
