"""What a directory of weights holds, as one hash: a model that is exported anew to the same place is another one.

Hashing takes some seconds for each ten gigabytes, so it is remembered under the files' sizes, times and inodes. Defined
here.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from selfemo.progress import heartbeat
from selfemo.store import marks
from selfemo.store.artifacts import sha256
from selfemo.store.filelock import locked

_UNCHANGED = 2_000_000_000
"""Nanoseconds: a file that was changed less long ago can change once more without another time."""
HASHED_WITHIN = 3600.0
"""Seconds that one process waits for another to hash: some hundred times what the largest models take."""


def digest(directory: Path, cache: Path) -> str:
    """Hash over names and contents of a directory's files; hidden ones, texts for people and folders do not count.

    Args:
        directory: Of weights or an adapter; it is not changed.
        cache: Directory that hashes are remembered in.

    Raises:
        UserError: See :func:`selfemo.store.filelock.locked`.
    """
    names = sorted(
        file.name
        for file in directory.iterdir()
        if file.is_file() and not file.name.startswith(".") and file.suffix.lower() not in (".md", ".lock")
    )
    place = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:16]
    mark = cache / f".content-{place}"
    now = {name: marks.stamp(directory / name) for name in names}
    if known := _known(mark, now):
        return known
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f"{mark.name}.lock", f"hashing {directory}", HASHED_WITHIN):  # ranks ask at the same time
        if known := _known(mark, now):
            return known
        started = time.time_ns()
        with heartbeat(f"hashing {directory}"):
            found = hashlib.sha256(json.dumps([(n, sha256(directory / n)) for n in names]).encode()).hexdigest()
        if all(changed < started - _UNCHANGED for _, changed, _ in now.values()):
            marks.write(mark, found, now)
    return found


def _known(mark: Path, now: marks.Stamps) -> str:
    """The hash that a mark remembers of files as they are now; empty if it does not."""
    known, stamps = marks.read(mark)
    return known if stamps == now else ""
