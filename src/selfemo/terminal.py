"""Where text is shown: whether in colour, how wide, and tables that nothing is cut off of.

Colours follow https://no-color.org, https://force-color.org and https://bixense.com/clicolors, in this order: NO_COLOR,
then FORCE_COLOR or CLICOLOR_FORCE, then CLICOLOR=0, then TERM=dumb; without any of them, terminals have colours, and
pipes and files have none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import IO, TYPE_CHECKING, Any

from selfemo.shown import printable, shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PIPED = 10_000
"""Columns of what is no terminal: whoever reads it there wants whole values."""
_DUMB = ("dumb", "unknown")


def colours(stream: IO[Any]) -> bool:
    """Whether what is written to a stream may have colours."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR") or os.environ.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    return os.environ.get("CLICOLOR") != "0" and lively(stream)


def lively(stream: IO[Any]) -> bool:
    """Whether what was written to a stream can be written over, as bars are: a terminal that knows more than text."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in _DUMB


def console(*, stderr: bool = False) -> Console:
    """What writes to stdout or stderr as it is now; on what is no terminal, no line is wrapped or cut."""
    from rich.console import Console

    class Whole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError from None  # as of any other print; rich would end the process with 1

    stream = sys.stderr if stderr else sys.stdout
    coloured = colours(stream)
    return Whole(
        file=stream,
        force_terminal=coloured,
        force_interactive=lively(stream),
        color_system=None if not coloured else "auto" if lively(stream) else "standard",
        no_color=not coloured,
        highlight=False,
        width=None if stream.isatty() else _PIPED,
        soft_wrap=not stream.isatty(),
    )


def show_table(
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    caption: str = "",
    left: Collection[str] = (),
) -> None:
    """Print a table on stdout, whoever wrote what is in it; where a terminal is too narrow, its columns become rows.

    Args:
        head: Names of the columns.
        rows: Their cells.
        title: Above it.
        caption: Below it.
        left: Columns of words, which begin at the left; the first does so anyway, figures end at the right.
    """
    out = console()
    cells = [list(map(str, row)) for row in rows]
    flush = [name in {*head[:1], *left} for name in head]
    made = [_table(head, cells, flush, title, caption)]
    if sys.stdout.isatty() and _widths(out, *made)[0] > out.width:
        for number in range(1, len(cells) + 1):  # of tables, one below the other
            most = -(-len(cells) // number)
            turned = [_turned(head, cells[at : at + most]) for at in range(0, len(cells), most)]
            if _widths(out, *turned)[number < len(cells)] <= out.width:
                turned[0].title, turned[-1].caption = made[0].title, made[0].caption
                made = turned
                break
    for table in made:
        out.print(table)


def _turned(head: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
    """The table on its side: a row for each column."""
    names, *rows = zip(head, *cells, strict=True)
    return _table(names, rows, [True] + [False] * len(cells), "", "")


def _widths(out: Console, *tables: Table) -> tuple[int, int]:
    """Columns of the widest of some tables: so that no word is broken, and so that no line is."""
    from rich.measure import Measurement

    found = [Measurement.get(out, out.options.update(width=_PIPED), table) for table in tables]
    return max(one.minimum for one in found), max(one.maximum for one in found)


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], flush: Sequence[bool], title: str, caption: str
) -> Table:
    from rich.table import Table
    from rich.text import Text

    made = Table(
        title=Text(printable(title)) if title else None,
        title_justify="left",
        caption=Text(shown(caption)) if caption else None,
        caption_justify="left",
    )
    for name, left in zip(head, flush, strict=True):
        made.add_column(Text(printable(name)), justify="left" if left else "right", overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made
