"""Progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from selfemo import events
from selfemo.terminal import console, lively

log = logging.getLogger("selfemo.progress")

LOG_EVERY = 10.0
"""Seconds between lines in a log."""
NOTE_EVERY = 1.0
"""Seconds between two that who watches the run is told."""
HEARTBEAT = 60.0
"""Seconds after which a line is due even if nothing was finished: a step that is slow is told from one that hangs."""


LINE = re.compile(r"\S+ I (\S[^/]*) (\d+)/(\d+) in (\d+) s(, (\d+) of them before)?")
"""A line of it, as it stands in a log: the name, how many are done, of how many, the seconds, and how
many of them had been done before these began."""


class Meter:
    """Counts finished units of one piece of work."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total, self.done, self.before = name, total, 0, 0
        self._started = self._logged = self._noted = time.monotonic()
        if total:
            events.note(events.WORK, name=name, done=0, total=total, seconds=0.0)

    def resume(self, done: int) -> None:
        """Note that ``done`` units were finished by an earlier process: they count, but not for how fast it goes."""
        self.before += done
        self.advance(done)

    def advance(self, count: int = 1) -> None:
        """Note that ``count`` more units are finished."""
        self.done += count
        now = time.monotonic()
        if now - self._noted >= NOTE_EVERY or self.done >= self.total:
            self._noted = now
            seconds = round(now - self._started, 1)
            events.note(
                events.WORK, name=self.name, done=self.done, total=self.total, before=self.before, seconds=seconds
            )
        if now - self._logged >= LOG_EVERY or self.done >= self.total:
            self._log(now)

    def _log(self, now: float) -> None:
        self._logged = now
        before = f", {self.before} of them before" if self.before else ""
        log.info("%s %d/%d in %.0f s%s", self.name, self.done, self.total, now - self._started, before)

    def _beat(self, over: threading.Event) -> None:
        """A line for each :data:`HEARTBEAT` without one, until it is over."""
        while not over.wait(max(0.0, self._logged + HEARTBEAT - time.monotonic())):
            if (now := time.monotonic()) - self._logged >= HEARTBEAT:
                self._log(now)


@contextmanager
def heartbeat(name: str) -> Iterator[None]:
    """A line for each :data:`HEARTBEAT` that the block runs, for work that has no units to count.

    Args:
        name: What goes on, such as ``loading the policy``.
    """
    over, started = threading.Event(), time.monotonic()

    def beat() -> None:
        while not over.wait(HEARTBEAT):
            log.info("%s: still at it after %.0f s", name, time.monotonic() - started)

    threading.Thread(target=beat, daemon=True, name="heartbeat").start()
    try:
        yield
    finally:
        over.set()


@contextmanager
def meter(name: str, total: int) -> Iterator[Meter]:
    """A meter for ``total`` units of work called ``name``."""
    if total and lively(sys.stderr):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console(stderr=True), transient=True) as bar:
            task = bar.add_task(name, total=total)

            class Bar(Meter):
                def advance(self, count: int = 1) -> None:
                    self.done += count
                    bar.advance(task, count)

            yield Bar(name, total)
        return
    plain, over = Meter(name, total), threading.Event()
    if total:
        threading.Thread(target=plain._beat, args=(over,), daemon=True, name="heartbeat").start()
    try:
        yield plain
    finally:
        over.set()
