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
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from selfemo.errors import CorruptArtifact, UserError
from selfemo.store.backends import Backend, LocalBackend, S3Backend

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
        backend = self.backend(uri)
        names = sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file())
        files = {n: File((directory / n).stat().st_size, sha256(directory / n)) for n in names}
        attempt = f"files-{uuid.uuid4().hex[:12]}"
        manifest = Manifest(step=step, files=files, files_at=attempt, **meta)
        for name in names:
            backend.upload(directory / name, f"{uri}/{attempt}/{name}")
        if backend.create(f"{uri}/{MANIFEST}", manifest.to_json()):
            return manifest
        winner = self.manifest(uri)
        if winner is None:
            raise CorruptArtifact("its manifest appeared and vanished while publishing", where=uri)
        if winner.files_at != attempt:  # equal if a retried write had in fact been the first
            backend.remove_tree(f"{uri}/{attempt}")
        return winner

    def fetch(self, uri: str) -> Path:
        """An artifact's files in a local directory, every hash checked.

        Raises:
            UserError: If nothing is published at the URI.
            CorruptArtifact: If a file differs from the manifest.
        """
        manifest = self.manifest(uri)
        if manifest is None:
            raise UserError("nothing is published here", where=uri, fix="check the URI, or run the step that makes it")
        target = self.cache / manifest.digest
        self.cache.mkdir(parents=True, exist_ok=True)
        # Processes that train together fetch the same weights: the first does, the others wait and find them.
        with (self.cache / f".{manifest.digest}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if target.is_dir():
                try:
                    self._verify(target, manifest, uri)
                    return target
                except CorruptArtifact:
                    shutil.rmtree(target)  # a damaged cache is no reason to stop: fetch it again
            self._download(uri, manifest, target)
        return target

    def _download(self, uri: str, manifest: Manifest, target: Path) -> None:
        partial = Path(tempfile.mkdtemp(dir=self.cache, prefix=".partial-"))
        try:
            for name in manifest.files:
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                self.backend(uri).download(f"{uri}/{manifest.files_at}/{name}", partial / name)
            self._verify(partial, manifest, uri)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    @staticmethod
    def _verify(directory: Path, manifest: Manifest, uri: str) -> None:
        for name, file in manifest.files.items():
            path = directory / name
            if not path.is_file() or path.stat().st_size != file.size or sha256(path) != file.sha256:
                raise CorruptArtifact(
                    f"{name} differs from its manifest", where=uri, fix="delete it and run its step again"
                )
