"""How a CSV file is written: its delimiter, its quotes, whether it has a header. Guessed from its text, all of it."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from selfemo.data.intake.cells import order_of
from selfemo.data.intake.columns import is_known
from selfemo.data.intake.encodings import Encoding, check, find_encoding, pieces
from selfemo.data.quotes import swallowed
from selfemo.errors import UserError

DELIMITERS = (",", ";", "\t", "|")
BLOCK = 16 << 20
"""Bytes of a file that are read at a time; a row must fit into them."""
_ROWS = 200
_STATED = re.compile(r"\ufeff?sep=(.)\r?\n?", re.IGNORECASE)
_NAME = re.compile(r"[^\W\d][\w .\-/#()?%:]{0,60}|#")


@dataclass(frozen=True)
class Dialect:
    """How a file of values separated by delimiters is written.

    Attributes:
        encoding: See :class:`selfemo.data.intake.encodings.Encoding`.
        delimiter: One character.
        quoted: Whether a cell may stand in double quotes; else a quote is a character as any other.
        names: Of the columns: of the header, or ``1``, ``2`` and so on.
        header: Whether the first row has the names.
        skip: Lines before that: 1 where a spreadsheet wrote ``sep=;``.
        unsure: Settings that were guessed and could be otherwise.
    """

    encoding: Encoding
    delimiter: str
    quoted: bool
    names: tuple[str, ...]
    header: bool = True
    skip: int = 0
    unsure: tuple[str, ...] = ()


def find_dialect(
    path: Path,
    encoding: str | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
    quoted: bool | None = None,
) -> Dialect:
    """The dialect of a file.

    Args:
        path: Its path.
        encoding: If it is known.
        delimiter: If it is known.
        header: If it is known whether there is one.
        quoted: If it is known whether quotes enclose cells.

    Raises:
        UserError: If the file is no table, or its header names a column twice.
    """
    known = Encoding(encoding) if encoding else find_encoding(path)
    check(path, known.name)
    unsure: tuple[str, ...] = () if known.sure else ("encoding",)
    first = next(pieces(path, known.name), "")
    stated = _STATED.match(first)
    if stated and not delimiter:
        delimiter = stated.group(1)
    skip = 1 if stated else 0
    if delimiter is None:
        delimiter, sure = _delimiter(first, path.suffix.lower())
        unsure += () if sure else ("delimiter",)
    elif len(delimiter) != 1:
        raise UserError(f"{delimiter!r} is not one character", where="--delimiter", fix="give , ; | or tab")
    if quoted is not False:
        quoted = _quoted(path, known.name, delimiter, skip, must=bool(quoted))
    rows = _cells(first, delimiter, quoted, skip)
    if header is None:
        header, sure = _header(rows)
        unsure += () if sure else ("header",)
    names = tuple(name.strip().removeprefix("\ufeff") for name in rows[0]) if header else _numbers(len(rows[0]))
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise UserError(
            f"the header names column {twice[0]!r} twice",
            where=f"{path}: row 1",
            fix="give each its own, or --no-header",
        )
    names = tuple(name or f"(column {number})" for number, name in enumerate(names, 1))
    return Dialect(known, delimiter, quoted, names, header, skip, unsure)


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(1, count + 1)))


def _cells(text: str, delimiter: str, quoted: bool, skip: int) -> list[list[str]]:
    """The first rows of a text, which may end within one."""
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
    )
    try:
        with _wide():
            return list(islice((row for number, row in enumerate(reader) if number >= skip and any(row)), _ROWS)) or [
                [""]
            ]
    except csv.Error:  # a cell beyond any size: the reader of tables will name its row
        return [[""]]


def _delimiter(text: str, suffix: str) -> tuple[str, bool]:
    """The delimiter that cuts the first rows into most cells, as many in each; and whether no other does as well."""
    scores: dict[str, tuple[float, int]] = {}
    for delimiter in DELIMITERS:
        rows = _cells(text, delimiter, True, 0)
        rows = rows[:-1] if len(rows) > 1 else rows  # the last may be cut
        width = len(rows[0])
        if width > 1:
            scores[delimiter] = (sum(len(row) == width for row in rows) / len(rows), width)
    if suffix in (".tsv", ".tab") and "\t" in scores:
        return "\t", True
    if not scores:
        return ",", True  # one column
    even = [d for d, (share, _) in scores.items() if share == 1]
    best = max(scores, key=lambda d: scores[d])
    return best, len(scores) == 1 or len(even) == 1


def _quoted(path: Path, encoding: str, delimiter: str, skip: int, must: bool) -> bool:
    """Whether quotes are quotes, by the whole file: they are characters where as quotes they make no sense.

    pyarrow joins ``"a"b`` to ``ab``; so what it would join is looked for first, with the standard library's strict
    reader.

    Raises:
        UserError: If the file makes sense neither way.
    """
    if not any('"' in piece for piece in pieces(path, encoding)):
        return False
    problem, line = "", 0
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            with _wide():
                for row in reader:
                    if swallowed(row, delimiter):
                        problem, line = "a cell holds other rows", line + 1
                        break
                    line = reader.line_num
        except csv.Error as error:
            problem, line = str(error), line + 1
    if not problem:
        return True
    widths: set[int] = set()
    enclosed = broken = 0
    for text in () if must else _physical(path, encoding, skip):
        cells = text.rstrip("\r\n").split(delimiter)
        widths.add(len(cells))
        for cell in cells if '"' in text else ():
            ends = cell.startswith('"') + cell.endswith('"')
            enclosed += ends == 2 and len(cell) > 1
            broken += ends == 1
    if len(widths - {1}) == 1 and broken and broken >= enclosed:
        return False
    raise UserError(
        f"a quote that is not closed, or text after a closing one ({problem})",
        where=f"{path}: line {line}",
        fix='write a quote inside a cell twice (""); where quotes enclose no cells at all, give --quotes none',
    )


@contextmanager
def _wide() -> Iterator[None]:
    """Cells as large as pyarrow takes: the csv module's own bound is a setting of the process."""
    before = csv.field_size_limit(BLOCK)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _physical(path: Path, encoding: str, skip: int) -> Iterator[str]:
    with path.open(encoding=encoding) as file:
        yield from islice(file, skip, None)


def _header(rows: list[list[str]]) -> tuple[bool, bool]:
    """Whether the first row names columns, and whether that is sure."""
    first, rest = rows[0], rows[1:]
    if not all(_NAME.fullmatch(cell.strip()) for cell in first if cell.strip()):
        return False, True
    if any(cell.strip() and row[i : i + 1] == [cell] for i, cell in enumerate(first) for row in rest):
        return False, True  # a name stands in no other row of its column; spreadsheets leave columns without one
    above_numbers = any(all(_is_number(row[i : i + 1]) for row in rest) for i in range(len(first)))
    return True, any(map(is_known, first)) or (bool(rest) and above_numbers)


def _is_number(cell: list[str]) -> bool:
    return bool(cell) and order_of(cell[0]) is not None
