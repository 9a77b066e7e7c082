"""What an artifact says about itself.

A manifest comes from a store that others can write to, so nothing in it is taken on trust.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from selfemo.errors import CorruptArtifact

MANIFEST = "manifest.json"
SCHEMA = "selfemo.manifest/1"
_SHA256 = re.compile(r"[0-9a-f]{64}")


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
            CorruptArtifact: If the bytes are not a manifest, or name a file that cannot be inside the artifact.
        """
        try:
            row = json.loads(data)
            files = {name: File(**file) for name, file in row.pop("files").items()}
            manifest = cls(files=files, **row)
            problem = _problem(manifest)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            problem = f"not a manifest: {error}"
        if problem:
            raise CorruptArtifact(problem, where=where, fix="delete what lies there, and run its step again")
        return manifest


def _problem(manifest: Manifest) -> str:
    """What is wrong with a manifest; empty if nothing is."""
    for name in ("step", "files_at", "config", "code", "schema"):
        if not isinstance(getattr(manifest, name), str):
            return f"not a manifest: {name} is not text"
    for name in ("inputs", "result"):
        if not isinstance(getattr(manifest, name), dict):
            return f"not a manifest: {name} is not an object"
    for name in (*manifest.files, manifest.files_at):
        if not _inside(name):
            return f"names a file outside itself: {name!r}"
    for name, file in manifest.files.items():
        if type(file.size) is not int or file.size < 0 or not _is_hash(file.sha256):
            return f"not a manifest: size or sha256 of {name!r} is none"
        if any(parent.as_posix() in manifest.files for parent in PurePosixPath(name).parents):
            return f"not a manifest: {name!r} lies in a file"
    return ""


def _is_hash(text: Any) -> bool:
    return isinstance(text, str) and bool(_SHA256.fullmatch(text))


def _inside(name: str) -> bool:
    """Whether a name is a relative path that stays where it begins, written in the one way there is."""
    path = PurePosixPath(name)
    plain = "\0" not in name and name == name.encode("utf-8", "replace").decode("utf-8")
    return plain and path.as_posix() == name and name != "." and not path.is_absolute() and ".." not in path.parts
