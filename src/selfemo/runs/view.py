"""A run drawn for a terminal: its rounds as a table, what goes on just now, what waits, and what was accepted last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO, Literal

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from selfemo.registry.rounds import RoundFate, RoundRow, fate
from selfemo.runs.eta import left
from selfemo.runs.going import BEFORE, OVER, ROUND, SHOWN, TITLES, Going, PieceState, Stage, StepProgress
from selfemo.runs.samples import Samples
from selfemo.runs.show import clock
from selfemo.runs.state import RunStatus
from selfemo.shown import duration, printable
from selfemo.terminal import colours, lively

_FATES = {RoundFate.PROMOTED: "bold green", RoundFate.STOPPED: "yellow"}
COLOURS = {
    PieceState.DONE: "green",
    PieceState.THERE: "green",
    PieceState.RUNS: "cyan",
    PieceState.FAILED: "bold red",
    PieceState.CUT_OFF: "red",
}
NARROW, WIDE = 76, 100
"""Columns from which on there is room for more, and for still more."""
AHEAD = 3
"""Steps that are waited for, and named."""


def drawable(stream: IO[str]) -> bool:
    """Whether a view may be drawn where this goes: a terminal that can be written over, where colours are wanted."""
    return lively(stream) and colours(stream)


def draw(run: Going, samples: Samples, earlier: Mapping[str, float], now: float, width: int) -> RenderableType:
    """The view.

    Args:
        run: As it goes.
        samples: Those that were accepted last.
        earlier: Seconds of steps in earlier runs that did the same work.
        now: Seconds of Unix time.
        width: Columns that there are.
    """
    parts: list[RenderableType] = [Rule(style="dim"), _head(run, earlier, now), _rounds(run, now, width)]
    working = [p for stage in run.stages() for p in stage.pieces if p.state == PieceState.RUNS]
    if working:
        parts.append(_working(run, working, now, width))
    parts += [Text(line, "bold red") for line in _failures(run)]
    parts += [Text(line, "dim") for line in waiting(run)]
    parts += _kept(run, samples)
    parts += [Text(printable(note), "yellow") for note in run.notes]
    return Group(*parts)


def _head(run: Going, earlier: Mapping[str, float], now: float) -> Text:
    line = Text()
    line.append(printable(run.name), "bold")
    line.append(f"  {printable(run.what)}\n")
    line.append(run.state.word, "bold red" if run.over and run.state.word != RunStatus.FINISHED else "bold green")
    if run.began is not None and (run.ended is not None or not run.over):
        line.append(f" {'after' if run.over else 'for'} {duration((run.ended or now) - run.began)}")
    if not run.over:
        seconds = left(run, earlier, now)
        ahead = any(stage.state not in (*OVER, PieceState.NEVER) for stage in run.stages())
        known = f"at most {duration(seconds)} left" if seconds is not None else "? left"
        line.append(f", {known if ahead else 'its report is being written'}")
    if run.state.detail and run.state.word != RunStatus.RUNNING:
        line.append(f"\n{printable(run.state.detail)}", "red" if run.over else "yellow")
    return line


def columns_of() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which step each column has, in round 0 and in every other round; empty for none.

    Steps of both stand in one column each, and come last; the others share columns as far as there are some of both.
    """
    both = [step for step in ROUND if step in BEFORE]
    first, later = ([s for s in steps if s not in both] for steps in (BEFORE, ROUND))
    gaps = [""] * (len(later) - len(first))
    more = [""] * (len(first) - len(later))
    return (*first[:1], *gaps, *first[1:], *both), (*later, *more, *both)


