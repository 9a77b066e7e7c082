"""The table a run ends with: one row a round."""

from __future__ import annotations

from collections.abc import Sequence

from selfemo.registry.rounds import HEADERS, RoundRow, cells, stops
from selfemo.terminal import show_table


def show_rounds(rows: Sequence[RoundRow], title: str) -> None:
    """Print the table; below it, which rounds were stopped and why."""
    show_table(HEADERS, [cells(row) for row in rows], title=title, caption="\n".join(stops(rows)), left=("champion",))
