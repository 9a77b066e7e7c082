"""Runs and comparisons for a terminal. What corpora, models and servers wrote is shown as plain text."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from selfemo.data.dialogue import Dialogue, read_jsonl
from selfemo.method.gate import ALPHA
from selfemo.runs.compare import Figure, OnCorpus, Turn
from selfemo.runs.differences import Comparison, Difference
from selfemo.runs.sides import Side
from selfemo.runs.table import Figures, Line
from selfemo.shown import printable

PIPED = 160
"""Columns of what goes into a pipe or a file."""
LONGEST = 60
"""Characters of a value that are shown."""


def console() -> Console:
    """Standard output; a terminal has its own width."""
    return Console(width=None if sys.stdout.isatty() else PIPED)


def duration(seconds: float | None) -> str:
    """Seconds as people say them: ``42 s``, ``3 min 10 s``, ``2 h 05 min``; ``?`` where it is not known."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def clock(seconds: float) -> str:
    """Seconds as a clock shows them, for where there is little room: ``0:42``, ``3:10``, ``2:05:00``."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def runs(lines: Sequence[Line]) -> None:
    """Print a table of runs."""
    table = Table(title="runs, the newest first", title_justify="left")
    for header in ("run", "what", "rounds", "state"):
        table.add_column(header, overflow="fold")
    for header in ("start: accuracy, weighted F1", "best: accuracy, weighted F1 [95 %]", "steps took"):
        table.add_column(header, justify="right")
    for header in ("champion", "began"):
        table.add_column(header)
    for line in lines:
        done = "?" if line.rounds is None else str(line.rounds)
        what = f"{line.base} on {line.corpora}, seed {line.seed}"
        cells = (
            line.name,
            what,
            f"{done} of {line.planned}",
            line.state.word,
            _figures(line.start, interval=False),
            _figures(line.best),
            duration(line.seconds) if line.seconds is not None else "-",
            f"version {line.champion}" if line.champion else "",
            local(line.began),
        )
        table.add_row(*map(_text, cells))
    out = console()
    out.print(table)
    for line in lines:
        if line.state.detail and line.state.word not in ("finished", "running"):
            out.print(_text(f"{line.name}: {line.state.word}: {line.state.detail}"), soft_wrap=True)
        if line.store:
            out.print(_text(f"{line.name} lies in another store: {line.store}"), soft_wrap=True)


def local(when: datetime) -> str:
    """A time, in this machine's zone."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M")


def _figures(found: Figures | None, *, interval: bool = True) -> str:
    if found is None:
        return "-"
    low, high = found.weighted_f1_interval
    spread = f" [{low:.3f}, {high:.3f}]" if interval else ""
    number = f"round {found.round}: " if interval else ""
    return f"{number}{found.accuracy:.3f}, {found.weighted_f1:.3f}{spread}"


def comparison(found: Comparison, sides: tuple[Side, Side], most: int) -> None:
    """Print a comparison.

    Args:
        found: What is printed.
        sides: What was compared.
        most: Changed turns that are shown of each corpus.
    """
    out = console()
    dialogues = _held_out(sides[0]) if most else {}
    for corpus in found.corpora:
        out.print(_text(f"{corpus.corpus}: {verdict(corpus, found)}", "bold"), soft_wrap=True)
        if corpus.only_first or corpus.only_second:
            alone = f"{corpus.only_first} turns of {found.first} and {corpus.only_second} of {found.second}"
            out.print(_text(f"{alone} were scored by one alone, and do not count here"), soft_wrap=True)
        if corpus.why_not:
            continue
        out.print(_figures_table(corpus.figures, found))
        out.print(_labels_table(corpus, found))
        _changed(out, corpus, dialogues, most)
    for name, rows in (
        ("settings", found.settings),
        ("data", found.data),
        ("code", found.code),
        ("machine", found.machines),
    ):
        if rows:
            out.print(_differences(name, rows, found))
        else:
            same = f"the same ({found.machine})" if name == "machine" else "the same"
            out.print(_text(f"{name}: {same}"), soft_wrap=True)


