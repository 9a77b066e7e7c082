"""Turns become dialogues, on disk: rows may come in any order, and their number is not bound by memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfemo.data.dialogue import Utterance
from selfemo.data.intake.cells import counted, majority
from selfemo.data.intake.columns import Columns
from selfemo.data.intake.refusals import Refusals
from selfemo.data.intake.turns import TurnRow

_MANY = 20_000
_TABLE = "CREATE TABLE turn (dialogue INTEGER, place REAL, number INTEGER PRIMARY KEY, body TEXT)"


@dataclass(slots=True)
class StagedDialogue:
    """What is remembered of a dialogue: some hundreds of bytes.

    Attributes:
        name: Its id in the source.
        apart: What keeps it apart from those of other files that have the same id: the split that its file states.
        splits, groups: That its rows name.
        last: The place of its last turn.
    """

    name: str
    apart: str
    splits: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    last: float = 0.0


class Staging:
    """Collects turns, and gives them back by dialogue.

    Args:
        path: Of a file to use; SQLite's, since it sorts more rows than memory holds.
    """

    def __init__(self, path: Path) -> None:
        self._base = sqlite3.connect(path, isolation_level=None)
        self._base.execute("PRAGMA journal_mode=OFF")
        self._base.execute("PRAGMA synchronous=OFF")
        self._base.execute(_TABLE)
        self._rows: list[tuple[int, float, int, str]] = []
        self._ids: dict[tuple[str, ...], int] = {}
        self._sets: dict[frozenset[str], frozenset[str]] = {}
        self._count = 0
        self.known: list[StagedDialogue] = []

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    def add(self, source: int, split: str | None, turn: TurnRow) -> None:
        """Take a turn of a source; ``split`` is what the source's name states."""
        apart = split or ""
        number = self._ids.setdefault((apart, *turn.key), len(self.known))
        if number == len(self.known):
            self.known.append(StagedDialogue("-".join(turn.key), apart))
        known = self.known[number]
        if turn.split or split:
            known.splits = self._with(known.splits, turn.split or split or "")
        if turn.group:
            known.groups = self._with(known.groups, turn.group)
        body = [source, turn.row, turn.order, turn.speaker, turn.text, turn.labels, turn.votes, turn.rater]
        if turn.order is not None:
            known.last = turn.order  # a turn without a place stands behind the one before it in the file
        self._rows.append((number, known.last, self._count, json.dumps(body)))
        self._count += 1
        if len(self._rows) >= _MANY:
            self._flush()

    def _with(self, some: frozenset[str], one: str) -> frozenset[str]:
        """A set with one more; equal sets are one object, since most dialogues have the same."""
        if one in some:
            return some
        grown = some | {one}
        return self._sets.setdefault(grown, grown)

    def _flush(self) -> None:
        self._base.execute("BEGIN")
        self._base.executemany("INSERT INTO turn VALUES (?, ?, ?, ?)", self._rows)
        self._base.execute("COMMIT")
        self._rows.clear()

    def dialogues(self) -> Iterator[tuple[int, list[list[Any]]]]:
        """Each dialogue's number and the rows of its turns, in order."""
        self._flush()
        self._base.execute("CREATE INDEX IF NOT EXISTS sorted ON turn (dialogue, place, number)")
        current = -1
        rows: list[list[Any]] = []
        # No cursor is closed here: after a bad row, this ends when the base is closed, and with it its cursors.
        for number, body in self._base.execute("SELECT dialogue, body FROM turn ORDER BY dialogue, place, number"):
            if number != current and rows:
                yield current, rows
                rows = []
            current = number
            rows.append(json.loads(body))
        if rows:
            yield current, rows


def utterances(rows: list[list[Any]], columns: Columns, paths: Sequence[Path], refuse: Refusals) -> list[Utterance]:
    """The turns of one dialogue.

    Rows of one turn by different raters become one, with their votes; where nobody stated a gold label, it is what at
    least half of the raters named. A turn that is there twice otherwise is reported.
    """
    merged: list[tuple[list[Any], list[list[Any]]]] = []
    by_place: dict[Any, int] = {}
    for row in rows:
        source, number, order, _, text, _, _, rater = row
        if columns.turns and (source, number) != (rows[0][0], rows[0][1]):
            earlier = f"was there in row {rows[0][1]}" + (
                "" if source == rows[0][0] else f" of {paths[rows[0][0]].name}"
            )
            refuse(paths[source], number, columns.dialogue[0], f"this id {earlier}")
            continue
        # With raters, rows of one text are one turn where no column numbers turns.
        place = (
            order if columns.turn else text if columns.rater else "" if columns.unique and not columns.turns else None
        )
        if place is None or place not in by_place:
            by_place[place] = len(merged)
            merged.append((row, [row]))
            continue
        first, others = merged[by_place[place]]
        earlier = f"was there in row {first[1]}" + ("" if first[0] == source else f" of {paths[first[0]].name}")
        if not columns.rater:
            column = columns.turn or columns.dialogue[0]
            refuse(paths[source], number, column, f"this {'turn' if columns.turn else 'id'} {earlier}")
        elif text != first[4]:
            refuse(paths[source], number, columns.text, f"this turn {earlier} with another text")
        elif rater in [other[7] for other in others]:
            refuse(paths[source], number, columns.rater, f"this rater's row of this turn {earlier}")
        else:
            others.append(row)
    owner = _owner(columns, merged)
    found = []
    for index, (row, ballots) in enumerate(merged):
        _, _, _, speaker, text, labels, votes, _ = row
        if columns.rater and len(ballots) >= 1:
            votes = votes or counted([ballot[5] or [] for ballot in ballots])
            labels = majority(votes, len(ballots))
        elif votes and not columns.label:
            labels = majority(votes)
        if owner is not None and speaker.casefold() != owner:
            labels = votes = None
        if not columns.speaker:
            speaker = "AB"[index % 2] if len(merged) > 1 else ""
        found.append(
            Utterance(speaker=speaker or "Someone", text=text, gold=tuple(labels) if labels else None, votes=votes)
        )
    return found


def _owner(columns: Columns, merged: list[tuple[list[Any], list[list[Any]]]]) -> str | None:
    """The speaker whose turns a label is of, or None where it is every turn's own."""
    if not columns.label_of or not merged:
        return None
    first = str(merged[0][0][3])
    return (first if columns.label_of == "first" else columns.label_of).casefold()
