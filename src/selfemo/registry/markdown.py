"""Markdown from text that others have written: nothing in it is taken for Markdown, HTML or a link."""

from __future__ import annotations

import re
from collections.abc import Sequence

from selfemo.shown import printable

_MEANT = re.compile(r"[&<>`*_\[\]#!|~\\@$]|:(?=//)|(?<=www)\.|(?<=mailto):", re.IGNORECASE)
"""Characters that Markdown, its tables, HTML or a renderer that looks for links would take for their own."""


def escaped(text: object) -> str:
    """One line that reads as it stands, in any renderer: by character references, which none takes for markup."""
    return _MEANT.sub(lambda found: f"&#{ord(found[0])};", printable(str(text)))


def code(text: object) -> str:
    """A name as code, whatever is in it."""
    return f"`{printable(str(text)).replace('`', ' ').replace('|', ' ')}`"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def spaced(text: str) -> str:
    """Markdown whose tables have room between their columns, which MLflow gives them none."""
    lines = text.split("\n")
    return "\n".join(x.replace(" | ", "&emsp; | ") if x.startswith("| ") else x for x in lines)
