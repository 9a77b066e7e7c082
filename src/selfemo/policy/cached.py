"""Directories that are made once and then kept."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_DEAD = 86_400.0
"""Seconds after which nobody works on a directory any more."""


def once(target: Path, make: Callable[[Path], None]) -> Path:
    """A directory's content, made if it is not there; of several processes that make it, one wins.

    Args:
        target: Is there whole or not at all.
        make: Fills an empty directory.
    """
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(".partial-*"):  # of processes that were killed
        if time.time() - leftover.stat().st_mtime > _DEAD:
            shutil.rmtree(leftover, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    try:
        make(partial)
        partial.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was first
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target
