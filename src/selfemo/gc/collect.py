"""What can go from a store and from this machine's caches, and its removal. Defined here.

What the steps of a run have laid down and nothing needs (:mod:`selfemo.gc.needs`): what earlier attempts with another
configuration or code made, shards whose whole is there, uploads that were cut off, checkpoints of a run that has
finished, all of a run that was deleted in MLflow. What this layout did not make is not looked at, nor is anything that
was written lately: it may be half of something.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfemo.config.run import SECTIONS
from selfemo.context import Context
from selfemo.gc.needs import MlflowNames, ask, goes_on, needed, recorded
from selfemo.store.artifacts import MANIFEST
from selfemo.store.backends import Stored
from selfemo.store.checkpoints import FOLDER

HERE = "(this machine)"
"""Stands for a run's name where caches are meant."""
BASES = "(bases)"
"""Stands for a run's name where the bases that runs share are meant."""
_ARTIFACT = re.compile(
    r"(?P<artifact>(?P<run>[a-z0-9][a-z0-9._-]*)/round-\d+/(?:" + "|".join(SECTIONS) + r")-[0-9a-f]{12}"
    r"|bases/[0-9a-f]{16})/(?P<file>.+)"
)
_CHECKPOINTS = re.compile(
    rf"(?P<step>[a-z0-9][a-z0-9._-]*/{FOLDER}/round-\d+/(?:warmup|train)-[0-9a-f]{{12}})/(?P<file>.+)"
)
_RESERVED = ("mlflow", "locks")


@dataclass(frozen=True)
class Leftover:
    """Something that nothing needs.

    Attributes:
        run: Whose; :data:`HERE` for caches.
        uri: Of an artifact, of one of its attempts, or the path of a directory of this machine.
        size: In bytes.
        whole: Whether a run that begins again would miss it: an artifact with its manifest, checkpoints.
    """

    run: str
    uri: str
    size: int
    whole: bool = False


@dataclass(frozen=True)
class RemovalPlan:
    """What can go.

    Attributes:
        leftovers: In order of their places.
        unknown: Runs that this MLflow has never heard of; they are left alone.
    """

    leftovers: Sequence[Leftover]
    unknown: Sequence[str]

    @property
    def size(self) -> int:
        """Of all, in bytes."""
        return sum(leftover.size for leftover in self.leftovers)

    def by_run(self) -> dict[str, tuple[int, int]]:
        """How many things and how many bytes, by run."""
        found: dict[str, tuple[int, int]] = {}
        for leftover in self.leftovers:
            count, size = found.get(leftover.run, (0, 0))
            found[leftover.run] = (count + 1, size + leftover.size)
        return found


def plan(context: Context, records: Sequence[Path] = (), older: float = 24.0) -> RemovalPlan:
    """Find what can go.

    Args:
        context: Its store and registry; servers of our own are started.
        records: Directories of studies' results.
        older: Hours; what was written later is left.

    Raises:
        UserError: If MLflow or a record cannot be read: what they need is not known then.
    """
    latest = time.time() - older * 3600
    there, checkpoints = _survey(context)
    known = ask(context)
    runs = {uri: _run_of(context, uri) for uri in (*there, *checkpoints)}
    unknown = sorted({run for run in runs.values() if run not in known.names and run != BASES})
    going_on = {uri for uri, run in runs.items() if run in known.unfinished or run in unknown}
    kept = needed(context, set(there), going_on | known.roots, known.versions | recorded(records))
    leftovers = []
    for uri, files in there.items():
        if runs[uri] in unknown:
            continue
        whole = any(file.name == MANIFEST for file in files)
        if uri not in kept and _last(files) < latest:
            leftovers.append(Leftover(runs[uri], uri, _size(files), whole))
        elif uri in kept or not whole:
            counts = kept[uri].files_at if uri in kept else ""
            for name, stored in _attempts(files).items():
                if name != counts and _last(stored) < latest:
                    leftovers.append(Leftover(runs[uri], f"{uri}/{name}", _size(stored)))
    for uri, files in checkpoints.items():
        if runs[uri] not in known.unfinished and runs[uri] not in unknown and _last(files) < latest:
            leftovers.append(Leftover(runs[uri], uri, _size(files), whole=True))
    leftovers += _scratch(context, known, latest)
    leftovers += _cached(context, {manifest.digest for manifest in kept.values()}, latest)
    return RemovalPlan(leftovers, unknown)


