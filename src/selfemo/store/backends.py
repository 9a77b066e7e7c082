"""The places that artifacts lie in, behind the few operations the store needs, and directories as one of them."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import ParseResult, unquote, urlparse

from selfemo.addresses import local_path
from selfemo.errors import UserError
from selfemo.store.filelock import locked

SWAP_SECONDS = 60.0
"""That another process may take to replace a small file."""


def parsed(uri: str) -> ParseResult:
    """The parts of an address.

    Raises:
        UserError: If it is none.
    """
    try:
        return urlparse(uri)
    except ValueError as error:  # such as s3://[x
        raise UserError(
            f"not an address: {error}", where=uri, fix="write it as s3://bucket/prefix or file:///directory"
        ) from None


@dataclass(frozen=True)
class Stored:
    """One file of a place: its path relative to the directory that was asked for, its bytes, when it was written."""

    name: str
    size: int
    modified: float


class Backend(Protocol):
    """The few operations that the store asks of a place. Paths are whole URIs."""

    def read(self, uri: str) -> bytes | None:
        """Contents, or None if there is no such file."""
        ...

    def create(self, uri: str, data: bytes) -> bool:
        """Write a new file whole; False, and no change, if it is already there."""
        ...

    def swap(self, uri: str, old: bytes, new: bytes) -> bool:
        """Replace a file's contents if they are still the old ones; False, and no change, if not."""
        ...

    def age(self, uri: str) -> float | None:
        """Seconds since a file was written, both times told by the place itself; None if there is no such file."""
        ...

    def upload(self, path: Path, uri: str) -> None:
        """Copy a local file there."""
        ...

    def download(self, uri: str, path: Path) -> None:
        """Copy a file from there.

        Raises:
            FileNotFoundError: If there is none.
        """
        ...

    def remove(self, uri: str) -> None:
        """Remove one file, if it is there."""
        ...

    def remove_tree(self, uri: str) -> None:
        """Remove everything under a directory."""
        ...

    def list(self, uri: str) -> Iterator[str]:
        """URIs of all files under a directory."""
        ...

    def scan(self, uri: str) -> Iterator[Stored]:
        """All files under a directory."""
        ...


_UNABLE = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def _temporary(target: Path, data: bytes) -> Iterator[str]:
    """A file next to another, whole and on the disk; it is gone afterwards, whatever becomes of it."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".tmp-")
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        yield name
    finally:
        if os.path.exists(name):
            os.unlink(name)


class LocalBackend:
    """``file://`` directories."""

    @staticmethod
    def path(uri: str) -> Path:
        """The local path of a ``file://`` URI."""
        try:
            return Path(unquote(local_path(uri)))
        except ValueError as error:
            raise UserError(str(error), where=uri, fix="name the directory by its whole path") from None

    def read(self, uri: str) -> bytes | None:
        try:
            return self.path(uri).read_bytes()
        except FileNotFoundError:
            return None

    def create(self, uri: str, data: bytes) -> bool:
        target = self.path(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(target, data) as name:
            try:
                os.link(name, target)  # fails if the target exists, so exactly one writer wins
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _UNABLE:
                    raise
                raise UserError(
                    f"this file system knows no hard links ({error.strerror}), by which one of two writers wins",
                    where=str(target.parent),
                    fix="set store.root to a directory of a file system that does, or to an S3",
                ) from None
        return True

    def swap(self, uri: str, old: bytes, new: bytes) -> bool:
        target = self.path(uri)
        with locked(target.parent / f".tmp-{target.name}.lock", f"changing {uri}", SWAP_SECONDS):
            if self.read(uri) != old:
                return False
            with _temporary(target, new) as name:
                os.replace(name, target)
        return True

    def age(self, uri: str) -> float | None:
        target = self.path(uri)
        try:
            written = target.stat().st_mtime
        except FileNotFoundError:
            return None
        with tempfile.TemporaryFile(dir=target.parent) as now:  # a file system may be another machine's
            return max(0.0, os.fstat(now.fileno()).st_mtime - written)

    def upload(self, path: Path, uri: str) -> None:
        target = self.path(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)

    def download(self, uri: str, path: Path) -> None:
        shutil.copyfile(self.path(uri), path)

    def remove(self, uri: str) -> None:
        self.path(uri).unlink(missing_ok=True)

    def remove_tree(self, uri: str) -> None:
        shutil.rmtree(self.path(uri), ignore_errors=True)

    def list(self, uri: str) -> Iterator[str]:
        for path in sorted(self.path(uri).rglob("*")):
            if path.is_file() and not path.name.startswith(".tmp-"):
                yield path.as_uri()

    def scan(self, uri: str) -> Iterator[Stored]:
        root = self.path(uri)
        for path in sorted(root.rglob("*")):
            if path.is_file():
                found = path.stat()
                yield Stored(path.relative_to(root).as_posix(), found.st_size, found.st_mtime)
