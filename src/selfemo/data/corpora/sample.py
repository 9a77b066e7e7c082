"""The sample corpus: everyday dialogues written for this project, in the form :mod:`selfemo.data.dialogue` defines."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

from selfemo.data.corpora.rows import BadRows
from selfemo.data.dialogue import Dialogue, read_jsonl
from selfemo.data.labels import LabelSpace


def load(_: Path, __: BadRows, ___: LabelSpace) -> Iterator[Dialogue]:
    """All three splits; they lie in the package, and hold no bad rows."""
    for split in ("train", "dev", "test"):
        with as_file(files("selfemo.data.corpora") / "data" / f"sample_{split}.jsonl") as path:
            yield from read_jsonl(path)
