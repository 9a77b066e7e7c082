"""Parquet and Arrow files with more columns, a batch at a time; the columns that are there stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from typing import Any

from selfemo.annotate.write import CHUNK, RowWriter, as_lists, matched
from selfemo.data.intake.columns import listed
from selfemo.data.needs import needed

GROUP = 64 * CHUNK
"""Rows of a row group of Parquet."""


def write(rows: RowWriter, origins: Iterator[tuple[int, int, int]]) -> None:
    """Write a file again: what is added to a row that lists turns is lists as long as that of the turns."""
    pa = needed("pyarrow")
    places = matched(((number, None) for number in count(1)), origins)
    with _parquet(rows) if rows.table.source.form == "parquet" else _arrow(rows) as (schema, batches, out):
        for batch in batches:
            turns = [found for _, found in islice(places, batch.num_rows)]
            said = rows.said(turns)
            names = rows.output.names()
            values: dict[str, list[Any]]
            if rows.turns:
                lengths = [len(listed(turn) or ()) for turn in batch.column(rows.turns).to_pylist()]
                found = [as_lists(names, one, length) for one, length in zip(said, lengths, strict=True)]
                values = {name: [one[name] for one in found] for name in names}
            else:
                values = {name: [one[0][name] if 0 in one else None for one in said] for name in names}
            arrays = [pa.array(values[name], schema.field(name).type) for name in names]
            out(pa.record_batch([*batch.columns, *arrays], schema=schema))


def _grown(schema: Any, rows: RowWriter) -> Any:
    """A schema with what is added; what it states of its columns is kept."""
    pa = needed("pyarrow")
    first, *numbers, last = rows.output.names()
    kinds = {first: pa.list_(pa.string()), **dict.fromkeys(numbers, pa.float64()), last: pa.bool_()}
    for name, kind in kinds.items():
        schema = schema.append(pa.field(name, pa.list_(kind) if rows.turns else kind))
    return schema


Opened = tuple[Any, Iterator[Any], Callable[[Any], None]]
"""The schema of what is written, the batches that are read, and what writes one."""


@contextmanager
def _parquet(rows: RowWriter) -> Iterator[Opened]:
    pa, pq = needed("pyarrow"), needed("pyarrow.parquet")
    with pq.ParquetFile(rows.table.source.path) as file:
        schema = _grown(file.schema_arrow, rows)
        groups = file.metadata.num_row_groups
        kept = file.metadata.row_group(0).column(0).compression if groups else "SNAPPY"
        waiting: list[Any] = []
        with pq.ParquetWriter(rows.target, schema, compression=kept.replace("UNCOMPRESSED", "NONE")) as writer:

            def out(batch: Any, least: int = GROUP) -> None:
                waiting.extend([batch] if batch is not None else [])
                if waiting and sum(b.num_rows for b in waiting) >= least:
                    writer.write_table(pa.Table.from_batches(waiting, schema))
                    waiting.clear()

            yield schema, file.iter_batches(batch_size=CHUNK), out
            out(None, 0)


@contextmanager
def _arrow(rows: RowWriter) -> Iterator[Opened]:
    pa, ipc = needed("pyarrow"), needed("pyarrow.ipc")
    with pa.memory_map(str(rows.table.source.path)) as file:
        whole = file.read(6) == b"ARROW1"
        file.seek(0)
        reader = ipc.open_file(file) if whole else ipc.open_stream(file)
        schema = _grown(reader.schema, rows)

        def batches() -> Iterator[Any]:
            found = (reader.get_batch(i) for i in range(reader.num_record_batches)) if whole else reader
            for batch in found:
                for start in range(0, batch.num_rows, CHUNK):
                    yield batch.slice(start, CHUNK)

        with (ipc.new_file if whole else ipc.new_stream)(str(rows.target), schema) as writer:
            yield schema, batches(), writer.write_batch
