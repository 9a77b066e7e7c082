"""The corpora, a line each: labels, loader, terms. Who adds one writes a loader next to the others, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from selfemo.data.corpora import dailydialog, emorynlp, iemocap, meld, sample
from selfemo.data.corpora.rows import Rows
from selfemo.data.dialogue import Dialogue
from selfemo.data.labels import DAILYDIALOG, EMORYNLP, IEMOCAP4, IEMOCAP6, MELD, SAMPLE, LabelSpace


@dataclass(frozen=True)
class Corpus:
    """What is known of a corpus.

    Attributes:
        space: Its labels.
        load: Its dialogues, of all splits, from the directory of a copy; bad rows are handed to the second argument.
        terms: What its authors state; who uses a model checks the terms of the copy that was used.
        same_as: The corpus that holds the same conversations in another form or under other labels; a run takes one.
        shipped: It comes with this package, so that no directory is asked for.
    """

    space: LabelSpace
    load: Callable[[Path, Rows], Iterator[Dialogue]]
    terms: str
    same_as: str = ""
    shipped: bool = False


_EMORYNLP = "Apache-2.0 annotations on television dialogue"
_IEMOCAP = "USC's own licence: research, no redistribution"

CORPORA: dict[str, Corpus] = {
    "sample": Corpus(SAMPLE, sample.load, "made for this project", shipped=True),
    "meld": Corpus(MELD, meld.load, "GPL-3.0 annotations on television dialogue"),
    "emorynlp": Corpus(EMORYNLP, emorynlp.load_csv, _EMORYNLP),
    "emorynlp-json": Corpus(EMORYNLP, emorynlp.load_json, _EMORYNLP, same_as="emorynlp"),
    "iemocap4": Corpus(IEMOCAP4, iemocap.load_four, _IEMOCAP, same_as="iemocap6"),
    "iemocap6": Corpus(IEMOCAP6, iemocap.load_six, _IEMOCAP),
    "dailydialog": Corpus(DAILYDIALOG, dailydialog.load, "CC BY-NC-SA 4.0: no commercial use"),
}
"""By the name that configurations and `selfemo data` take."""

SPACES: dict[str, LabelSpace] = {name: corpus.space for name, corpus in CORPORA.items()}
"""Label space by corpus name."""
