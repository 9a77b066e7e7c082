"""Artifacts by URI, on ``file://`` or ``s3://``, published last and atomically, verified on read.

An artifact is a directory of files. Each attempt to publish uploads its files under a name of its own;
the manifest, written last and only if there is none, says which attempt counts. So a reader sees all of
an artifact or none of it, and of two writers one wins and the other adopts the winner's result.

    s3://bucket/demo/round-1/train-3f2a.../manifest.json
    s3://bucket/demo/round-1/train-3f2a.../files-9c41.../model.safetensors
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from selfemo.errors import CorruptArtifact, UserError
from selfemo.progress import heartbeat
from selfemo.store import filelock, marks
from selfemo.store.backends import Backend, LocalBackend
from selfemo.store.manifest import MANIFEST, File, Manifest
from selfemo.store.s3 import S3Backend

__all__ = ["MANIFEST", "File", "Manifest", "Store", "files_of", "sha256", "verify"]


def sha256(path: Path) -> str:
    """Hash of a file's contents."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def files_of(directory: Path) -> dict[str, File]:
    """All files of a directory by relative path, in order."""
    names = sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file())
    return {n: File((directory / n).stat().st_size, sha256(directory / n)) for n in names}


FETCHED_WITHIN = 7200.0
"""Seconds that another process which fetches the same is waited for: large weights over a slow network."""


