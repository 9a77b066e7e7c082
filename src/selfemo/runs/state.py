"""Whether a run goes on, ended, or was killed before it could say so."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

from selfemo import events, processes
from selfemo.runs.find import Run
from selfemo.shown import printable

FINISHED, FAILED, ENDED_BY_HAND, RUNNING, KILLED, OPEN = (
    "finished",
    "failed",
    "ended by hand",
    "running",
    "killed",
    "open",
)
"""What may have become of a run."""
WORDS = {"FINISHED": FINISHED, "FAILED": FAILED, "KILLED": ENDED_BY_HAND}
"""MLflow's for a run that has said how it ended."""


@dataclass(frozen=True)
class RunState:
    """What became of a run.

    Attributes:
        word: One of those above: ``killed`` where its process is gone and did not say how it ended, ``open`` where
            MLflow says that it runs, and nothing here says whether it does.
        detail: Why, or how that is known; may be empty.
    """

    word: str
    detail: str = ""


def folder_of(workdir: Path, name: str) -> Path:
    """Folder of a run on this machine."""
    return workdir / "runs" / name


def last_attempt(happened: list[events.Event]) -> list[events.Event]:
    """What happened since a run was last started, that first; nothing if it was not started."""
    starts = [n for n, event in enumerate(happened) if (event.what, event.state) == (events.RUN, "starts")]
    return happened[starts[-1] :] if starts else []


def of_process(attempt: list[events.Event]) -> RunState | None:
    """What a run's own record says of it; None if it has none.

    Args:
        attempt: Of :func:`last_attempt`.
    """
    if not attempt:
        return None
    start = attempt[0]
    for event in reversed(attempt):
        if (event.what, event.state) == (events.RUN, "ended"):
            word = str(event.values.get("word", ""))
            return RunState(word if word in WORDS.values() else FAILED, printable(str(event.values.get("said", ""))))
    host = str(start.values.get("host", ""))
    if host != platform.node():
        return RunState(OPEN, f"on {printable(host)}, which alone can say")
    if processes.alive(start.pid, float(start.values.get("began", 0.0))):
        return RunState(RUNNING, "here")
    return RunState(KILLED, "its process is gone, and did not say how it ended; the same command goes on from there")


def state_of(run: Run, workdir: Path) -> RunState:
    """What became of a run, by MLflow and by what this machine knows.

    Args:
        run: As MLflow has it.
        workdir: Of this machine.
    """
    known = of_process(last_attempt(events.EventReader(folder_of(workdir, run.name) / events.FILE).new()))
    if known is not None and known.word in (RUNNING, KILLED):  # also before, and after, it could tell MLflow
        return known
    if run.status != "RUNNING":
        first = run.error.splitlines()[0] if run.error else ""
        return RunState(WORDS.get(run.status, run.status.lower()), printable(first) if run.status != "FINISHED" else "")
    if known is not None and known.word != OPEN:
        return known
    return known or RunState(OPEN, "MLflow says it runs; it was not started from here")
