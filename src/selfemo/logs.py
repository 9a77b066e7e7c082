"""Logging of a step: plain lines on stderr, with the step's name, quiet libraries, errors a person can read."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from selfemo import events, processes
from selfemo.reachable import spare_loopback
from selfemo.shown import printable, shown
from selfemo.unexpected import explained

__all__ = ["configure", "failure", "on_failure", "printable", "shown", "step"]

log = logging.getLogger("selfemo")

NOISY = ("botocore", "boto3", "urllib3", "httpx", "mlflow", "alembic", "datasets", "filelock", "fsspec")


def configure(level: int = logging.INFO) -> None:
    """Send the project's log to stderr, and keep libraries to their warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Plain("%(asctime)s %(levelname).1s %(message)s", "%H:%M:%S"))
    log.handlers[:] = [handler]
    log.propagate = False
    log.setLevel(level)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # with the server's credentials in it
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning)


class Plain(logging.Formatter):
    """Records as they may be shown, whoever wrote what is in them."""

    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


_telling: Callable[[str], None] | None = None


def on_failure(tell: Callable[[str], None]) -> None:
    """Have a step that fails say so elsewhere too: the last that was given here is asked."""
    global _telling
    _telling = tell


_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_FAILED = re.compile(r"\d\d:\d\d:\d\d E ((\S+)(?: of round \d+)? failed: .*)")


def failure(lines: Iterable[str]) -> str:
    """What the step that failed last said of it, of the lines of a log; empty if none did.

    The report comes after whatever failed, and may fail because of it: it counts where nothing else failed.
    """
    said: dict[bool, str] = {}
    last: bool | None = None  # whether the error that goes on is the report's
    for raw in lines:
        line = _COLOUR.sub("", raw).strip()
        if match := _FAILED.fullmatch(line):
            last = match[2] == "report"
            said[last] = match[1]
        elif last is not None and line.startswith("fix: "):
            said[last], last = f"{said[last]}\n  {line}", None
        elif not line.startswith("|"):  # the end of a log that an error quotes
            last = None
    return said.get(False) or said.get(True) or ""


@contextmanager
def step(name: str, round: int | None = None) -> Iterator[None]:
    """What a component's body runs in: logging, and one line for an error that is the user's to mend."""
    configure()
    spare_loopback()
    if processes.CHILD in os.environ:  # of a local run: no orphan works on beside the next one
        processes.die_with_parent()
    try:
        yield
    except Exception as error:
        where = name if round is None else f"{name} of round {round}"
        said = f"{where} failed: {shown(explained(error) or f'{type(error).__name__}: {error}')}"
        log.error("%s", said)
        events.note(events.STEP, "failed", step=name, round=round or 0, said=said)
        if name != "report" and _telling is not None:
            _telling(said)
        raise