def delete(context: Context, found: RemovalPlan) -> list[str]:
    """Remove what a plan names, manifests first: what is left of an interrupted removal is no artifact any more.

    Args:
        context: Of the plan.
        found: The plan.

    Returns:
        Names of runs that have begun again since the plan was made; theirs is kept.
    """
    begun = set()
    by_run = defaultdict(list)
    for leftover in found.leftovers:
        by_run[leftover.run].append(leftover)
    for run, leftovers in by_run.items():
        # Asked right before the first of them goes, since a run that begins again takes for made what it finds. Only
        # runs of its name are listed: all of MLflow's were for the plan, and what has begun since bears that name.
        if run not in (HERE, BASES) and any(x.whole for x in leftovers) and goes_on(context, run):
            begun.add(run)
            continue
        for leftover in leftovers:
            if run == HERE:
                _remove_here(Path(leftover.uri))
                continue
            backend = context.store.backend(leftover.uri)
            if leftover.whole:
                backend.remove(f"{leftover.uri}/{MANIFEST}")
            if _cut_off(leftover.uri.rpartition("/")[2]):
                backend.remove(leftover.uri)
            else:
                backend.remove_tree(leftover.uri)
    return sorted(begun)


def _cut_off(name: str) -> bool:
    """Whether a file is one that a killed writer has not come to rename or to remove; locks of such names stay."""
    return name.startswith((".tmp-", ".probe-")) and not name.endswith(".lock")


def _survey(context: Context) -> tuple[dict[str, list[Stored]], dict[str, list[Stored]]]:
    """Files of all artifacts, whole ones and others, by the artifact's URI; those of steps' checkpoints likewise.

    Names are relative to the URI.
    """
    there: dict[str, list[Stored]] = {}
    checkpoints: dict[str, list[Stored]] = {}
    for stored in context.store.backend(context.store.root).scan(context.store.root):
        match = _ARTIFACT.fullmatch(stored.name)
        if match and match["run"] not in _RESERVED:
            file = Stored(match["file"], stored.size, stored.modified)
            there.setdefault(context.store.uri(match["artifact"]), []).append(file)
        elif match := _CHECKPOINTS.fullmatch(stored.name):
            file = Stored(match["file"], stored.size, stored.modified)
            checkpoints.setdefault(context.store.uri(match["step"]), []).append(file)
    return there, checkpoints


def _run_of(context: Context, uri: str) -> str:
    head, second, *_ = uri.removeprefix(f"{context.store.root}/").split("/")
    return BASES if head == "bases" and not second.startswith("round-") else head


def _attempts(files: Sequence[Stored]) -> dict[str, list[Stored]]:
    """Files of an artifact by the attempt that uploaded them, without those that lie next to the attempts."""
    found: dict[str, list[Stored]] = {}
    for file in files:
        head, slash, _ = file.name.partition("/")
        if (slash and head.startswith("files-")) or (not slash and _cut_off(head)):
            found.setdefault(head, []).append(file)
    return found


def _last(files: Sequence[Stored]) -> float:
    return max(file.modified for file in files)


def _size(files: Sequence[Stored]) -> int:
    return sum(file.size for file in files)


def _scratch(context: Context, known: MlflowNames, latest: float) -> Iterator[Leftover]:
    """Working directories of steps that were interrupted, of runs that do not go on."""
    for run in _folders(context.workdir / "scratch"):
        if run.name in known.names and run.name not in known.unfinished:
            yield from (x for step in _folders(run) for x in _old(step, latest))


def _cached(context: Context, digests: set[str], latest: float) -> Iterator[Leftover]:
    """Fetched artifacts that are not needed, and fetches that were cut off."""
    for folder in _folders(context.store.cache):
        if folder.name not in digests:
            yield from _old(folder, latest)


def _folders(place: Path) -> list[Path]:
    return sorted(p for p in place.iterdir() if p.is_dir()) if place.is_dir() else []


def _old(folder: Path, latest: float) -> Iterator[Leftover]:
    stats = [p.lstat() for p in (folder, *folder.rglob("*"))]
    if max(s.st_mtime for s in stats) < latest:
        yield Leftover(HERE, str(folder), sum(s.st_size for s in stats[1:]))


def _remove_here(folder: Path) -> None:
    """Remove a directory, unless it is a cached one that is being fetched just now."""
    name = folder.name.removeprefix(".partial-")
    lock = folder.with_name(f".{name}.lock")
    if not lock.exists():
        shutil.rmtree(folder, ignore_errors=True)
        return
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        folder.with_name(f".{name}.verified").unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
