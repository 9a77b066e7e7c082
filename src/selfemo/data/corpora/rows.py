"""Bad rows: an error that names file, line and column, or a quarantine and a count."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selfemo.data.corpora.files import read_text
from selfemo.data.labels import LabelSpace
from selfemo.data.quotes import swallowed
from selfemo.data.scripts import fold
from selfemo.data.text import nfc
from selfemo.errors import UserError

Line = int | Callable[[], int]
"""A row's line, or how to find it where that takes a search: only a row that is reported is looked for."""

_WHOLE = re.compile(r"([0-9]{1,9})(?:\.0*)?")


@dataclass
class BadRows:
    """Decides what becomes of bad rows of one corpus.

    Attributes:
        skip_bad: Quarantine them instead of stopping at the first.
        quarantine: ``{"where", "problem", "row"}`` of each row left out.
    """

    skip_bad: bool = False
    quarantine: list[dict[str, str]] = field(default_factory=list)

    def bad(self, path: Path, line: Line, column: str, problem: str, row: object) -> None:
        """Report a row.

        Raises:
            UserError: Unless bad rows are skipped.
        """
        where = f"{path}:{line if isinstance(line, int) else line()}: column {column}"
        if not self.skip_bad:
            raise UserError(problem, where=where, fix="mend the row, or use --skip-bad to quarantine such rows")
        self.quarantine.append({"where": where, "problem": problem, "row": str(row)[:2000]})

    def label(self, name: str, space: LabelSpace, path: Path, line: Line, column: str, row: object) -> str | None:
        """The space's own name of a label, or None after reporting the row.

        Only the corpus's spelling counts, whatever its case: an alias in gold data is a sign of another version.
        """
        if label := space.own.get(fold(name)):
            return label
        self.bad(path, line, column, f"{name!r} is not one of {', '.join(space.labels)}", row)
        return None

    def key(
        self, row: dict[str, str], columns: Sequence[str], path: Path, line: int, seen: dict[tuple[int, ...], int]
    ) -> tuple[int, ...] | None:
        """The whole numbers that identify a row, or None after reporting it.

        Spreadsheets and pandas write ``3.0`` for 3 in a column that once held an empty cell: that is read as 3.

        Args:
            row: The row.
            columns: That hold the numbers.
            path: Its file.
            line: Its line.
            seen: Lines by key of the file's rows so far; this row's is added.
        """
        found = []
        for column in columns:
            match = _WHOLE.fullmatch(row[column].strip())
            if match is None:
                self.bad(path, line, column, f"{row[column][:40]!r} is not a whole number", row)
                return None
            found.append(int(match.group(1)))
        key = tuple(found)
        if key in seen:
            named = ", ".join(f"{c} {n}" for c, n in zip(columns, key, strict=True))
            self.bad(path, line, columns[-1], f"{named} was there in line {seen[key]}", row)
            return None
        seen[key] = line
        return key


def clean(text: str) -> str:
    """Corpus text: Unicode NFC, plain apostrophes and quotes, one line.

    Copies of MELD hold Windows-1252 characters as C1 controls (``\\x92``); they are mapped to what was meant. Halves
    of surrogate pairs, which JSON can spell and no file can hold, become question marks.
    """
    if text.isascii():
        return " ".join(text.split())
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = "".join(c.encode("latin-1").decode("cp1252", "replace") if "\x80" <= c <= "\x9f" else c for c in text)
    text = nfc(text)
    for fancy, plain in (("\u2019", "'"), ("\u2018", "'"), ("\u201c", '"'), ("\u201d", '"'), ("\ufffd", "'")):
        text = text.replace(fancy, plain)
    return " ".join(text.split())


def read_csv(path: Path, columns: Sequence[str], rows: BadRows) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with their line numbers.

    A row with fewer cells than the header is bad, even where only columns that nobody reads are missing: a cell was
    lost, and those after it stand one column too far to the left. So is one with text after a closing quote: a quote
    that nobody closed has taken the rows up to there into one cell.

    Raises:
        UserError: If a column is missing from the header, or stands there twice.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = tuple(reader.fieldnames or ())
    except csv.Error as error:
        raise UserError(f"not CSV: {error}", where=f"{path}:1", fix="use the release's own file") from None
    missing = [c for c in columns if c not in header]
    if missing:
        raise UserError(
            f"column {missing[0]!r} is missing", where=f"{path}:1", fix=f"the header must name {', '.join(columns)}"
        )
    twice = [c for c in columns if header.count(c) > 1]
    if twice:
        raise UserError(f"column {twice[0]!r} stands there twice", where=f"{path}:1", fix="remove or rename one")
    while True:
        begins = reader.reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            rows.bad(path, begins, columns[0], f"not CSV from here on: {error}", "")
            continue
        short = next((c for c in (*columns, *header) if row[c] is None), None)
        if short is not None or None in row:
            rows.bad(path, reader.line_num, short or "(beyond the last)", "wrong number of fields", row)
            continue
        if swallowed(list(row.values())):
            rows.bad(path, begins, columns[0], "a quote that is not closed: a cell holds other rows", row)
            continue
        yield reader.line_num, row
