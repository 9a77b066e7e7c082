"""Locks among the processes of one machine: a file each, given back by the kernel however its holder ends.

Who has to wait says for what and for whom, and does not wait for ever.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from selfemo.errors import UserError

log = logging.getLogger(__name__)

_QUIET = 2.0
"""Seconds that are waited before it is said; then a line a minute."""
_EVERY = 60.0


@contextmanager
def locked(file: Path, what: str, seconds: float) -> Iterator[None]:
    """Be the only one in the block, of all processes that lock this file.

    Args:
        file: Is made, and stays.
        what: Another process does meanwhile, such as ``starting the servers of /work``.
        seconds: After which it is given up.

    Raises:
        UserError: If another process has it for that long, or the file system knows no locks.
    """
    with file.open("a+") as lock:
        take(lock, what, seconds)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")  # for those who wait
        lock.flush()
        yield


def take(lock: IO[str], what: str, seconds: float, *, shared: bool = False) -> None:
    """Lock an open file; closing it gives it back.

    Args:
        lock: The file.
        what: As for :func:`locked`.
        seconds: As for :func:`locked`.
        shared: With all others who share it, instead of alone.

    Raises:
        UserError: As for :func:`locked`.
    """
    began = said = time.monotonic()
    said += _QUIET - _EVERY
    while True:
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EINTR):
                fix = "use a directory of a file system that does, such as a local disk"
                raise UserError(f"no locks here: {error.strerror}", where=lock.name, fix=fix) from None
        now = time.monotonic()
        if now - began >= seconds:
            raise UserError(
                f"another process{_holder(lock)} has been {what} for more than {seconds:.0f} s",
                where=lock.name,
                fix="see what it does, or end it; then give the same command again",
            )
        if now - said >= _EVERY:
            log.info("waiting: another process%s is %s", _holder(lock), what)
            said = now
        time.sleep(min(0.5, 0.02 + (now - began) / 10))


def _holder(lock: IO[str]) -> str:
    """Who holds a lock, as far as it is known."""
    lock.seek(0)
    try:
        return f" ({int(lock.read(20))})"
    except (ValueError, OSError):
        return ""
