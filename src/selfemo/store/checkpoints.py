"""Checkpoints of a training step in the store: where a machine is lost, another one goes on from the newest of them.

A checkpoint may lie on several disks: each machine has one, or all processes write to the same. A disk's share of it
is published as an artifact is, files first and its manifest, with sizes and hashes, last. The checkpoint is complete
when the shares of all disks are there, and only then are older ones removed.

    s3://bucket/demo/checkpoints/round-1/train-3f2a.../ddp-2/checkpoint-8/part-0/manifest.json
    s3://bucket/demo/checkpoints/round-1/train-3f2a.../ddp-2/checkpoint-8/part-0/files-9c41.../optimizer.pt
"""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from selfemo.errors import CorruptArtifact
from selfemo.progress import heartbeat
from selfemo.store.artifacts import MANIFEST, Manifest, Store

FOLDER = "checkpoints"
"""Directory of a run that holds those of all its steps."""
_MARKER = re.compile(rf"checkpoint-(\d+)/part-(\d+)/{re.escape(MANIFEST)}")


def place(store: Store, artifact: str) -> str:
    """Where the checkpoints of a step lie.

    Args:
        store: Of the artifact.
        artifact: URI that the step publishes at: ``ROOT/RUN/ROUND/STEP-KEY``.
    """
    run, rest = artifact.removeprefix(f"{store.root}/").split("/", 1)
    return store.uri(run, FOLDER, rest)


def forget(store: Store, artifact: str) -> None:
    """Remove all checkpoints of a step, of whatever number of processes: its artifact is published.

    Args:
        store: Of the artifact.
        artifact: URI that the step has published at.
    """
    Checkpoints(store, place(store, artifact)).remove_others(None)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a step, as one of the disks that they are made on sees them.

    Attributes:
        store: That holds them.
        uri: Directory of them all: those of another number of processes or strategy have another one.
        disk: Number of this disk, of those that hold files of a checkpoint.
        disks: How many there are.
    """

    store: Store
    uri: str
    disk: int = 0
    disks: int = 1

    def newest(self) -> str | None:
        """Name of the newest complete one, such as ``checkpoint-8``; None if there is none."""
        found: dict[int, set[int]] = defaultdict(set)
        for stored in self.store.backend(self.uri).scan(self.uri):
            if match := _MARKER.fullmatch(stored.name):
                found[int(match[1])].add(int(match[2]))
        complete = [step for step, disks in found.items() if disks == set(range(self._disks_of(step)))]
        return f"checkpoint-{max(complete)}" if complete else None

    def _disks_of(self, step: int) -> int:
        """How many disks a checkpoint lies on; the first share says so. 0 without it, or if its manifest is damaged."""
        try:
            manifest = self.store.manifest(f"{self.uri}/checkpoint-{step}/part-0")
        except CorruptArtifact:
            return 0
        return int(manifest.result["parts"]) if manifest else 0

    def save(self, directory: Path, name: str) -> None:
        """Upload this disk's share of a checkpoint; when that completes it, all others are removed.

        Args:
            directory: This disk's files.
            name: Of the checkpoint.
        """
        result = {"parts": self.disks}
        self.store.publish(directory, f"{self.uri}/{name}/part-{self.disk}", step="checkpoint", result=result)
        if self.newest() == name:
            self.remove_others(name)

    def fetch(self, name: str, directory: Path) -> None:
        """Make a checkpoint's directory, of the shares of all its disks; the hash of every file is checked.

        Args:
            name: Of the checkpoint.
            directory: Is made, and is whole when it is there.

        Raises:
            CorruptArtifact: If a file differs from what its manifest says, or is not there.
        """
        partial = directory.with_name(f".partial-{directory.name}")
        shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
        (partial / "whole").mkdir(parents=True)
        try:
            disk, disks = 0, 1
            while disk < disks:
                uri = f"{self.uri}/{name}/part-{disk}"
                manifest = self.store.manifest(uri)
                if manifest is None or not self._has_files(uri, manifest):
                    raise CorruptArtifact("a part of this checkpoint is gone", where=uri)
                with heartbeat(f"fetching {uri}"):
                    self.store.download(uri, manifest, partial / str(disk))
                shutil.copytree(partial / str(disk), partial / "whole", dirs_exist_ok=True, copy_function=shutil.move)
                disk, disks = disk + 1, int(manifest.result["parts"])
            (partial / "whole").rename(directory)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _has_files(self, uri: str, manifest: Manifest) -> bool:
        at = f"{uri}/{manifest.files_at}"
        return set(manifest.files) <= {found.name for found in self.store.backend(at).scan(at)}

    def remove_others(self, name: str | None) -> None:
        """Remove all but one; manifests first, so that what an interrupted removal leaves is no checkpoint.

        Args:
            name: Of the one that stays; None removes all.
        """
        backend = self.store.backend(self.uri)
        others = {found.name.split("/", 1)[0] for found in backend.scan(self.uri)} - {name}
        for other in sorted(others):
            for marker in [u for u in backend.list(f"{self.uri}/{other}") if u.endswith(f"/{MANIFEST}")]:
                backend.remove(marker)
            backend.remove_tree(f"{self.uri}/{other}")
