"""A run on this machine, from the events that it and its steps note as they happen."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from selfemo import events
from selfemo.config import Config
from selfemo.events import Event
from selfemo.runs.going import INNER, SHARDED, TITLES, Going, PieceState, StepProgress, UnitProgress
from selfemo.runs.state import folder_of, last_attempt, of_process


class Here:
    """Reads a run's events as they come.

    Args:
        workdir: Of this machine.
        name: Of the run.
    """

    def __init__(self, workdir: Path, name: str) -> None:
        self.folder, self.name = folder_of(workdir, name), name
        self._reader = events.EventReader(self.folder / events.FILE)
        self._happened: list[Event] = []

    def look(self) -> Going:
        """The run's last attempt as it is now."""
        if new := self._reader.new():
            self._happened = _compact(last_attempt(self._happened + new))
        return going(self.name, self._happened)


def _compact(attempt: list[Event]) -> list[Event]:
    """Without what a process had counted before it counted further: a run of days counts often."""
    last = {event.pid: number for number, event in enumerate(attempt) if event.what == events.WORK}
    return [e for number, e in enumerate(attempt) if e.what != events.WORK or last[e.pid] == number]


def going(name: str, attempt: list[Event]) -> Going:
    """A run's attempt, from what happened in it.

    Args:
        name: Of the run.
        attempt: Of :func:`selfemo.runs.state.last_attempt`.
    """
    run = Going(name)
    if not attempt:
        return run
    told = attempt[0].values
    run.what, run.rounds, run.shards = (
        str(told.get("title", "")),
        int(told.get("rounds", 0)),
        int(told.get("shards", 1)),
    )
    run.began = attempt[0].at
    run.plan()
    for event in attempt[1:]:
        with suppress(KeyError, TypeError, ValueError, AttributeError):  # of another version
            _apply(run, event)
    run.state = of_process(attempt) or run.state
    if run.over:
        run.ended = attempt[-1].at
    run.close()
    return run


def _apply(run: Going, event: Event) -> None:
    told = event.values
    if event.what == events.WORK:
        piece = next((p for p in run.pieces.values() if p.pid == event.pid and p.state == PieceState.RUNS), None)
        if piece is not None:
            done, total, before = int(told["done"]), int(told["total"]), int(told.get("before", 0))
            piece.work = UnitProgress(str(told["name"]), done, total, float(told["seconds"]), before)
        return
    if event.what != events.STEP:
        return
    step, round = str(told["step"]), int(told["round"])
    inner, step = step in INNER, INNER.get(step, step)
    if step not in TITLES:
        return
    if event.state == "failed":
        piece = _of_process(run, event.pid) or run.piece(step, round, 0 if step in SHARDED else None)
        piece.state, piece.ended, piece.said = PieceState.FAILED, event.at, str(told.get("said", ""))
        return
    for piece in _pieces(run, step, round, told):
        if event.state == "starts":
            _begin(piece, event, again=not inner and piece.state == PieceState.FAILED)
        elif inner:
            _begin(piece, event, again=False)
        elif event.state == "published":
            piece.state, piece.ended, piece.uri, piece.work = PieceState.DONE, event.at, str(told["uri"]), None
        elif piece.state != PieceState.DONE:  # who trains in several processes finds what they have published
            piece.state, piece.uri, piece.ended = PieceState.THERE, str(told["uri"]), event.at
    result = told.get("result") or {}
    if not inner and step == "decide" and "row" in result:
        run.decided(round, result)
    if step == "filter" and not inner and event.state != "starts":
        run.samples = (str(told["uri"]), round)


def _of_process(run: Going, pid: int) -> StepProgress | None:
    return next((p for p in run.pieces.values() if p.pid == pid and p.state == PieceState.RUNS), None)


def _pieces(run: Going, step: str, round: int, told: Mapping[str, object]) -> list[StepProgress]:
    """The pieces that an event is of: of a step that finds the whole already there, all of its shards."""
    if step not in SHARDED:
        return [run.piece(step, round)]
    if "shard" in told:
        return [run.piece(step, round, int(str(told["shard"])))]
    return [run.piece(step, round, shard) for shard in range(run.shards)]


def _begin(piece: StepProgress, event: Event, *, again: bool) -> None:
    if piece.state not in (PieceState.RUNS, PieceState.DONE) or again:
        piece.state, piece.began, piece.ended, piece.said, piece.work = PieceState.RUNS, event.at, None, "", None
        piece.tries += 1
    piece.pid = event.pid


def measured(workdir: Path, config: Config) -> dict[str, float]:
    """Seconds of steps in runs on this machine that did the same work: with the same settings, in as many shards.

    Args:
        workdir: Of this machine.
        config: Of the run that is watched.

    Returns:
        By step, of the run that did it last.
    """
    wanted = {step: config.digest(step) for step in TITLES}
    found: dict[str, float] = {}
    for file in _files(workdir):
        happened = events.EventReader(file).new()
        starts = [n for n, e in enumerate(happened) if (e.what, e.state) == (events.RUN, "starts")]
        for begin, end in zip(starts, [*starts[1:], len(happened)], strict=True):
            attempt = happened[begin:end]
            of = attempt[0].values.get("digests") or {}
            for stage in going("", attempt).stages():
                shards = config.launch.shards if stage.step in SHARDED else 1
                same = isinstance(of, dict) and of.get(stage.step) == wanted[stage.step]
                if same and stage.seconds is not None and len(stage.pieces) == shards:
                    found[stage.step] = stage.seconds
    return found


def _files(workdir: Path) -> list[Path]:
    """Files of events of all runs on this machine, the one that was written last at the end."""
    found = []
    for file in workdir.glob(f"runs/*/{events.FILE}"):
        with suppress(OSError):  # it was removed just now
            found.append((file.stat().st_mtime, file))
    return [file for _, file in sorted(found)]


def config_of(workdir: Path, name: str) -> Config | None:
    """The configuration that a run on this machine last began with; None if it is not there, or of another version."""
    try:
        return Config.from_json((folder_of(workdir, name) / "config.json").read_text(encoding="utf-8"))
    except Exception:  # a file that others may have written, on which only an estimate depends
        return None


def newest(workdir: Path) -> str:
    """Name of the run on this machine in which something happened last; empty if there is none."""
    files = _files(workdir)
    return files[-1].parent.name if files else ""
