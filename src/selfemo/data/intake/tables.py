"""Rows of any file, a batch at a time. Tables are read with pyarrow.

pyarrow, since it alone of pyarrow, polars and pandas reads all the forms in batches of bounded size (CSV, Parquet,
Arrow), refuses a row with fewer cells than the header as well as one with more, and is there already where models are
trained, through ``datasets``. JSON is the standard library's: rows of chats are not of one schema.
"""

from __future__ import annotations

import json
from bisect import insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfemo.data.intake import convokit, iemocap
from selfemo.data.intake.dialect import BLOCK, Dialect
from selfemo.data.intake.documents import objects
from selfemo.data.intake.encodings import UTF8, Encoding, check, find_encoding
from selfemo.data.intake.files import SourceFile
from selfemo.data.needs import needed
from selfemo.errors import UserError

Row = dict[str, Any]
_BATCH = 4096

Refuse = Callable[[Path, int | str, str, str], None]
"""Called with a bad row: file, row, column, problem. Raises, or notes it so that the row is left out."""


@dataclass
class Table:
    """A source, and how to read it.

    Attributes:
        source: What and where.
        dialect: Of a CSV file.
        known_encoding: Of a text file.
        names: Names of labels that are numbers, by column, where the file states them (``ClassLabel``).
    """

    source: SourceFile
    dialect: Dialect | None = None
    known_encoding: Encoding = UTF8
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def rows(self, refuse: Refuse) -> Iterator[tuple[int, Row]]:
        """Rows with their numbers: of a spreadsheet (the header is row 1), lines of JSON Lines, items from 1 on else.

        Raises:
            UserError: If the file cannot be read.
        """
        path, form = self.source.path, self.source.form
        if form == "csv":
            assert self.dialect is not None
            yield from _csv(path, self.dialect, refuse)
        elif form == "jsonl":
            yield from _lines(path, self.known_encoding.name, refuse)
        elif form == "json":
            yield from enumerate(_items(path, self.known_encoding.name, refuse), 1)
        elif form in ("parquet", "arrow"):
            yield from enumerate(_batches(path, form), 1)
        elif form == "convokit":
            yield from convokit.rows(path, lambda file: _lines(file, "utf-8", refuse))
        else:
            yield from enumerate(iemocap.rows(path, refuse), 1)


def open_table(source: SourceFile, dialect: Dialect | None = None, encoding: str | None = None) -> Table:
    """A table; what its file states of its labels is read, its encoding found and checked.

    Raises:
        UserError: If the file is no text where it should be.
    """
    if source.form in ("json", "jsonl"):
        known = Encoding(encoding) if encoding else find_encoding(source.path)
        check(source.path, known.name)
        return Table(source, None, known)
    names = _class_labels(source) if source.form in ("parquet", "arrow") else {}
    return Table(source, dialect, dialect.encoding if dialect else UTF8, names)


def _csv(path: Path, dialect: Dialect, refuse: Refuse) -> Iterator[tuple[int, Row]]:
    pa, pc = needed("pyarrow"), needed("pyarrow.csv")
    bad: list[int] = []  # rows that pyarrow passed over; it reads ahead, so they are known before those after them
    first: list[Any] = []

    def invalid(row: Any) -> str:
        insort(bad, row.number)
        first.append((row.number, row.actual_columns))
        return "skip"

    before = dialect.skip + (1 if dialect.header else 0)
    try:
        reader = pc.open_csv(
            path,
            read_options=pc.ReadOptions(
                use_threads=False,
                block_size=BLOCK,
                encoding=dialect.encoding.name,
                column_names=dialect.names,
                skip_rows=before,
            ),
            parse_options=pc.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char='"' if dialect.quoted else False,
                newlines_in_values=dialect.quoted,
                ignore_empty_lines=False,
                invalid_row_handler=invalid,
            ),
            convert_options=pc.ConvertOptions(
                column_types={name: pa.string() for name in dialect.names}, strings_can_be_null=False
            ),
        )
        number = before - dialect.skip
        told = 0
        for batch in _until_the_end(reader):
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                number += 1
                while told < len(bad) and bad[told] - dialect.skip == number:
                    _tell(path, dialect, first[told], refuse)
                    told, number = told + 1, number + 1
                if any(values):  # else an empty line
                    yield number, dict(zip(dialect.names, values, strict=True))
        for row in first[told:]:
            _tell(path, dialect, row, refuse)
    except pa.ArrowInvalid as error:
        message = str(error)
        if "straddling" in message:
            message = f"a row of more than {BLOCK >> 20} MB: a quote that is not closed?"
        elif "Empty CSV" in message:
            return
        raise UserError(message, where=str(path), fix="correct the file, or give another --delimiter") from None


def _until_the_end(reader: Any) -> Iterator[Any]:
    """Batches of few rows: as Python's objects, those of a block would take ten times its size."""
    while True:
        try:
            yield from _sliced(reader.read_next_batch())
        except StopIteration:
            return


