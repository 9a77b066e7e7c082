"""Directories that are this user's alone, and directories that do not outlive their process."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_PREFIX, _LOCK = "selfemo-", "owner.lock"


def private(directory: Path, *, also_old: bool = False) -> Path:
    """Make a directory that nobody else can look into, if it is not there.

    Args:
        directory: To make, with those above it.
        also_old: Close one that is there as well, if it is ours.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        found = directory.stat()  # also of what a link leads to
        if also_old and found.st_uid == os.getuid() and found.st_mode & 0o077 and stat.S_ISDIR(found.st_mode):
            directory.chmod(0o700)
    return directory


@contextmanager
def temporary(kind: str) -> Iterator[Path]:
    """A directory for as long as the block runs; those of processes that were killed are removed on the way.

    Who lives holds a lock in its directory, which the kernel takes from the dead.

    Args:
        kind: What for, as a part of its name.
    """
    top = Path(tempfile.gettempdir())
    _sweep(top)
    made, lock = _owned(top, kind)
    try:
        with lock:
            work = made / "work"
            work.mkdir()
            yield work
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _owned(top: Path, kind: str) -> tuple[Path, IO[str]]:
    """A new directory and its lock, which is held: another process may take it for a dead one's before that."""
    while True:
        made = Path(tempfile.mkdtemp(prefix=_PREFIX + f"{kind}-", dir=top))
        try:
            lock = (made / _LOCK).open("w")
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)  # waits for who is removing it
        if (made / _LOCK).exists():
            return made, lock
        lock.close()


def _sweep(top: Path) -> None:
    for found in top.glob(f"{_PREFIX}*"):
        try:
            if found.is_symlink() or found.stat().st_uid != os.getuid():
                continue
            with (found / _LOCK).open("r") as lock:  # none yet: it is being made just now
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(found, ignore_errors=True)
        except OSError:
            continue  # its owner lives, or it is gone