class Store:
    """Artifacts under one root.

    Args:
        root: ``s3://bucket/prefix`` or ``file:///directory``.
        endpoint: S3 endpoint, if not the provider's own.
        credentials: Access and secret key, if not those that boto3 finds.
        cache: Local directory that fetched artifacts are kept in.
    """

    def __init__(
        self, root: str, cache: Path, endpoint: str | None = None, credentials: tuple[str, str] | None = None
    ) -> None:
        self.root, self.cache = root.rstrip("/"), cache
        self._s3, self._local = S3Backend(endpoint, credentials), LocalBackend()

    def backend(self, uri: str) -> Backend:
        """What serves a URI.

        Raises:
            UserError: For a scheme other than ``file`` and ``s3``.
        """
        try:
            scheme = urlparse(uri).scheme
        except ValueError:  # such as s3://[x
            scheme = ""
        if scheme == "s3":
            return self._s3
        if scheme == "file":
            return self._local
        raise UserError(
            f"cannot store at {uri!r}", where="store.root", fix="use s3://bucket/prefix or file:///directory"
        )

    def uri(self, *parts: str) -> str:
        """A URI under the root."""
        return "/".join((self.root, *parts))

    def manifest(self, uri: str) -> Manifest | None:
        """The manifest of an artifact, or None if nothing has been published there.

        Raises:
            CorruptArtifact: If it is none, read twice: bytes that were damaged on the way are not damaged there.
        """
        where = f"{uri}/{MANIFEST}"
        for last in (False, True):
            data = self.backend(uri).read(where)
            if data is None:
                return None
            try:
                return Manifest.from_json(data, where)
            except CorruptArtifact:
                if last:
                    raise
        raise AssertionError("the second read returns or raises")

    def publish(self, directory: Path, uri: str, *, step: str, **meta: Any) -> Manifest:
        """Upload a directory and, last, its manifest.

        Args:
            directory: What to publish; read only.
            uri: The artifact's URI.
            step: The step that made it.
            **meta: ``inputs``, ``config``, ``code`` and ``result`` of :class:`Manifest`.

        Returns:
            The manifest that counts: this one, or that of a writer who was first.
        """
        backend, files = self.backend(uri), files_of(directory)
        attempt = f"files-{uuid.uuid4().hex[:12]}"
        manifest = Manifest(step=step, files=files, files_at=attempt, **meta)
        try:
            with heartbeat(f"publishing {uri}"):
                for name in files:
                    backend.upload(directory / name, f"{uri}/{attempt}/{name}")
            if backend.create(f"{uri}/{MANIFEST}", manifest.to_json()):
                with suppress(UserError, OSError):  # it is published, whatever becomes of what others left
                    self._sweep(uri, attempt)
                return manifest
        except Exception:
            with suppress(Exception):  # what went wrong counts, not what is left of it: `selfemo gc` finds that
                if (winner := self.manifest(uri)) is not None and winner.files_at != attempt:
                    backend.remove_tree(f"{uri}/{attempt}")
                    return winner  # who has won sweeps what others have begun, under their hands
                if winner is None:
                    backend.remove_tree(f"{uri}/{attempt}")
            raise
        winner = self.manifest(uri)
        if winner is None:
            raise CorruptArtifact("its manifest appeared and vanished while publishing", where=uri)
        if winner.files_at != attempt:  # equal if a retried write had in fact been the first
            backend.remove_tree(f"{uri}/{attempt}")
        return winner

    def _sweep(self, uri: str, counts: str) -> None:
        """Remove what attempts that were killed have uploaded; those that go on lose anyway, and adopt the winner."""
        backend = self.backend(uri)
        heads = {found.name.split("/", 1)[0] for found in backend.scan(uri)}
        for head in sorted(heads - {counts}):
            if head.startswith("files-"):
                backend.remove_tree(f"{uri}/{head}")

    def publish_by_content(self, directory: Path, place: str, *, step: str, **meta: Any) -> str:
        """Publish a directory under an address made of its contents: the same files are not uploaded again.

        Args:
            directory: What to publish; read only.
            place: Under the root.
            step: As for :meth:`publish`.
            **meta: As for :meth:`publish`.

        Returns:
            Its URI.
        """
        uri = self.uri(place, Manifest(step, files_of(directory), "").digest[:16])
        if self.manifest(uri) is None:
            self.publish(directory, uri, step=step, **meta)
        return uri

    def fetch(self, uri: str, manifest: Manifest | None = None) -> Path:
        """An artifact's files in a local directory, every hash checked when they came here.

        Later calls find the mark of that check and hash nothing, in this process and in others; a file that was changed
        since is noticed by its size, time or inode, and then all is checked again, and fetched again if it is damaged.

        Args:
            uri: The artifact's URI.
            manifest: Its manifest, if the caller has read it.

        Raises:
            UserError: If nothing is published at the URI.
            CorruptArtifact: If a file differs from the manifest.
        """
        manifest = manifest or self.manifest(uri)
        if manifest is None:
            raise UserError("nothing is published here", where=uri, fix="check the URI, or run the step that makes it")
        digest = manifest.digest
        target, mark = self.cache / digest, self.cache / f".{digest}.verified"
        self.cache.mkdir(parents=True, exist_ok=True)
        with (self.cache / f".{digest}.lock").open("a+") as lock:
            # Readers do not wait for each other.
            filelock.take(lock, f"fetching {uri}", FETCHED_WITHIN, shared=True)
            if marks.holds(mark, digest, target, manifest.files):
                return target
            # Processes that train together fetch the same weights: the first does, the others wait and find them.
            fcntl.flock(lock, fcntl.LOCK_UN)
            with heartbeat(f"fetching {uri}"):
                filelock.take(lock, f"fetching {uri}", FETCHED_WITHIN)
                if not marks.holds(mark, digest, target, manifest.files):
                    marks.write(mark, digest, self._fill_cache(uri, manifest, target))
        return target

    def read(self, uri: str, manifest: Manifest, name: str) -> bytes:
        """One small file of an artifact, its hash checked: what lies beside it, such as weights, stays where it is.

        Raises:
            CorruptArtifact: If it is not there, or differs from the manifest, read twice.
        """
        for _ in range(2):
            data = self.backend(uri).read(f"{uri}/{manifest.files_at}/{name}")
            if data is not None and hashlib.sha256(data).hexdigest() == manifest.files[name].sha256:
                return data
        raise CorruptArtifact(f"{name} differs from its manifest", where=uri, fix="delete it and run its step again")

    def _fill_cache(self, uri: str, manifest: Manifest, target: Path) -> marks.Stamps:
        """Make the cached directory whole, verified; its lock is held."""
        if target.is_dir():
            try:
                return verify(target, manifest, uri)
            except CorruptArtifact:
                shutil.rmtree(target)  # a damaged cache is no reason to stop: fetch it again
        partial = self.cache / f".partial-{manifest.digest}"
        shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
        try:
            stamps = self.download(uri, manifest, partial)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return stamps

    def download(self, uri: str, manifest: Manifest, directory: Path) -> marks.Stamps:
        """Copy an artifact's files to a new directory, every hash checked.

        Args:
            uri: The artifact's URI.
            manifest: Its manifest.
            directory: Is made.

        Returns:
            What a mark of the directory holds.

        Raises:
            CorruptArtifact: If a file differs from the manifest.
        """
        directory.mkdir()
        return {name: self._copied(uri, manifest, name, directory) for name in manifest.files}

    def _copied(self, uri: str, manifest: Manifest, name: str, directory: Path) -> list[int]:
        """Copy one file, its hash checked; once more if it was damaged on the way. What a mark holds of it."""
        path, source = directory / name, f"{uri}/{manifest.files_at}/{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        for last in (False, True):
            try:
                self.backend(uri).download(source, path)
            except FileNotFoundError:
                raise CorruptArtifact(
                    f"{name} is gone", where=uri, fix="delete the artifact, and run its step again"
                ) from None
            with path.open("rb") as data:
                os.fsync(data.fileno())  # a mark must not outlive what it vouches for, should the power fail
            try:
                return _verified(path, name, manifest.files[name], uri)
            except CorruptArtifact:
                if last:
                    raise
        raise AssertionError("the second copy returns or raises")


def verify(directory: Path, manifest: Manifest, uri: str) -> marks.Stamps:
    """Check the size and hash of every file of an artifact.

    Args:
        directory: Holds the files.
        manifest: Of the artifact.
        uri: Of the artifact, for the error.

    Returns:
        What a mark of the directory holds.

    Raises:
        CorruptArtifact: If a file is not there, or differs from the manifest.
    """
    return {name: _verified(directory / name, name, file, uri) for name, file in manifest.files.items()}


def _verified(path: Path, name: str, file: File, uri: str) -> list[int]:
    """What a mark holds of a file whose size and hash are those of its manifest."""
    found = marks.stamp(path, back=True) if path.is_file() else None
    if found is None or found[0] != file.size or sha256(path) != file.sha256:
        raise CorruptArtifact(f"{name} differs from its manifest", where=uri, fix="delete it and run its step again")
    return found
