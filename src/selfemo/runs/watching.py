"""Follows a run, wherever it is: as a view that is drawn again and again, or as lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from selfemo.runs.going import Going, PieceState
from selfemo.runs.samples import Samples
from selfemo.runs.view import draw, plain
from selfemo.shown import printable

A_SECOND = 2
"""Times that the view is drawn a second."""
WORK_EVERY = 30.0
"""Seconds between two lines on the same work."""

Look = Callable[[], Going]


@contextmanager
def drawn(look: Look, samples: Samples, earlier: Mapping[str, float], out: Console) -> Iterator[Live]:
    """A view below whatever else is printed to the console, as long as the block runs; then it is gone.

    Args:
        look: How the run is now.
        samples: Those that were accepted last.
        earlier: Seconds of steps in earlier runs that did the same work.
        out: Of a terminal.
    """

    def view() -> RenderableType:
        try:
            return draw(look(), samples, earlier, time.time(), out.width)
        except Exception as error:  # whatever is wrong with it: a run does not end of its view
            return Text(f"no view: {type(error).__name__}: {printable(str(error))}", "red")

    live = Live(
        get_renderable=view,
        console=out,
        refresh_per_second=A_SECOND,
        transient=True,
    )
    with live:
        yield live


def show_now(run: Going, samples: Samples, earlier: Mapping[str, float], out: Console) -> None:
    """Print the view once, to stay: its samples are waited for.

    Args:
        run: How it is.
        samples: Those that were accepted last.
        earlier: Seconds of steps in earlier runs that did the same work.
        out: Of a terminal.
    """
    if uri := run.samples[0]:
        samples.fetch(uri)
    out.print(draw(run, samples, earlier, time.time(), out.width))


def watch(
    look: Look, samples: Samples, earlier: Mapping[str, float], *, live: bool, pause: float, out: Console
) -> Going:
    """Follow a run to its end; how it is then.

    Args:
        look: How the run is now.
        samples: Those that were accepted last.
        earlier: Seconds of steps in earlier runs that did the same work.
        live: Draw a view; else print a line for what changes.
        pause: Seconds between two looks.
        out: Where to.
    """
    run = look()
    if live and not run.over:
        state = [run]
        with drawn(lambda: state[0], samples, earlier, out):
            while not state[0].over:
                time.sleep(pause)
                state[0] = look()
        run = state[0]
    if live:
        show_now(run, samples, earlier, out)
        return run
    said: set[str] = set()
    last = 0.0
    while True:
        for line in plain(run):
            if line not in said:
                out.print(line, markup=False, highlight=False, soft_wrap=True)
                said.add(line)
        if time.monotonic() - last >= WORK_EVERY:
            last = time.monotonic()
            for line in _work(run):
                out.print(line, markup=False, highlight=False, soft_wrap=True)
        if run.over:
            detail = f": {run.state.detail}" if run.state.detail else ""
            out.print(f"run {run.name}: {run.state.word}{detail}", markup=False, highlight=False, soft_wrap=True)
            return run
        time.sleep(pause)
        run = look()


def _work(run: Going) -> Iterator[str]:
    for piece in run.pieces.values():
        if piece.state == PieceState.RUNS and piece.work is not None and piece.work.done:
            work = piece.work
            before = f", {work.before} of them before" if work.before else ""
            yield f"{piece.label(run.shards)}: {work.name} {work.done}/{work.total} in {work.seconds:.0f} s{before}"
