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
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from selfemo.errors import CorruptArtifact, UserError
from selfemo.progress import heartbeat
from selfemo.store import marks
from selfemo.store.backends import Backend, LocalBackend
from selfemo.store.s3 import S3Backend

MANIFEST = "manifest.json"
SCHEMA = "selfemo.manifest/1"


@dataclass(frozen=True)
class File:
    """Size in bytes and hash of one file of an artifact."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an artifact is, and what it was made of.

    Attributes:
        step: The step that made it.
        files: By relative path.
        files_at: Directory, relative to the artifact's URI, that holds the files.
        inputs: URIs and values that the step was given.
        config: Hash of the configuration sections it read.
        code: Version of the code that made it.
        result: The step's small result.
        schema: Version of this record.
    """

    step: str
    files: Mapping[str, File]
    files_at: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    config: str = ""
    code: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    schema: str = SCHEMA

    @property
    def digest(self) -> str:
        """One hash over all names and contents: equal for equal artifacts, wherever they lie."""
        content = sorted((name, file.sha256) for name, file in self.files.items())
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def to_json(self) -> bytes:
        """Pretty JSON: people read manifests."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Manifest:
        """The inverse of :meth:`to_json`.

        Raises:
            CorruptArtifact: If the bytes are not a manifest, or name a file outside the artifact.
        """
        try:
            row = json.loads(data)
            files = {name: File(**file) for name, file in row.pop("files").items()}
            manifest = cls(files=files, **row)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CorruptArtifact(f"not a manifest: {error}", where=where) from None
        for name in (*files, manifest.files_at):
            if name.startswith("/") or ".." in Path(name).parts:
                raise CorruptArtifact(f"names a file outside itself: {name!r}", where=where)
        return manifest


def sha256(path: Path) -> str:
    """Hash of a file's contents."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def files_of(directory: Path) -> dict[str, File]:
    """All files of a directory by relative path, in order."""
    names = sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file())
    return {n: File((directory / n).stat().st_size, sha256(directory / n)) for n in names}


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
        """The manifest of an artifact, or None if nothing has been published there."""
        data = self.backend(uri).read(f"{uri}/{MANIFEST}")
        return None if data is None else Manifest.from_json(data, f"{uri}/{MANIFEST}")

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
        with heartbeat(f"publishing {uri}"):
            for name in files:
                backend.upload(directory / name, f"{uri}/{attempt}/{name}")
        if backend.create(f"{uri}/{MANIFEST}", manifest.to_json()):
            return manifest
        winner = self.manifest(uri)
        if winner is None:
            raise CorruptArtifact("its manifest appeared and vanished while publishing", where=uri)
        if winner.files_at != attempt:  # equal if a retried write had in fact been the first
            backend.remove_tree(f"{uri}/{attempt}")
        return winner

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
        with (self.cache / f".{digest}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)  # readers do not wait for each other
            if marks.holds(mark, digest, target, manifest.files):
                return target
            # Processes that train together fetch the same weights: the first does, the others wait and find them.
            with heartbeat(f"fetching {uri}"):
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not marks.holds(mark, digest, target, manifest.files):
                    marks.write(mark, digest, self._fill_cache(uri, manifest, target))
        return target

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
        for name in manifest.files:
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            self.backend(uri).download(f"{uri}/{manifest.files_at}/{name}", directory / name)
            with (directory / name).open("rb") as data:
                os.fsync(data.fileno())  # a mark must not outlive what it vouches for, should the power fail
        return verify(directory, manifest, uri)


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
    stamps = {}
    for name, file in manifest.files.items():
        path = directory / name
        if path.is_file():
            stamps[name] = marks.stamp(path, back=True)
        if name not in stamps or stamps[name][0] != file.size or sha256(path) != file.sha256:
            raise CorruptArtifact(
                f"{name} differs from its manifest", where=uri, fix="delete it and run its step again"
            )
    return stamps