def _rounds(run: Going, now: float, width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim", expand=width < WIDE)
    figure = "weighted F1 [95 %]" if width >= WIDE else "F1"
    first, later = columns_of()
    heads = [SHOWN[step].head or SHOWN[step].title.lower() if step else "" for step in later]
    headers = ["round", *heads, figure]
    if width >= NARROW:
        headers.insert(-1, "accepted")
    for header in headers:
        justify: Literal["left", "right"] = "right" if header in ("round", "accepted") else "left"
        least = {"decide": len("promoted"), "F1": len("0.123")}.get(header) if width >= NARROW else None
        table.add_column(header, justify=justify, no_wrap=True, min_width=least)
    stages: dict[int, dict[str, Stage]] = {}
    for stage in run.stages():
        stages.setdefault(stage.round, {})[stage.step] = stage
    for round, of in stages.items():
        row = run.rows.get(round)
        columns = later if round else first
        cells = [_cell(of[step], now, width) if step in of else Text("") for step in columns]
        if row is not None:
            word = fate(row)
            cells[columns.index("decide")] = Text(word, _FATES.get(word, ""))
        if width >= NARROW:
            cells.append(Text(_accepted(row)))
        figure = "" if row is None else f"{row.weighted_f1:.3f}" + _interval(row.weighted_f1_interval, width)
        table.add_row(Text(str(round)), *cells, Text(figure))
    return table


def _accepted(row: RoundRow | None) -> str:
    return "" if row is None or row.accepted is None else f"{row.accepted} of {row.accepted + (row.rejected or 0)}"


def _interval(ends: tuple[float, float], width: int) -> str:
    return f" [{ends[0]:.3f}, {ends[1]:.3f}]" if width >= WIDE else ""


def _cell(stage: Stage, now: float, width: int) -> Text:
    """A stage in a word or two: how long it took, how many shards are done, or what became of it."""
    state, count = stage.state, len(stage.pieces)
    style = COLOURS.get(state, "dim")
    what = "prepare " if stage.step == "prepare" and width >= NARROW else ""  # in the column of self-play
    if state == PieceState.DONE:
        return Text(f"{what}{clock(stage.seconds) if stage.seconds is not None else 'done'}", style)
    if state == PieceState.RUNS:
        over = sum(p.state in OVER for p in stage.pieces)
        spent = f"{clock(max(0.0, now - stage.began))}..." if stage.began is not None else "..."
        return Text(f"{what}{f'{over}/{count} ' if count > 1 else ''}{spent}", style)
    words = {PieceState.WAITS: "-", PieceState.NEVER: "", PieceState.THERE: "was there" if width >= WIDE else "there"}
    return Text(what + words.get(state, state), style)


def _working(run: Going, working: list[StepProgress], now: float, width: int) -> Table:
    table = Table.grid(padding=(0, 1))
    for piece in working:
        work = piece.work
        again = f" (try {piece.tries})" if piece.tries > 1 else ""
        name = Text(f"{piece.label(run.shards)}{again}", "cyan")
        if work is None or not work.total:
            table.add_row(name, Text(piece.said or duration(piece.seconds(now)), "dim"))
            continue
        bar = ProgressBar(total=work.total, completed=work.done, width=max(8, min(30, width - 72)))
        rate = "?/s" if work.rate is None else f"{work.rate:.2g}/s" if work.rate < 10 else f"{work.rate:.0f}/s"
        doing = "" if work.name.casefold() == TITLES[piece.step].casefold() else f"{printable(work.name)} "
        counted = f"{doing}{work.done}/{work.total}"
        table.add_row(name, Text(counted), bar, Text(f"{rate}, {duration(work.left)} left", "dim"))
    return table


def _failures(run: Going) -> Iterator[str]:
    for piece in run.pieces.values():
        if piece.state == PieceState.FAILED and piece.said and not run.over:  # else the head has said it
            yield f"{piece.label(run.shards)}: {printable(piece.said.splitlines()[0])}"


def waiting(run: Going) -> Iterator[str]:
    """What waits for what, in a line."""
    if run.over:
        return
    stages = list(run.stages())
    blocked = [(n, stage) for n, stage in enumerate(stages) if stage.state == PieceState.WAITS]
    if not blocked:
        return
    said: list[str] = []
    round = -1
    for n, stage in blocked[:AHEAD]:
        of = f" of round {stage.round}" if stage.round != round else ""
        round = stage.round
        said.append(f"{TITLES[stage.step]}{of}{_for_what(stage, stages[n - 1] if n else None)}")
    more = len(blocked) - len(said)
    yield "next: " + "; ".join(said) + (f"; {more} more" if more > 0 else "")


def _for_what(stage: Stage, before: Stage | None) -> str:
    """What a stage waits for: a place to run in, or the one before it, or shards of that."""
    told = next((f": {printable(p.said)}" for p in stage.pieces if p.said), "")
    if before is None or before.state in OVER:
        return told
    open_ = [p for p in before.pieces if p.state not in OVER]
    if before.state == PieceState.WAITS or len(before.pieces) == 1:
        return f" waits for {TITLES[before.step]}{told}"
    shards = ", ".join(str((p.shard or 0) + 1) for p in open_)
    return f" waits for {TITLES[before.step]}, shard{'s' if len(open_) > 1 else ''} {shards}{told}"


def _kept(run: Going, samples: Samples) -> Iterator[RenderableType]:
    uri, round = run.samples
    if not uri:
        return
    samples.ask(uri)
    if samples.why_not:
        yield Text(f"accepted in round {round}: cannot be read from here: {samples.why_not}", "dim")
    elif samples.kept:
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for kept in samples.kept:
            table.add_row(Text(kept.target, "magenta"), Text(f"{kept.text} ({kept.confidence:.2f})"))
        yield Text(f"accepted last, in round {round}", "dim")
        yield table


def plain(run: Going) -> Iterator[str]:
    """The same as lines, one for each step or shard that is not just waiting, in the order of the pipeline."""
    for stage in run.stages():
        for piece in stage.pieces:
            if piece.state in (PieceState.WAITS, PieceState.NEVER):
                continue
            again = f" (try {piece.tries})" if piece.tries > 1 else ""
            took = piece.seconds(0.0) if piece.ended is not None and piece.state == PieceState.DONE else None
            said = f": {printable(piece.said.splitlines()[0])}" if piece.said else ""
            yield f"{piece.label(run.shards)}: {piece.state}{again}{f' in {duration(took)}' if took else ''}{said}"
        if stage.step == "decide" and (row := run.rows.get(stage.round)) is not None:
            low, high = row.weighted_f1_interval
            yield f"round {stage.round}: {fate(row)}, weighted F1 {row.weighted_f1:.3f} [{low:.3f}, {high:.3f}]"
