"""Directories that are this user's alone: gated corpora, models and a server's data lie there."""

from __future__ import annotations

import os
import stat
from pathlib import Path


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
