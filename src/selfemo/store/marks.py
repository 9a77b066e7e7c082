"""Marks of directories whose every file was verified, so that the next to use one need not hash it all again.

A mark is a small file next to the directory, or in it, written last and atomically. It holds the digest and, for each
file, size, time of change and inode as they were just before the file was hashed: whatever changes or replaces a file
afterwards, or during the hashing, leaves others. Bytes that rot on the disk without a write are not seen. Defined here.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

Stamps = Mapping[str, list[int]]
"""By relative path: size in bytes, mtime in nanoseconds, inode."""

_BACK = 1_000_000_000
"""Nanoseconds by which a file is dated back before it is hashed: a write in the same tick of the clock as the hashing
would otherwise leave the same time."""


def stamp(path: Path, *, back: bool = False) -> list[int]:
    """What tells a file from a changed one.

    Args:
        path: Of the file.
        back: Whether to date it back first.
    """
    if back:
        past = time.time_ns() - _BACK
        os.utime(path, ns=(past, past))
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def write(mark: Path, digest: str, stamps: Stamps) -> None:
    """Write a mark whole, in place of one that is there; whoever does holds the directory's lock."""
    new = mark.with_name(f"{mark.name}.new")
    with new.open("w") as out:
        json.dump({"digest": digest, "files": stamps}, out)
        out.flush()
        os.fsync(out.fileno())
    os.replace(new, mark)


def read(mark: Path) -> tuple[str, Stamps]:
    """Digest and stamps of a mark; an empty digest if there is none, or none that can be read."""
    try:
        row = json.loads(mark.read_text())
        return str(row["digest"]), dict(row["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", {}


def holds(mark: Path, digest: str, directory: Path, names: Iterable[str]) -> bool:
    """Whether a directory holds the files that were verified under this digest, as they were then.

    Args:
        mark: Of the directory.
        digest: Of the artifact.
        directory: Holds the files.
        names: Of the artifact's files.
    """
    found, stamps = read(mark)
    if found != digest or not directory.is_dir() or set(stamps) != set(names):
        return False
    try:
        return all(stamp(directory / name) == known for name, known in stamps.items())
    except OSError:  # a file is gone
        return False
