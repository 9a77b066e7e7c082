"""The turns of a source in the order of their dialogues, on disk: rows may come in any order and any number."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from selfemo.annotate.source import AnnotationSource
from selfemo.data.intake.columns import FILE, Columns, listed
from selfemo.data.intake.naming import Naming
from selfemo.data.intake.refusals import Refusals
from selfemo.data.intake.turns import TurnReader
from selfemo.errors import UserError

_MANY = 10_000
_MADE = """
CREATE TABLE dialogue (id INTEGER PRIMARY KEY, key TEXT UNIQUE, last REAL);
CREATE TABLE row (number INTEGER PRIMARY KEY, dialogue INTEGER, place REAL, source INTEGER, row INTEGER, slot INTEGER,
                  speaker TEXT, text TEXT);
CREATE TABLE turn (number INTEGER PRIMARY KEY, dialogue INTEGER, at INTEGER, speaker TEXT, text TEXT);
CREATE TABLE origin (source INTEGER, row INTEGER, slot INTEGER, turn INTEGER, PRIMARY KEY (source, row, slot))
  WITHOUT ROWID;
"""


class Strict(Refusals):
    """Stops at the first bad row."""

    def __call__(self, path: Path, row: int | str, column: str, problem: str) -> None:
        """See :class:`selfemo.data.intake.refusals.Refusals`."""
        where, fix = f"{path}: row {row}: column {column}", "mend the row; nothing was written"
        raise UserError(problem, where=where, fix=fix)


class Said(NamedTuple):
    """A turn.

    Attributes:
        number: Among all turns, dialogue by dialogue.
        dialogue: Number of its dialogue.
        at: Its place there, from 0.
    """

    number: int
    dialogue: int
    at: int
    speaker: str
    text: str


class Index:
    """What :func:`build` made, open for reading.

    Args:
        path: Of its file.
    """

    def __init__(self, path: Path) -> None:
        self._base = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        (self.turns,) = self._base.execute("SELECT COUNT(*) FROM turn").fetchone()
        (self.dialogues,) = self._base.execute("SELECT COUNT(*) FROM dialogue").fetchone()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    def stretch(self, first: int, end: int) -> list[Said]:
        """Turns ``first`` to ``end - 1``."""
        rows = self._base.execute("SELECT * FROM turn WHERE number >= ? AND number < ? ORDER BY number", (first, end))
        return [Said(*row) for row in rows]

    def origins(self, source: int) -> Iterator[tuple[int, int, int]]:
        """Of a file of the source, in its order: the row, the place of a turn in what the row lists, and the turn."""
        with closing(self._base.cursor()) as cursor:
            yield from cursor.execute(
                "SELECT row, slot, turn FROM origin WHERE source = ? ORDER BY row, slot", (source,)
            )


def build(path: Path, source: AnnotationSource, added: Sequence[str]) -> None:
    """Read all rows, and write their turns in order; the file is there whole or not at all.

    Args:
        path: Of the file.
        source: What to read.
        added: Names that rows will be given, and must not have.

    Raises:
        UserError: For the first bad row: file, row and column; if there is no turn at all.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(partial, isolation_level=None)) as base:
            base.execute("PRAGMA journal_mode=OFF")
            base.execute("PRAGMA synchronous=OFF")
            base.executescript(_MADE)
            base.execute("BEGIN")
            _collect(base, source, frozenset(added))
            base.execute("CREATE INDEX sorted ON row (dialogue, place, number)")
            _order(base, source)
            base.execute("DROP TABLE row")
            (count,) = base.execute("SELECT COUNT(*) FROM turn").fetchone()
            base.execute("COMMIT")
        if not count:
            raise UserError("no turn was found", where=str(source.path), fix="see its columns")
        os.replace(partial, path)
    except sqlite3.Error as error:  # a full disk
        raise UserError(f"cannot keep the turns: {error}", where=str(path.parent), fix="make room there") from None
    finally:
        partial.unlink(missing_ok=True)


