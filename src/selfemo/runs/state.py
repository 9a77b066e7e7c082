"""Whether a run goes on, ended, or was killed before it could say so."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from selfemo import events, processes
from selfemo.runs.find import Run
from selfemo.shown import printable


class RunStatus(StrEnum):
    """What may have become of a run, in one word."""

    FINISHED = "finished"
    """All its rounds are done, or its loop ended early as it should."""
    FAILED = "failed"
    """A step ended with an error."""
    ENDED_BY_HAND = "ended by hand"
    """Somebody stopped it."""
    RUNNING = "running"
    """Its process lives, or Kubeflow says that it runs."""
    KILLED = "killed"
    """Its process is gone, and did not say how it ended."""
    OPEN = "open"
    """MLflow says that it runs, and nothing here says whether it does."""


WORDS = {"FINISHED": RunStatus.FINISHED, "FAILED": RunStatus.FAILED, "KILLED": RunStatus.ENDED_BY_HAND}
"""MLflow's for a run that has said how it ended."""


@dataclass(frozen=True)
class RunState:
    """What became of a run.

    Attributes:
        word: In one word.
        detail: Why, or how that is known; may be empty.
    """

    word: RunStatus
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
            told = event.values.get("word")
            word = next((word for word in WORDS.values() if word == told), RunStatus.FAILED)
            return RunState(word, printable(str(event.values.get("said", ""))))
    host = str(start.values.get("host", ""))
    if host != platform.node():
        return RunState(RunStatus.OPEN, f"on {printable(host)}, which alone can say")
    if processes.alive(start.pid, float(start.values.get("began", 0.0))):
        return RunState(RunStatus.RUNNING, "here")
    return RunState(
        RunStatus.KILLED, "its process is gone, and did not say how it ended; the same command goes on from there"
    )


def state_of(run: Run, workdir: Path) -> RunState:
    """What became of a run, by MLflow and by what this machine knows.

    Args:
        run: As MLflow has it.
        workdir: Of this machine.
    """
    known = of_process(last_attempt(events.EventReader(folder_of(workdir, run.name) / events.FILE).new()))
    if known is not None and known.word in (
        RunStatus.RUNNING,
        RunStatus.KILLED,
    ):  # also before, and after, it could tell MLflow
        return known
    if run.status != "RUNNING":
        first = run.error.splitlines()[0] if run.error else ""
        if run.status not in WORDS:  # this package writes no other
            return RunState(RunStatus.OPEN, printable(f"MLflow says {run.status}"))
        return RunState(WORDS[run.status], printable(first) if run.status != "FINISHED" else "")
    if known is not None and known.word != RunStatus.OPEN:
        return known
    return known or RunState(RunStatus.OPEN, "MLflow says it runs; it was not started from here")
