"""From the configuration's corpora to training and held-out dialogues."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from selfemo.config import Config
from selfemo.corpora import dailydialog, emorynlp, iemocap, leakage, meld, sample
from selfemo.corpora.rows import Rows
from selfemo.dialogue import Dialogue
from selfemo.errors import UserError

LOADERS: dict[str, Callable[[Path, Rows], Iterator[Dialogue]]] = {
    "meld": meld.load,
    "emorynlp": emorynlp.load_csv,
    "emorynlp-json": emorynlp.load_json,
    "iemocap4": iemocap.load_four,
    "iemocap6": iemocap.load_six,
    "dailydialog": dailydialog.load,
}


@dataclass
class Corpora:
    """Dialogues of a run.

    Attributes:
        training: Train splits, leakage removed.
        held_out: The evaluation split of each corpus, the gate corpus first.
        leaked: Utterances removed from training.
        quarantine: Bad rows that were skipped.
    """

    training: list[Dialogue]
    held_out: list[Dialogue]
    leaked: int
    quarantine: list[dict[str, str]]


def load_corpus(name: str, path: str | None, rows: Rows) -> list[Dialogue]:
    """All splits of one corpus.

    Raises:
        UserError: If it cannot be found or read.
    """
    if name == "sample":
        return list(sample.load())
    if path is None:
        raise UserError(f"{name} needs a path", where="corpora", fix="set path to the directory of your copy")
    expanded = os.path.expandvars(path)
    if "$" in expanded:
        raise UserError(
            f"a variable in {path!r} is not set", where="corpora", fix=f"export it, e.g. {path.split('/')[0]}"
        )
    directory = Path(expanded).expanduser()
    if not directory.is_dir():
        raise UserError(
            "no such directory", where=str(directory), fix=f"set path to the directory of your copy of {name}"
        )
    return list(LOADERS[name](directory, rows))


def load_corpora(config: Config) -> Corpora:
    """All corpora of a configuration.

    Raises:
        UserError: If a corpus cannot be read or lacks a split that the run needs.
    """
    training: list[Dialogue] = []
    held_out: list[Dialogue] = []
    every: list[Dialogue] = []
    quarantine: list[dict[str, str]] = []
    for corpus in config.corpora:
        rows = Rows(corpus.skip_bad)
        dialogues = load_corpus(corpus.name, corpus.path, rows)
        quarantine += rows.quarantine
        scored = [d for d in dialogues if d.split == config.evaluation.split and any(u.gold for u in d.turns)]
        learnt = [d for d in dialogues if d.split == "train"]
        for split, found in (("train", learnt), (config.evaluation.split, scored)):
            if not found:
                raise UserError(f"{corpus.name} has no {split} split", where="corpora", fix="check its directory")
        training += learnt
        held_out += scored
        every += [d for d in dialogues if d.split != "train"]
    training, leaked = leakage.remove(training, every)
    return Corpora(training, held_out, leaked, quarantine)
