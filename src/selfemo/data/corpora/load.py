"""From the configuration's corpora to training and held-out dialogues."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from selfemo.data.corpora import leakage, own
from selfemo.data.corpora.rows import BadRows
from selfemo.data.corpora.table import CORPORA
from selfemo.data.dialogue import Dialogue
from selfemo.data.label_file import LABELS, LabelFile, parse_text, read_label_file, shipped_space
from selfemo.data.labels import LabelSpace, Spaces
from selfemo.errors import Unread, UserError
from selfemo.places import temporary
from selfemo.progress import heartbeat
from selfemo.store.s3 import S3Backend


@dataclass
class Corpora:
    """Dialogues of a run.

    Attributes:
        training: Train splits, leakage removed.
        held_out: The evaluation split of each corpus, the gate corpus first.
        leaked: Utterances removed from training.
        quarantine: Bad rows that were skipped.
        whole: Train splits with what was removed: turns are counted there.
        apart: All other splits: nothing that is learnt from may have copies of them.
    """

    training: list[Dialogue]
    held_out: list[Dialogue]
    leaked: int
    quarantine: list[dict[str, str]]
    whole: list[Dialogue] = field(default_factory=list)
    apart: list[Dialogue] = field(default_factory=list)


def load_corpus(
    name: str, path: str | None, rows: BadRows, endpoint: str | None = None, space: LabelSpace | None = None
) -> list[Dialogue]:
    """All splits of one corpus.

    Args:
        name: A key of :data:`selfemo.data.corpora.table.CORPORA`, or what a corpus of one's own is called.
        path: A directory, or ``s3://bucket/prefix``.
        rows: What becomes of bad rows.
        endpoint: S3 endpoint, if not the provider's own.
        space: Labels of a corpus of one's own; None are those in its directory.

    Raises:
        UserError: If it cannot be found or read.
    """
    corpus = CORPORA.get(name)
    if corpus and corpus.shipped:
        return list(corpus.load(Path(), rows, shipped_space(name)))
    if path is None:
        raise UserError(f"{name} needs a path", where="corpora", fix="set path to the directory of your copy")
    with _directory(expanded(path), endpoint) as directory:
        if not directory.is_dir():
            raise UserError(
                "no such directory", where=str(directory), fix=f"set path to the directory of your copy of {name}"
            )
        if corpus:
            return list(corpus.load(directory, rows, shipped_space(name)))
        if space is None and not (directory / LABELS).is_file():
            raise UserError(
                f"{name} is none of {', '.join(CORPORA)}, and one of your own has its labels here in {LABELS}",
                where=str(directory),
                fix="correct the name, or see docs/labels.md",
            )
        return list(own.load(directory, rows, space or read_label_file(directory / LABELS).space(), name))


def expanded(path: str) -> str:
    """A corpus's path with its variables filled in.

    Raises:
        UserError: If one is not set.
    """
    found = os.path.expandvars(path)
    if "$" in found:
        raise UserError(
            f"a variable in {path!r} is not set", where="corpora", fix=f"export it, e.g. {path.split('/')[0]}"
        )
    return found


def labels_at(path: str, endpoint: str | None = None) -> LabelFile | None:
    """The label space that lies in a corpus's directory, or None if none is found there from here.

    Args:
        path: A directory, or ``s3://bucket/prefix``; `$VARIABLES` are expanded.
        endpoint: S3 endpoint, if not the provider's own.

    Raises:
        Unread: If the store is away, or refuses.
        UserError: If what lies there is no label space.
    """
    found = os.path.expandvars(path)
    if found.startswith("s3://"):
        uri = f"{found.rstrip('/')}/{LABELS}"
        try:
            data = S3Backend(endpoint).read(uri)
        except UserError as error:
            raise Unread(error.message, where=error.where, fix=error.fix) from None
        if data is None:
            return None
        try:
            return parse_text(data.decode("utf-8-sig"), uri)
        except UnicodeDecodeError as error:
            raise UserError(f"not UTF-8 (byte {error.start + 1})", where=uri) from None
    file = Path(found).expanduser() / LABELS
    return read_label_file(file) if file.is_file() else None


@contextmanager
def _directory(path: str, endpoint: str | None) -> Iterator[Path]:
    """The directory of a path; one on S3 is copied to this machine for as long as it is read."""
    if not path.startswith("s3://"):
        yield Path(path).expanduser()
        return
    source, root = S3Backend(endpoint), path.rstrip("/") + "/"
    files = list(source.list(root))
    if not files:
        raise UserError("nothing lies here", where=path, fix="copy the corpus there, or correct corpora.path")
    with temporary("corpus") as directory:
        with heartbeat(f"fetching {path}"):
            for uri in files:
                target = directory / uri.removeprefix(root)
                if not target.resolve().is_relative_to(directory.resolve()):
                    raise UserError("names a file outside its directory", where=uri, fix="remove it")
                target.parent.mkdir(parents=True, exist_ok=True)
                source.download(uri, target)
        yield directory


class Source(Protocol):
    """A corpus of a configuration, and where a copy of it lies."""

    @property
    def name(self) -> str:
        """A key of :data:`selfemo.data.corpora.table.CORPORA`, or what a corpus of one's own is called."""
        ...

    @property
    def path(self) -> str | None:
        """A directory, or ``s3://bucket/prefix``."""
        ...

    @property
    def skip_bad(self) -> bool:
        """Quarantine bad rows instead of stopping at the first."""
        ...


def load_corpora(sources: Sequence[Source], spaces: Spaces, split: str, endpoint: str | None = None) -> Corpora:
    """All corpora of a run.

    Args:
        sources: Which, and where; the gate corpus first.
        spaces: Their labels.
        split: That is held out: ``dev`` or ``test``.
        endpoint: S3 endpoint, if not the provider's own.

    Raises:
        UserError: If a corpus cannot be read or lacks a split that the run needs.
    """
    training: list[Dialogue] = []
    held_out: list[Dialogue] = []
    every: list[Dialogue] = []
    quarantine: list[dict[str, str]] = []
    for corpus in sources:
        rows = BadRows(corpus.skip_bad)
        dialogues = load_corpus(corpus.name, corpus.path, rows, endpoint, spaces[corpus.name])
        quarantine += rows.quarantine
        scored = [d for d in dialogues if d.split == split and any(u.gold for u in d.turns)]
        learnt = [d for d in dialogues if d.split == "train"]
        for name, found in (("train", learnt), (split, scored)):
            if not found:
                raise UserError(f"{corpus.name} has no {name} split", where="corpora", fix="check its directory")
        training += learnt
        held_out += scored
        every += [d for d in dialogues if d.split != "train"]
    kept, leaked = leakage.remove(training, every)
    return Corpora(kept, held_out, leaked, quarantine, training, every)