def _collect(base: sqlite3.Connection, source: AnnotationSource, added: frozenset[str]) -> None:
    """Put every row's turns down as they come."""
    columns, refusals = source.columns, Strict()
    rows: list[tuple[Any, ...]] = []

    def flush() -> None:
        base.executemany("INSERT INTO row VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", rows)
        rows.clear()

    for number, table in enumerate(source.tables):
        file, apart = table.source.path, "" if columns.split else table.source.split or ""
        gap = source.plan.options.gap * 3600 if columns.dialogue == (FILE,) and columns.time else None
        name = str(source.relative(table)) if len(source.tables) > 1 else ""
        reader = TurnReader(file, columns, Naming(), refusals, name, gap)
        for row_number, row in table.rows(refusals):
            if clash := next((name for name in _names(row, columns) if name in added), None):
                fix = "give what is added another name: --prefix emo_"
                raise UserError("is there already", where=f"{file}: row {row_number}: column {clash}", fix=fix)
            for slot, turn in reader.placed(row_number, row):
                key = json.dumps([apart, turn.split, *turn.key], ensure_ascii=False)
                # A turn without a place stands behind the one before it in the file.
                dialogue, place = base.execute(
                    "INSERT INTO dialogue (key, last) VALUES (?, ?) ON CONFLICT (key) DO UPDATE "
                    "SET last = COALESCE(?, last) RETURNING id, last",
                    (key, turn.order or 0.0, turn.order),
                ).fetchone()
                rows.append((dialogue, place, number, row_number, slot, turn.speaker, turn.text))
                if len(rows) >= _MANY:
                    flush()
    flush()


def _names(row: dict[str, Any], columns: Columns) -> Iterator[str]:
    """The columns of a row, and those of the turns that it lists."""
    yield from row
    for turn in listed(row.get(columns.turns)) or () if columns.turns else ():
        if isinstance(turn, dict):
            yield from turn


def _order(base: sqlite3.Connection, source: AnnotationSource) -> None:
    """Number the turns, dialogue by dialogue; rows that are of one turn, such as one a rater, have its number."""
    columns = source.columns
    turns: list[tuple[Any, ...]] = []
    origins: list[tuple[int, int, int, int]] = []
    count, at, current = -1, -1, -1
    first: tuple[int, int] = (0, 0)
    known: dict[Any, tuple[int, str, int, int]] = {}
    held: list[Any] | None = None

    def flush(least: int) -> None:
        if len(turns) >= least:
            base.executemany("INSERT INTO turn VALUES (?, ?, ?, ?, ?)", turns)
            turns.clear()
        if len(origins) >= least:
            base.executemany("INSERT INTO origin VALUES (?, ?, ?, ?)", origins)
            origins.clear()

    def put(alone: bool) -> None:
        """The first turn of a dialogue, which waited for whether it is the only one."""
        if held is not None:
            speaker = held[3] if columns.speaker or alone else "A"
            turns.append((held[0], held[1], held[2], speaker or "Someone", held[4]))

    with closing(base.cursor()) as cursor:
        cursor.execute(
            "SELECT dialogue, place, source, row, slot, speaker, text FROM row ORDER BY dialogue, place, number"
        )
        for dialogue, place, file, row, slot, speaker, text in cursor:
            if dialogue != current:
                put(alone=True)
                current, at, first, held = dialogue, -1, (file, row), None
                known.clear()
            elif columns.turns and (file, row) != first:
                _twice(source, file, row, columns.dialogue[0], first, "id")
            same = place if columns.turn else text if columns.rater else "" if _unique(columns) else None
            if same is not None and (there := known.get(same)):
                if not columns.rater:
                    what, column = ("turn", columns.turn) if columns.turn else ("id", columns.dialogue[0])
                    _twice(source, file, row, column, there[2:], what)
                elif text != there[1]:
                    _twice(source, file, row, columns.text, there[2:], "turn", " with another text")
                origins.append((file, row, slot, there[0]))
                continue
            flush(_MANY)
            count, at = count + 1, at + 1
            if same is not None:
                if columns.turn:
                    known.clear()  # they come in order
                known[same] = (count, text, file, row)
            origins.append((file, row, slot, count))
            if at == 0:
                held = [count, dialogue, at, speaker, text]
                continue
            put(alone=False)
            held = None
            speaker = speaker if columns.speaker else "AB"[at % 2]
            turns.append((count, dialogue, at, speaker or "Someone", text))
        put(alone=True)
        flush(1)


def _unique(columns: Columns) -> bool:
    return columns.unique and not columns.turns


def _twice(
    source: AnnotationSource, file: int, row: int, column: str, earlier: tuple[int, int], what: str, more: str = ""
) -> None:
    """Refuse a row whose turn or dialogue another row has.

    Raises:
        UserError: Always.
    """
    paths = [table.source.path for table in source.tables]
    there = "" if earlier[0] == file else f" of {paths[earlier[0]].name}"
    raise UserError(
        f"this {what} was there in row {earlier[1]}{there}{more}",
        where=f"{paths[file]}: row {row}: column {column}",
        fix="mend the row; or, if the column is something else: --dialogue @row, --turn @none, --rater @none",
    )
