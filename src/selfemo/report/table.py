"""The table a run ends with: one row a round."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from selfemo.registry.rounds import HEADERS, RoundRow, cells, stops


def rich_table(rows: Sequence[RoundRow], title: str) -> Table:
    """The table for a terminal."""
    table = Table(title=title, title_justify="left")
    for header in HEADERS:
        table.add_column(header, justify="left" if header == "champion" else "right")
    for row in rows:
        table.add_row(*cells(row))
    table.caption = "\n".join(stops(rows)) or None
    table.caption_justify = "left"
    return table
