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

_SETTLED = 2_000_000_000
"""Nanoseconds: a file that was changed less long ago can change once more without another time."""


def digest(directory: Path, cache: Path) -> str:
    """Hash over names and contents of a directory's files; hidden ones, texts for people and folders do not count.

    Args:
        directory: Of weights or an adapter; it is not changed.
        cache: Directory that hashes are remembered in.
    """
    names = sorted(
        file.name
        for file in directory.iterdir()
        if file.is_file() and not file.name.startswith(".") and file.suffix.lower() not in (".md", ".lock")
    )
    place = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:16]
    mark = cache / f".content-{place}"
    known, stamps = marks.read(mark)
    now = {name: marks.stamp(directory / name) for name in names}
    if known and stamps == now:
        return known
    started = time.time_ns()
    with heartbeat(f"hashing {directory}"):
        found = hashlib.sha256(json.dumps([(n, sha256(directory / n)) for n in names]).encode()).hexdigest()
    if all(changed < started - _SETTLED for _, changed, _ in now.values()):
        cache.mkdir(parents=True, exist_ok=True)
        marks.write(mark, found, now)
    return found
