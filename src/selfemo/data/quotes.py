"""A quote that nobody closed: CSV takes all up to the next quote for one cell, and whole rows vanish in it."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"\s*-?[0-9]+(?:[.,][0-9]+)?\s*")
_END = re.compile(r"\r\n|\r|\n")
_LEAST = 4
"""Cells that a line must hold beyond the first for their number alone to say that it is the rest of a row."""


def swallowed(cells: Sequence[str], delimiter: str = ",") -> bool:
    """Whether a cell of a row holds other rows: the end of one, whole ones, and the beginning of the last.

    Text of several lines is no such cell: its lines have as many delimiters as rows have by chance alone, and the
    last would have to begin as the row does, with a number for a number or with the same cell.

    Args:
        cells: Of a row that has as many as its table has columns.
        delimiter: Of the table.
    """
    width = len(cells)
    for at, cell in enumerate(cells):
        first, *others = [line.split(delimiter) for line in _END.split(cell)]
        if not others or len(first) != width - at:
            continue
        *inner, last = others
        if any(len(line) != width for line in inner) or len(last) <= at:
            continue
        if len(first) > _LEAST or any(map(_alike, cells[:at], last[:at])):
            return True
    return False


def _alike(one: str, other: str) -> bool:
    return one == other or bool(_NUMBER.fullmatch(one) and _NUMBER.fullmatch(other))
