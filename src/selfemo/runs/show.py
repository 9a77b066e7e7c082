"""Runs and comparisons for a terminal. What corpora, models and servers wrote is shown as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from selfemo.data.dialogue import Dialogue, read_jsonl
from selfemo.method.gate import ALPHA
from selfemo.runs.compare import ComparedTurn, OnCorpus
from selfemo.runs.differences import UNRECORDED, Comparison
from selfemo.runs.sides import Side
from selfemo.runs.state import RunStatus
from selfemo.runs.table import Line
from selfemo.shown import duration, printable
from selfemo.terminal import show_table

LONGEST = 60
"""Characters of a value that are shown."""


def clock(seconds: float) -> str:
    """Seconds as a clock shows them, for where there is little room: ``0:42``, ``3:10``, ``2:05:00``."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


FIGURES = ("start: F1", "best: F1 [95 %]", "of round", "accuracy")
RUNS = ("run", "what", "state", "rounds", *FIGURES, "took", "champion", "began")
"""Columns of the table of runs; F1 is weighted F1."""


def runs(lines: Sequence[Line]) -> None:
    """Print a table of runs."""
    rows = []
    for line in lines:
        best, start = line.best, line.start
        rows.append(
            (
                line.name,
                f"{line.base} on {line.corpora}, seed {line.seed}",
                line.state.word,
                f"{'?' if line.rounds is None else line.rounds} of {line.planned}",
                f"{start.weighted_f1:.3f}" if start else "-",
                "{:.3f} [{:.3f}, {:.3f}]".format(best.weighted_f1, *best.weighted_f1_interval) if best else "-",
                best.round if best else "-",
                f"{best.accuracy:.3f}" if best else "-",
                duration(line.seconds) if line.seconds is not None else "-",
                f"version {line.champion}" if line.champion else "",
                local(line.began),
            )
        )
    show_table(RUNS, rows, left=("what", "state", "champion", "began"))
    for line in lines:
        if line.state.detail and line.state.word not in (RunStatus.FINISHED, RunStatus.RUNNING):
            _say(f"{line.name}: {line.state.word}: {line.state.detail}")
        if line.store:
            _say(f"{line.name} lies in another store: {line.store}")


def _say(line: str) -> None:
    print(printable(line))


def local(when: datetime) -> str:
    """A time, in this machine's zone."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M")


def comparison(found: Comparison, sides: tuple[Side, Side], most: int) -> None:
    """Print a comparison.

    Args:
        found: What is printed.
        sides: What was compared.
        most: Changed turns that are shown of each corpus.
    """
    if sides[0].evaluation_uri == sides[1].evaluation_uri:
        _say(f"both names are of one policy, {found.first}: name a round of a run as RUN:N")
    dialogues = _held_out(sides[0]) if most else {}
    for corpus in found.corpora:
        _say(f"{corpus.corpus}: {in_words(corpus, found)}")
        if corpus.only_first or corpus.only_second:
            alone = f"{corpus.only_first} turns of {found.first} and {corpus.only_second} of {found.second}"
            _say(f"{alone} were scored by one alone, and do not count here")
        if not corpus.why_not:
            _show_figures(corpus, found)
            _show_labels(corpus, found)
            _show_turns(corpus, dialogues, most)
    for name, rows in (
        ("settings", found.settings),
        ("data", found.data),
        ("code", found.code),
        ("machine", found.machines),
    ):
        if rows:
            cells = [[_short(cell, LONGEST) for cell in (row.what, row.first, row.second)] for row in rows]
            show_table((name, found.first, found.second), cells, left=(found.first, found.second))
        elif name == "machine":  # of what was not recorded nobody knows that it is the same
            _say(f"machine: {found.machine}" if UNRECORDED in found.machine else f"machine: the same ({found.machine})")
        else:
            _say(f"{name}: the same")


def in_words(corpus: OnCorpus, found: Comparison) -> str:
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


def _show_figures(corpus: OnCorpus, found: Comparison) -> None:
    rows = []
    for figure in corpus.figures:
        gain = figure.gain
        seen = (f"{gain.gain:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]", f"{gain.p:.4f}") if gain else ("-", "-")
        rows.append((figure.name, f"{figure.first:.3f}", f"{figure.second:.3f}", *seen))
    show_table(("figure", found.first, found.second, "gain [95 %]", "p, one-sided"), rows)


def _show_labels(corpus: OnCorpus, found: Comparison) -> None:
    rows = []
    for label in corpus.labels:
        gain = f"{label.second - label.first:+.3f} [{label.low:+.3f}, {label.high:+.3f}]"
        rows.append((label.label, label.support, f"{label.first:.3f}", f"{label.second:.3f}", gain))
    show_table(("label", "turns", f"F1 {found.first}", f"F1 {found.second}", "gain [95 %]"), rows)


def _show_turns(corpus: OnCorpus, dialogues: dict[str, Dialogue], most: int) -> None:
    count = {word: sum(turn.became == word for turn in corpus.changed) for word in ("better", "worse", "other")}
    where = f"in {len({turn.dialogue for turn in corpus.changed})} of {corpus.dialogues} dialogues"
    _say(
        f"{len(corpus.changed)} of {corpus.turns} turns are read differently, {where}: {count['better']} became right, "
        f"{count['worse']} became wrong, {count['other']} changed otherwise"
    )
    order = {"better": 0, "worse": 1, "other": 2}
    for turn in sorted(corpus.changed, key=lambda turn: order[turn.became])[:most]:
        _say(f"  {turn.became:6} {_turn(turn, dialogues)}")
    if most and len(corpus.changed) > most:
        _say(f"  and {len(corpus.changed) - most} more: --turns {len(corpus.changed)}, or --json")


def _turn(turn: ComparedTurn, dialogues: dict[str, Dialogue]) -> str:
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


def _short(text: str, most: int = 70) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."
