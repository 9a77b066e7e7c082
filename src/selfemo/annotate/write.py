"""The same rows again, in the same form, each with what is said of its turns."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from selfemo.annotate.added import ReadingLookup
from selfemo.annotate.index import Index, Strict
from selfemo.annotate.source import AnnotationSource
from selfemo.data.intake.columns import listed
from selfemo.data.intake.dialect import Dialect
from selfemo.data.intake.documents import objects
from selfemo.data.intake.tables import Table
from selfemo.errors import UserError

CHUNK = 2048
"""Rows that are looked up at a time."""
Turns = list[tuple[int, int]]
"""Of a row: the place of each turn in what the row lists, and its number."""
_SAVED = ("state.json", "dataset_dict.json", "dataset_info.json")
"""What ``datasets`` keeps beside the files of a data set."""


@dataclass(frozen=True)
class Output:
    """Where rows go.

    Attributes:
        source: What is annotated.
        index: Its turns.
        reader: What was read in them.
        path: The file, or the directory that holds the files.
    """

    source: AnnotationSource
    index: Index
    reader: ReadingLookup
    path: Path

    def write(self) -> None:
        """Write all of it."""
        if self.source.path.is_dir():
            _surroundings(self.source, self.path)
        for number, table in enumerate(self.source.tables):
            target = self.path / self.source.relative(table)
            target.parent.mkdir(parents=True, exist_ok=True)
            one = RowWriter(table, self.source.columns.turns, target, self)
            _FORMS[table.source.form](one, self.index.origins(number))

    def names(self) -> Sequence[str]:
        """Of what is added."""
        return self.reader.names


@dataclass(frozen=True)
class RowWriter:
    """One file.

    Attributes:
        table: As it is read.
        turns: The column that lists a dialogue's turns; empty where a row is one.
        target: What is written.
        output: All of it.
    """

    table: Table
    turns: str
    target: Path
    output: Output

    def said(self, rows: Sequence[Turns]) -> list[dict[int, Mapping[str, Any]]]:
        """What is said of the turns of some rows, by their place in each."""
        found = iter(self.output.reader.of([turn for row in rows for _, turn in row]))
        return [{slot: next(found) for slot, _ in row} for row in rows]


def matched(numbers: Iterator[tuple[int, Any]], origins: Iterator[tuple[int, int, int]]) -> Iterator[tuple[Any, Turns]]:
    """Rows with their turns; both come in the order of rows."""
    waiting = next(origins, None)
    for number, row in numbers:
        turns: Turns = []
        while waiting is not None and waiting[0] <= number:
            turns.append((waiting[1], waiting[2]))
            waiting = next(origins, None)
        yield row, turns


def chunks(rows: Iterator[tuple[Any, Turns]], size: int = CHUNK) -> Iterator[list[tuple[Any, Turns]]]:
    """So many rows at a time."""
    while chunk := list(islice(rows, size)):
        yield chunk


def _csv(rows: RowWriter, origins: Iterator[tuple[int, int, int]]) -> None:
    dialect = rows.table.dialect
    assert dialect is not None
    path, added = rows.table.source.path, rows.output.names()
    blank = [""] * len(added)
    with (
        path.open(encoding=dialect.encoding.name, newline="") as old,
        rows.target.open("w", encoding=dialect.encoding.name, newline="") as file,
    ):
        first = old.readline(1 << 20)
        file.write(first if dialect.skip else "")
        out = csv.writer(
            file,
            delimiter=dialect.delimiter,
            lineterminator="\r\n" if first.endswith("\r\n") else "\n",
            quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE,
            quotechar='"' if dialect.quoted else None,
        )
        if dialect.header:
            out.writerow([*("" if n.startswith("(column ") else n for n in dialect.names), *added])
        for chunk in chunks(matched(rows.table.rows(Strict()), origins)):
            for (row, _), said in zip(chunk, rows.said([turns for _, turns in chunk]), strict=True):
                cells = _cells(said[0], dialect) if said else blank
                try:
                    out.writerow([*row.values(), *cells])
                except csv.Error as error:
                    fix = "give the file as JSON Lines, or with another delimiter"
                    raise UserError(f"cannot be written as it is: {error}", where=str(path), fix=fix) from None


def _cells(said: Mapping[str, Any], dialect: Dialect) -> list[str]:
    """What is said of a turn as text; an import takes the emotions for a set of labels."""
    return [_cell(value, dialect) for value in said.values()]


def _cell(value: Any, dialect: Dialect) -> str:
    if isinstance(value, list):
        return (";" if dialect.delimiter == "|" else "|").join(value)
    return str(value).lower() if isinstance(value, bool) else _plain(value)


def _plain(number: float) -> str:
    """A probability without an exponent: spreadsheets and `cut` want none."""
    return f"{number:.6f}".rstrip("0").rstrip(".") or "0"


def _jsonl(rows: RowWriter, origins: Iterator[tuple[int, int, int]]) -> None:
    path, encoding = rows.table.source.path, rows.table.known_encoding.name
    with path.open(encoding=encoding, newline="\n") as lines, rows.target.open("w", encoding=encoding) as out:
        numbered = ((n, json.loads(line)) for n, line in enumerate(lines, 1) if line.strip())
        for chunk in chunks(matched(numbered, origins)):
            for (row, _), said in zip(chunk, rows.said([turns for _, turns in chunk]), strict=True):
                _add(rows, row, said)
                out.write(_line(row, encoding, None) + "\n")


def _json(rows: RowWriter, origins: Iterator[tuple[int, int, int]]) -> None:
    path, encoding = rows.table.source.path, rows.table.known_encoding.name
    text = path.read_text(encoding=encoding)
    data = json.loads(text)
    numbered = ((number, item) for number, (item, _) in enumerate(objects(data) or (), 1))
    for chunk in chunks(matched(numbered, origins)):
        for (row, _), said in zip(chunk, rows.said([turns for _, turns in chunk]), strict=True):
            _add(rows, row, said)
    indent = 2 if "\n" in text.strip() else None
    rows.target.write_text(_line(data, encoding, indent) + "\n", encoding=encoding)


def _convokit(rows: RowWriter, origins: Iterator[tuple[int, int, int]]) -> None:
    """Utterances with what is added under ``meta``."""
    file = "utterances.jsonl"
    none = dict.fromkeys(rows.output.names())
    with (
        (rows.table.source.path / file).open(encoding="utf-8", newline="\n") as lines,
        (rows.target / file).open("w", encoding="utf-8") as out,
    ):
        numbered = ((n, json.loads(line)) for n, line in enumerate(lines, 1) if line.strip())
        for chunk in chunks(matched(numbered, origins)):
            for (row, _), said in zip(chunk, rows.said([turns for _, turns in chunk]), strict=True):
                meta = row.get("meta")
                row["meta"] = {**(meta if isinstance(meta, dict) else {}), **(said.get(0) or none)}
                out.write(_line(row, "utf-8", None) + "\n")


def _add(rows: RowWriter, row: Any, said: Mapping[int, Mapping[str, Any]]) -> None:
    """Add what is said to a row; to each turn that it lists, where these are objects; else as lists beside them."""
    none = dict.fromkeys(rows.output.names())
    if not rows.turns:
        row.update(said.get(0) or none)
        return
    turns = row if isinstance(row, list) else row.get(rows.turns)
    if isinstance(turns, list) and all(isinstance(turn, dict) for turn in turns):
        for slot, turn in enumerate(turns):
            turn.update(said.get(slot) or none)
    elif isinstance(row, dict):
        row.update(as_lists(rows.output.names(), said, len(listed(turns) or ())))
    else:
        raise UserError(
            "a list of text has no place for what is added",
            where=str(rows.table.source.path),
            fix='make an object of each: {"messages": [...]}',
        )


def as_lists(names: Sequence[str], said: Mapping[int, Mapping[str, Any]], count: int) -> dict[str, list[Any]]:
    """What is said of the turns of a row as lists, as long as that of the turns."""
    return {name: [said[i][name] if i in said else None for i in range(count)] for name in names}


def _line(row: Any, encoding: str, indent: int | None) -> str:
    """JSON as a file of that encoding can hold it: what it has no bytes for is escaped."""
    text = json.dumps(row, ensure_ascii=False, indent=indent)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(row, indent=indent)
    return text


def _surroundings(source: AnnotationSource, out: Path) -> None:
    """What a directory holds besides: of ConvoKit all, of ``datasets`` what describes its files, as far as it holds."""
    out.mkdir(parents=True)
    if source.tables[0].source.form == "convokit":
        shutil.copytree(source.path, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("utterances.jsonl"))
        return
    for file in (f for name in _SAVED for f in sorted(source.path.rglob(name))):
        target = out / file.relative_to(source.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        known = json.loads(file.read_bytes())
        if file.name == "dataset_info.json" and isinstance(known, dict):
            known.pop("features", None)  # the files state theirs, and there are more now
        target.write_text(json.dumps(known, indent=2), encoding="utf-8")


def _arrow(rows: RowWriter, origins: Iterator[tuple[int, int, int]]) -> None:
    from selfemo.annotate.tables import write

    write(rows, origins)


_FORMS: Mapping[str, Callable[[RowWriter, Iterator[tuple[int, int, int]]], None]] = {
    "csv": _csv,
    "json": _json,
    "jsonl": _jsonl,
    "convokit": _convokit,
    "parquet": _arrow,
    "arrow": _arrow,
}
