"""``selfemo serve`` and ``selfemo fetch``: exactly the registered version, or nothing."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from selfemo.config import Config
from selfemo.context import Context
from selfemo.data.corpora.table import CORPORA, shipped_spaces
from selfemo.data.labels import LabelSpace
from selfemo.errors import CorruptArtifact, UserError
from selfemo.policies import Policy
from selfemo.policy import names
from selfemo.serving.service import Service
from selfemo.store import marks
from selfemo.store.artifacts import FETCHED_WITHIN, Manifest, Store, verify
from selfemo.store.filelock import locked

if TYPE_CHECKING:
    from selfemo.data.feedback import Feedback
    from selfemo.serving.collect import Collector

log = logging.getLogger(__name__)

KEY = "SELFEMO_SERVE_KEY"
"""Variable that holds the key which clients have to give, or several, parted by spaces."""
OWN = ".selfemo-"
"""What `fetch` keeps in the directory begins with this."""
MARK = f"{OWN}digest"
VOLUMES = ("lost+found", ".snapshot")
"""What file systems put into the top of a volume themselves."""
LOCAL = ("127.0.0.1", "localhost", "::1")
REGIONS = ("US", "GB")
"""Whose telephone numbers are masked where no others are named."""
FLUSHED_WITHIN = 5.0
"""Seconds, after the answers, for conversations that wait to be written: Kubernetes kills ten after those."""
HOSTS = ("127.0.0.1", "localhost", "[::1]")
"""The same, as clients write them in a request."""


def service_of(config: Config, policy: str, name: str, digest: str = "") -> Service:
    """A policy, loaded and checked.

    Args:
        config: Sections ``policy``, ``store`` and ``corpora``.
        policy: Its name: ``models:/self-emo@champion``, a URI, a directory.
        name: Under which clients know it; empty is the registered name.
        digest: That the weights must have; empty asks for none.

    Raises:
        UserError: If there is none such, or the weights are others.
    """
    found = Context(config).policies.find(policy)
    checked(found.uri, found.digest, digest)
    identity = {"source": found.uri} | ({"digest": found.digest} if found.digest else {})
    spaces, labels = known_labels(config, found)
    return Service(found.player(), name or names.short(policy), labels, spaces, identity)


def known_labels(config: Config, policy: Policy) -> tuple[dict[str, LabelSpace], str]:
    """The labels that a policy can be asked for by corpus, and the corpus whose labels are meant where none is named.

    Raises:
        UserError: If neither the policy nor the configuration says any labels.
    """
    return labels_with(config, policy.taught)


def labels_with(config: Config, taught: Mapping[str, LabelSpace]) -> tuple[dict[str, LabelSpace], str]:
    """The same, of the labels that a policy was taught.

    What it was taught comes first, and decides: that of its gate corpus, unless the configuration says corpora, and the
    first is another that it was taught. What it was not taught can be asked for as well: those of the configuration,
    and those shipped.

    Args:
        config: Section ``corpora``.
        taught: Its label spaces by corpus, the gate corpus first; none where it is not known.

    Raises:
        UserError: If neither says any labels.
    """
    first = config.corpora[0]
    ours = {c.name: c.space for c in config.corpora if c.name not in taught and (c.labels or c.name in CORPORA)}
    spaces = {**taught, **ours, **{n: s for n, s in shipped_spaces().items() if n not in taught}}
    chosen = "corpora" in config.model_fields_set and first.name in taught
    labels = next(iter(taught)) if taught and not chosen else first.name
    if labels not in spaces:
        _ = first.space  # says what is missing
    return spaces, labels


def checked(uri: str, found: str, wanted: str) -> None:
    """Refuse weights of another digest than asked for.

    Raises:
        UserError: If they differ.
    """
    if wanted and wanted != found:
        raise UserError(
            f"the weights there have digest {found or '(none)'}, not {wanted}",
            where=uri,
            fix="serve what the reference names, or write the reference anew: selfemo sync-registry",
        )


@dataclass(frozen=True)
class Collect:
    """What is to be kept of what clients agree to.

    Attributes:
        share: Of conversations.
        days: After which they are removed; None leaves that to others.
        regions: Whose telephone numbers are masked, in capitals; none is the usual ones.
        command: Masks in place of the finders here; empty is these.
    """

    share: float = 1.0
    days: int | None = None
    regions: tuple[str, ...] = ()
    command: str = ""


def collector_of(place: Feedback, asked: Collect, model: str = "", digest: str = "") -> Collector:
    """What keeps conversations, at work.

    Args:
        place: Where.
        asked: What of them.
        model: Name of what reads them, told with what it read.
        digest: Of its weights.

    Raises:
        UserError: If the place cannot be read, or what masks is not there.
    """
    from selfemo.data.redaction import Command, Patterns
    from selfemo.serving.collect import Collector, RetentionBounds

    place.pieces("corrections")  # an answer that it is there, before a client's conversation gets lost
    redactor = Command(asked.command, timeout=60.0) if asked.command else Patterns(asked.regions or REGIONS).ready()
    return Collector(place, redactor, model, digest, RetentionBounds(asked.share, asked.days))


def key_for(host: str) -> str:
    """The key that clients have to give, or several, parted by spaces; empty if none is asked for.

    Args:
        host: To listen on.

    Raises:
        UserError: If others could ask without one.
    """
    key = os.environ.get(KEY, "")
    if host not in LOCAL and not key:
        raise UserError(
            f"to listen on {host}, clients have to give a key",
            where="--host",
            fix=f"export {KEY}, or listen on 127.0.0.1",
        )
    return key


def serve(
    config: Config,
    policy: str,
    name: str,
    digest: str,
    host: str,
    port: int,
    to: str = "",
    asked: Collect | None = None,
) -> None:
    """Serve until interrupted.

    Args:
        config: See :func:`service_of`.
        policy: What is served.
        name: Under which clients know it.
        digest: That its weights must have.
        host: To listen on.
        port: To listen on.
        to: The place of what clients let us keep; empty keeps nothing.
        asked: What of it is kept.

    Raises:
        UserError: If it is to listen to others without a key, or the port is taken.
    """
    key = key_for(host)
    from selfemo.data.feedback import Feedback
    from selfemo.serving.app import app
    from selfemo.serving.server import bound, more_files, server

    sockets = bound(host, port)
    service = service_of(config, policy, name, digest)
    log.info("serving %s (%s) on http://%s:%d", service.name, service.identity["source"], host, port)
    more_files()
    place = Feedback.at(to, config.store.endpoint) if to else None
    found = str(service.identity.get("digest", ""))
    collector = collector_of(place, asked or Collect(), service.name, found) if place else None
    made = app(service, key, () if key else HOSTS, log=lambda line: print(line, flush=True), collector=collector)
    flush = partial(collector.close, FLUSHED_WITHIN) if collector is not None else None
    server(made, host, port, scheduler=made.state.scheduler, at_end=flush).run(sockets)


def fetch(config: Config, policy: str, digest: str, out: Path) -> str:
    """Copy weights to a directory, every file's hash checked each time; all of them or none.

    In a pod the directory is a mount, which cannot be renamed onto: it is filled, and the mark written last. Whatever
    moment this is killed at, the next try goes on from there.

    Args:
        config: Section ``store``.
        policy: Name of the weights.
        digest: That they must have; empty asks for none.
        out: Directory that is made; one with the same weights is left as it is.

    Returns:
        Their digest.

    Raises:
        UserError: If there are none, they are others, or something else is in the way.
    """
    context = Context(config)
    found = context.policies.find(policy)
    uri, manifest = found.uri, found.manifest
    if manifest is None:
        raise UserError("nothing is published here", where=uri, fix="check the name of the weights")
    checked(uri, manifest.digest, digest)
    if out.exists() and not out.is_dir():
        raise UserError("is no directory", where=str(out), fix="name a directory")
    context.store.cache.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:16]
    with locked(context.store.cache / f".fetch-{name}.lock", f"fetching into {out}", FETCHED_WITHIN):
        for leftover in out.glob(f"{OWN}*/"):  # of a process that was killed
            shutil.rmtree(leftover)
        _fill(context.store, uri, manifest, out)
    return manifest.digest


def _fill(store: Store, uri: str, manifest: Manifest, out: Path) -> None:
    """Make a directory hold an artifact's files, and the mark that says so."""
    top = {Path(name).parts[0] for name in manifest.files}
    there = {p.name for p in out.iterdir() if not p.name.startswith(OWN)} if out.is_dir() else set()
    there -= set(VOLUMES) - top
    if there == top:
        try:
            marks.write(out / MARK, manifest.digest, verify(out, manifest, uri))
            return
        except CorruptArtifact:
            pass  # copied again, if they are ours
    begun, stamps = marks.read(out / MARK)
    ours = {Path(name).parts[0] for name in stamps} if begun in ("", manifest.digest) else set()
    if others := sorted(there - ours):
        raise UserError(
            f"holds something else: {', '.join(others[:3])}",
            where=str(out),
            fix="remove it, or name another directory",
        )
    made, work = not out.exists(), out / f"{OWN}partial"
    out.mkdir(parents=True, exist_ok=True)
    try:
        # A mark without a digest: of what has these names, some may be here, and it is ours.
        marks.write(out / MARK, "", {name: [] for name in top | there})
        for name in there:
            shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
        stamps = store.download(uri, manifest, work)
        for name in sorted(top):
            os.rename(work / name, out / name)
        marks.write(out / MARK, manifest.digest, stamps)
    except BaseException:
        shutil.rmtree(out if made else work, ignore_errors=True)
        raise
    shutil.rmtree(work)
