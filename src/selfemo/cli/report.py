"""``selfemo report``: a run as one page, whenever one wants it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from selfemo.cli import complete
from selfemo.cli.base import configured, surroundings
from selfemo.cli.output import Report, reports
from selfemo.errors import UserError
from selfemo.places import temporary

if TYPE_CHECKING:
    from selfemo.config import Config
    from selfemo.context import Context
    from selfemo.runs.find import Run


@click.command()
@configured
@click.argument("run", required=False, shell_complete=complete.runs)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File; default: the run's own folder.")
@click.option("--open", "browse", is_flag=True, help="Open it in a browser.")
@reports("run", "status", "rounds", "report")
def report(config: Config, run: str | None, out: Path | None, browse: bool) -> Report:
    """Write a run as one page to look at: one file, which loads nothing from anywhere.

    RUN is the run's name; without it, the configuration's. It may still be running, have failed, or have run on a
    cluster: what it has decided so far is shown, with the settings that it ran with.

    \b
    Example:
      selfemo report --config configs/demo.yaml --open
      selfemo report demo --out demo.html
    """
    from selfemo import steps
    from selfemo.context import Context
    from selfemo.report.page import write_report
    from selfemo.runs.find import find

    here = surroundings(config)
    found = find(here, run or config.run)
    if not found.prepared:
        fix = f"see {found.error}" if found.error else "wait for its first step, or start it again"
        raise UserError(
            "its data have not been prepared: there is nothing to show yet", where=f"run {found.name}", fix=fix
        )
    context = Context(_settings(here, found))
    page = out or context.workdir / "runs" / found.name / "report.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    rows = steps.finished_rounds(context)
    write_report(context, rows, page, found.status != "FAILED", found.error)
    if browse:
        click.launch(page.resolve().as_uri())
    return Report({"run": found.name, "status": found.status, "rounds": len(rows), "report": page}, str(page))


def _settings(here: Context, found: Run) -> Config:
    """What a run ran with, on the servers and in the folder of today's configuration.

    Raises:
        UserError: If its settings are not there, or are of a version that knew others.
    """
    from selfemo.config import Config

    with temporary("settings") as directory:
        file = Path(here.registry.client.download_artifacts(found.id, "config.json", str(directory)))
        kept = Config.from_json(file.read_text(encoding="utf-8"))
    today = {name: getattr(here.config, name) for name in ("workdir", "store", "mlflow")}
    return kept.model_copy(update={**today, "run": found.name})
