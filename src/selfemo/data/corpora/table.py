"""The corpora, a line each: loader and terms. Who adds one writes a loader, a file of its labels, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from selfemo.data.corpora import dailydialog, emorynlp, iemocap, meld, sample
from selfemo.data.corpora.rows import BadRows
from selfemo.data.dialogue import Dialogue
from selfemo.data.label_file import shipped_space, spaces_at
from selfemo.data.labels import LabelSpace


@dataclass(frozen=True)
class Corpus:
    """What is known of a corpus; its labels are in ``data/spaces/``, in a file of its name.

    Attributes:
        load: Its dialogues, of all splits, from the directory of a copy; bad rows are handed to the second argument,
            labels are of the third.
        terms: What its authors state; who uses a model checks the terms of the copy that was used.
        same_as: The corpus that holds the same conversations in another form or under other labels; a run takes one.
        shipped: It comes with this package, so that no directory is asked for.
    """

    load: Callable[[Path, BadRows, LabelSpace], Iterator[Dialogue]]
    terms: str
    same_as: str = ""
    shipped: bool = False


_EMORYNLP = "Apache-2.0 annotations on television dialogue"
_IEMOCAP = "USC's own licence: research, no redistribution"

CORPORA: dict[str, Corpus] = {
    "sample": Corpus(sample.load, "made for this project", shipped=True),
    "meld": Corpus(meld.load, "GPL-3.0 annotations on television dialogue"),
    "emorynlp": Corpus(emorynlp.load_csv, _EMORYNLP),
    "emorynlp-json": Corpus(emorynlp.load_json, _EMORYNLP, same_as="emorynlp"),
    "iemocap4": Corpus(iemocap.load, _IEMOCAP, same_as="iemocap6"),
    "iemocap6": Corpus(iemocap.load, _IEMOCAP),
    "dailydialog": Corpus(dailydialog.load, "CC BY-NC-SA 4.0: no commercial use"),
}
"""By the name that configurations and `selfemo data` take."""


def spaces_in(directory: Path) -> dict[str, LabelSpace]:
    """The label spaces that go with prepared data or scores; of what an older version made, those shipped."""
    return spaces_at(directory) or shipped_spaces()


def shipped_spaces() -> dict[str, LabelSpace]:
    """The label spaces of all of them, by name."""
    return {name: shipped_space(name) for name in CORPORA}
