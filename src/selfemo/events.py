"""What happens in a run on this machine, as it happens: a line of JSON each, which others may read as it is written.

The run itself and its steps, processes of their own, append to one file in the run's folder. A line is written by one
call, whole. What another attempt at the run wrote stays before it: how long each step took then is known.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfemo import processes

FILE = "events.jsonl"
"""In the folder of a run."""
VARIABLE = "SELFEMO_EVENTS"
"""Variable of a run's processes: the file."""
RUN, STEP, WORK = "run", "step", "work"
"""What an event is of: the run itself, a step or a shard of one, or the units of work that a step counts."""


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        at: When, in seconds of Unix time.
        pid: Of the process that it happened in.
        what: :data:`RUN`, :data:`STEP` or :data:`WORK`.
        state: What became of it, in a word: ``starts``, ``published``, ``there``, ``failed``, ``ended``; of work empty.
        values: The rest.
    """

    at: float
    pid: int
    what: str
    state: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


def note(what: str, state: str = "", *, file: Path | None = None, **values: Any) -> None:
    """Append an event, where this process is part of a run that keeps them; whatever it reports goes on all the same.

    Args:
        what: See :class:`Event`.
        state: See :class:`Event`.
        file: Where to; None asks the environment.
        **values: Plain data.
    """
    file = file or (Path(given) if (given := os.environ.get(VARIABLE)) else None)
    if file is None or processes.rank():
        return
    row = {"at": time.time(), "pid": os.getpid(), "what": what, "state": state, "values": values}
    with suppress(OSError, ValueError):
        line = json.dumps(row, default=str).encode() + b"\n"
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


class EventReader:
    """Reads a file of events as it grows.

    Args:
        file: Need not be there yet.
    """

    def __init__(self, file: Path) -> None:
        self.file, self._read = file, 0

    def new(self) -> list[Event]:
        """The events since the last call; a line that is no event is passed over, one that is not whole waits."""
        try:
            with self.file.open("rb") as lines:
                lines.seek(self._read)
                data = lines.read()
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        return [event for line in whole.splitlines() if (event := _parsed(line)) is not None]


def _parsed(line: bytes) -> Event | None:
    try:
        row = json.loads(line)
        return Event(float(row["at"]), int(row["pid"]), str(row["what"]), str(row["state"]), dict(row["values"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
