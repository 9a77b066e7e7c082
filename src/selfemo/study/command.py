"""Do a study from where it stands: finished runs are kept as files, and the page is written anew after each."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfemo.context import Context, code_version
from selfemo.errors import UserError
from selfemo.study import page
from selfemo.study.plan import StudyPlan, StudyRun, load, study_runs

log = logging.getLogger(__name__)


def study(path: Path, out: Path, only: Sequence[str], write_only: bool) -> Path | None:
    """Do the runs that have no record yet, and write table, plots and data.

    Args:
        path: The plan.
        out: Directory for the page; records lie in ``runs/`` below it.
        only: Do only those whose name (budget-variant-seed) begins with one of these; empty is all.
        write_only: Run nothing, write the page from the records.

    Returns:
        The table, if any run is finished.
    """
    from selfemo.study.execute import execute

    plan = load(path)
    every = study_runs(plan, path)
    if unknown := [o for o in only if not any(c.name.startswith(o) for c in every)]:
        raise UserError(f"no run of the study begins with {unknown[0]!r}", where="--only", fix=f"as {every[0].name}")
    folder = out / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    _warn_of_other_code(every, folder)
    for number, run in enumerate(every, 1):
        wanted = not only or any(run.name.startswith(o) for o in only)
        if write_only or not wanted or finished(run, folder) is not None:
            continue
        log.info("study %s: %s, run %d of %d", plan.name, run.name, number, len(every))
        record = execute(run, run.starting_from(_start(plan, every, run, folder)))
        keep(record, folder / f"{run.name}.json")
        _write(plan, every, folder, out, path)
    return _write(plan, every, folder, out, path)


def standing(path: Path, out: Path) -> tuple[list[str], list[str]]:
    """Names of a plan's runs that are finished, and of those that are not.

    Args:
        path: The plan.
        out: Directory of the page.
    """
    found: tuple[list[str], list[str]] = ([], [])
    for run in study_runs(load(path), path):
        found[finished(run, out / "runs") is None].append(run.name)
    return found


def _start(plan: StudyPlan, every: Sequence[StudyRun], run: StudyRun, folder: Path) -> str:
    """The policy a run starts from: that of its warm-up, trained now if this machine's store lacks it."""
    from selfemo.study.execute import execute

    if not run.start:
        return ""
    start = next(c for c in every if (c.variant, c.budget, c.seed) == (run.start, run.budget, run.seed))
    record = finished(start, folder)
    if record is None or Context(start.config).store.manifest(str(record["policy"])) is None:
        log.info("study %s: %s comes first", plan.name, start.name)
        record = execute(start, start.config)
        keep(record, folder / f"{start.name}.json")
    return str(record["policy"])


def finished(run: StudyRun, folder: Path) -> dict[str, Any] | None:
    """The record of a run, if it was made with the configuration that the plan has now.

    Raises:
        UserError: If there is a file that is no record.
    """
    file = folder / f"{run.name}.json"
    if not file.exists():
        return None
    try:
        record: dict[str, Any] = json.loads(file.read_text())
        return record if record["digest"] == run.digest else None
    except (ValueError, KeyError, TypeError):
        raise UserError("not a record of a study", where=str(file), fix="remove it; its run is repeated") from None


def _warn_of_other_code(every: Sequence[StudyRun], folder: Path) -> None:
    """Say which records stand though the code has changed: their runs would be done anew only without them."""
    now = code_version()
    made: dict[str, list[str]] = {}
    for run in every:
        record = finished(run, folder)
        if record is not None and record.get("code") != now:
            made.setdefault(str(record.get("code")), []).append(f"{run.name}.json")
    for code, files in made.items():
        log.warning(
            "%d RECORDS ARE OF OTHER CODE, %s, and this is %s: %s. They stand, and are compared with what is run now; "
            "remove from %s those whose result the changes between may touch, and their runs are repeated",
            len(files),
            code,
            now,
            ", ".join(files),
            folder,
        )


def keep(record: dict[str, Any], file: Path) -> None:
    """Write a record whole or not at all; counts on one line, so that the rest can be read."""
    counts = record["counts"]
    text = json.dumps(record | {"counts": "COUNTS"}, indent=1).replace('"COUNTS"', json.dumps(counts))
    draft = file.with_suffix(".new")
    draft.write_text(text + "\n")
    draft.replace(file)


def _write(plan: StudyPlan, every: Sequence[StudyRun], folder: Path, out: Path, path: Path) -> Path | None:
    records = [record for run in every if (record := finished(run, folder)) is not None]
    return page.write(plan, records, out, f"selfemo study --plan {path} --out {out}") if records else None