def _sliced(batch: Any) -> Iterator[Any]:
    return (batch.slice(start, _BATCH) for start in range(0, batch.num_rows, _BATCH))


def _tell(path: Path, dialect: Dialect, row: tuple[int, int], refuse: Refuse) -> None:
    number, cells = row
    if cells <= 1:
        column = dialect.names[min(cells, len(dialect.names) - 1)]
    else:
        column = dialect.names[cells] if cells < len(dialect.names) else "(beyond the last)"
    refuse(path, number - dialect.skip, column, f"{cells} cells, where there are {len(dialect.names)} columns")


def _lines(path: Path, encoding: str, refuse: Refuse) -> Iterator[tuple[int, Row]]:
    with path.open(encoding=encoding, newline="\n") as lines:  # U+2028 and others end no line
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            row = _parsed(line.strip(), path, number, refuse)
            if isinstance(row, dict):
                yield number, _unpacked(row)
            elif isinstance(row, list):
                yield number, {"messages": row}
            elif row is not None:
                refuse(path, number, "(row)", "not a JSON object")


def _unpacked(row: Row) -> Row:
    """A conversation that is kept as JSON in the one column `text`, as ESConv is on the hub; any other row as it is."""
    text = row.get("text") if len(row) == 1 else None
    if isinstance(text, str) and text.startswith("{"):
        try:
            inner = json.loads(text)
        except (ValueError, RecursionError):
            return row
        if isinstance(inner, dict) and any(isinstance(value, list) for value in inner.values()):
            return inner
    return row


def _parsed(text: str, path: Path, line: int, refuse: Refuse | None) -> Any:
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        at, problem = (line + error.lineno - 1, f"not JSON: {error.msg} (column {error.colno})")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; lists thousands deep
        at, problem = line, f"not JSON that can be read: {error}"
    if refuse is None:
        raise UserError(problem, where=f"{path}: line {at}", fix="mend the file")
    refuse(path, at, "(row)", problem)
    return None


def _items(path: Path, encoding: str, refuse: Refuse) -> Iterator[Row]:
    """The objects of a JSON document: a list of them, under one key, or by their ids."""
    found = objects(_parsed(path.read_text(encoding=encoding), path, 1, None))
    if found is None:
        raise UserError("neither a list nor an object", where=f"{path}: line 1", fix="give a list of objects")
    for number, (_, row) in enumerate(found, 1):
        if isinstance(row, dict):
            yield row
        else:
            refuse(path, number, "(row)", "not a JSON object")
            yield {}


def _batches(path: Path, form: str) -> Iterator[Row]:
    pa = needed("pyarrow")
    try:
        if form == "parquet":
            with needed("pyarrow.parquet").ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=_BATCH):
                    yield from batch.to_pylist()
        else:
            for batch in _arrow(path):
                for part in _sliced(batch):
                    yield from part.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:  # a time in nanoseconds, without pandas
        first = str(error).split("\n", 1)[0]
        raise UserError(f"cannot be read: {first}", where=str(path), fix="fetch or write the file again") from None


def _arrow(path: Path) -> Iterator[Any]:
    pa, ipc = needed("pyarrow"), needed("pyarrow.ipc")
    with pa.memory_map(str(path)) as file:
        if file.read(6) == b"ARROW1":
            reader = ipc.open_file(path)
            for index in range(reader.num_record_batches):
                yield reader.get_batch(index)
        else:
            file.seek(0)
            yield from ipc.open_stream(file)


def _class_labels(source: SourceFile) -> dict[str, tuple[str, ...]]:
    """Names of labels that are numbers, by column, as ``datasets`` keeps them in a file's schema."""
    pa = needed("pyarrow")
    try:
        if source.form == "parquet":
            schema = needed("pyarrow.parquet").read_schema(source.path)
        else:
            with pa.memory_map(str(source.path)) as file:
                known = file.read(6) == b"ARROW1"
                file.seek(0)
                schema = (needed("pyarrow.ipc").open_file if known else needed("pyarrow.ipc").open_stream)(file).schema
        stated = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    except (pa.ArrowException, OSError) as error:
        first = str(error).split("\n", 1)[0]
        raise UserError(
            f"cannot be read: {first}", where=str(source.path), fix="fetch or write the file again"
        ) from None
    except ValueError:
        return {}
    found: dict[str, tuple[str, ...]] = {}

    def walk(name: str, feature: Any) -> None:
        if isinstance(feature, list):
            for inner in feature:
                walk(name, inner)
        elif isinstance(feature, dict):
            if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list):
                found[name] = tuple(map(str, feature["names"]))
                return
            for key, inner in feature.items():
                walk(name if key == "feature" else str(key), inner)

    walk("", stated.get("info", {}).get("features", {}) if isinstance(stated, dict) else {})
    return found
