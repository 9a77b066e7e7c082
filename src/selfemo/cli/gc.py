"""``selfemo gc``: give back the space of what nothing needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selfemo.cli.base import configured, surroundings
from selfemo.cli.output import Report, reports
from selfemo.errors import UserError

if TYPE_CHECKING:
    from selfemo.config import Config

RECORDS = Path("docs/results")
"""Where `selfemo study` keeps its records unless it is told another place."""


@click.command()
@configured
@click.option("--delete", "act", is_flag=True, help="Do it; without, it is only said what would go.")
@click.option(
    "--older-than",
    "hours",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    help="Hours; what was written later stays, it may be half of something.",
)
@click.option(
    "--records",
    type=click.Path(path_type=Path),
    multiple=True,
    help=f"Results of studies, whose policies stay; default: {RECORDS}, if it is there.",
)
@reports("deleted", "bytes", "runs", "unknown", "kept", "disk")
def gc(config: Config, act: bool, hours: float, records: tuple[Path, ...]) -> Report:
    """Remove what no registered version, no unfinished run and no record needs, in the store and in caches here.

    To let go of a run, delete its run and its versions in MLflow first.

    \b
    Example:
      selfemo gc
      selfemo gc --delete
    """
    from rich.filesize import decimal

    from selfemo.gc import collect
    from selfemo.services.vacuum import vacuum

    for folder in records:
        if not folder.is_dir():
            raise UserError("no such directory", where=str(folder), fix="give the directory of a study's results")
    context = surroundings(config)
    found = collect.plan(context, records or ((RECORDS,) if RECORDS.is_dir() else ()), hours)
    runs = [{"run": run, "count": count, "bytes": size} for run, (count, size) in found.by_run().items()]
    for run, (count, size) in found.by_run().items():
        click.echo(f"{run:<40} {count:>6} {decimal(size):>10}")
    for run in found.unknown:
        click.echo(f"{run}: no run of this MLflow; left alone. To remove it, delete {context.store.uri(run)}")
    values: dict[str, Any] = {
        "deleted": act,
        "bytes": found.size,
        "runs": runs,
        "unknown": found.unknown,
        "kept": [],
        "disk": None,
    }
    if not act:
        last = f"would remove {decimal(found.size)}; do it with --delete" if found.leftovers else "nothing to remove"
        return Report(values, last)
    kept = collect.delete(context, found)
    removed = sum(size for run, (_, size) in found.by_run().items() if run not in kept)
    values |= {"bytes": removed, "kept": kept}
    for run in kept:
        click.echo(f"{run}: has begun again meanwhile; kept")
    click.echo(f"removed {decimal(removed)}")
    if "s3" in context.embedded:
        values["disk"] = vacuum(context.workdir)
        click.echo(f"the embedded S3 gave back {decimal(values['disk'])} of the disk")
    return Report(values)
