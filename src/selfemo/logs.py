"""Logging of a step: plain lines on stderr, with the step's name, quiet libraries, errors a person can read."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from selfemo.errors import UserError

log = logging.getLogger("selfemo")

NOISY = ("botocore", "boto3", "urllib3", "httpx", "mlflow", "alembic", "matplotlib", "datasets", "filelock", "fsspec")


def configure(level: int = logging.INFO) -> None:
    """Send the project's log to stderr, and keep libraries to their warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(message)s", "%H:%M:%S"))
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
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning)


def printable(line: str) -> str:
    """A line from elsewhere, as it may be shown: no control characters, and no more of it than a screen or two."""
    return "".join(c if c.isprintable() else " " for c in line.rstrip()[:4000])


def shown(message: object) -> str:
    """A message of one or more lines, as it may be shown: each line printable; corpora and servers write parts."""
    return "\n".join(map(printable, str(message).split("\n")))


@contextmanager
def step(name: str, round: int | None = None) -> Iterator[None]:
    """What a component's body runs in: logging, and one line for an error that is the user's to mend."""
    configure()
    try:
        yield
    except Exception as error:
        where = name if round is None else f"{name} of round {round}"
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        log.error("%s failed: %s%s", where, kind, shown(error))
        raise