def verdict(corpus: OnCorpus, found: Comparison) -> str:
    """Which is better on a corpus, in a line."""
    if corpus.why_not:
        return f"not comparable: {corpus.why_not}"
    figure = corpus.figures[0]
    gain = figure.gain
    assert gain is not None  # the gate's own figure is tested
    seen = f"{gain.gain:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] in {gain.figure}, p {gain.p:.4f}"
    over = f"{corpus.turns} turns of {corpus.dialogues} dialogues"
    if corpus.better == "neither":
        return f"neither is better beyond chance (p above {ALPHA:g}): {seen}, {over}"
    return f"{getattr(found, corpus.better)} is better: {seen}, {over}"


def _figures_table(figures: Iterable[Figure], found: Comparison) -> Table:
    table = Table("figure", title=None)
    for name in (found.first, found.second, "gain [95 %]", "p, one-sided"):
        table.add_column(_text(name), justify="right")
    for figure in figures:
        gain = figure.gain
        cells = (
            ("-", "-") if gain is None else (f"{gain.gain:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]", f"{gain.p:.4f}")
        )
        table.add_row(figure.name, f"{figure.first:.3f}", f"{figure.second:.3f}", *cells)
    return table


def _labels_table(corpus: OnCorpus, found: Comparison) -> Table:
    table = Table("label")
    for name in ("turns", f"F1 {found.first}", f"F1 {found.second}", "gain [95 %]"):
        table.add_column(_text(name), justify="right")
    for row in corpus.labels:
        gain = f"{row.second - row.first:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        cells = (row.label, str(row.support), f"{row.first:.3f}", f"{row.second:.3f}", gain)
        table.add_row(*map(_text, cells), style="bold" if row.low > 0 or row.high < 0 else None)
    return table


def _changed(out: Console, corpus: OnCorpus, dialogues: dict[str, Dialogue], most: int) -> None:
    count = {word: sum(turn.became == word for turn in corpus.changed) for word in ("better", "worse", "other")}
    inside = len({turn.dialogue for turn in corpus.changed})
    where = f"in {inside} of {corpus.dialogues} dialogues"
    out.print(
        f"{len(corpus.changed)} of {corpus.turns} turns are read differently, {where}: {count['better']} became right, "
        f"{count['worse']} became wrong, {count['other']} changed otherwise",
        soft_wrap=True,
        highlight=False,
    )
    order = {"better": 0, "worse": 1, "other": 2}
    for turn in sorted(corpus.changed, key=lambda turn: order[turn.became])[:most]:
        out.print(_text(f"  {turn.became:6} {_turn(turn, dialogues)}"), soft_wrap=True)
    if most and len(corpus.changed) > most:
        out.print(f"  and {len(corpus.changed) - most} more: --turns {len(corpus.changed)}, or --json")


def _turn(turn: Turn, dialogues: dict[str, Dialogue]) -> str:
    dialogue = dialogues.get(turn.dialogue)
    said = f' "{_short(dialogue.turns[turn.turn].text)}"' if dialogue and turn.turn < len(dialogue.turns) else ""
    read = " > ".join(", ".join(names) or "no answer" for names in (turn.first, turn.second))
    return f"{turn.dialogue}, turn {turn.turn}{said}: {read}, gold {', '.join(turn.gold)}"


def _held_out(side: Side) -> dict[str, Dialogue]:
    """Held-out dialogues by id; none where they are not there any more."""
    uri, manifest = side.prepared
    if manifest is None:
        return {}
    return {d.id: d for d in read_jsonl(side.context.store.fetch(uri, manifest) / "held_out.jsonl")}


def _differences(name: str, rows: Sequence[Difference], found: Comparison) -> Table:
    table = Table(name)
    for header in (found.first, found.second):
        table.add_column(_text(header), overflow="fold")
    for row in rows:
        table.add_row(*(_text(_short(cell, LONGEST)) for cell in (row.what, row.first, row.second)))
    return table


def _short(text: str, most: int = 70) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _text(cell: str, style: str = "") -> Text:
    return Text(printable(cell), style=style)
