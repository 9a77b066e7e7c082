"""A corpus of one's own: ``dialogues.jsonl``, in the form :mod:`selfemo.data.dialogue` defines, all splits in one file.

Its labels lie beside it in ``labels.yaml`` (:mod:`selfemo.data.label_file`), or stand in the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from selfemo.data.corpora.rows import BadRows
from selfemo.data.dialogue import Dialogue, Utterance, parse_line
from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError

DIALOGUES = "dialogues.jsonl"
SPLITS = ("train", "dev", "test")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""What a corpus of one's own may be called: files, metrics and addresses have it in their names."""
TAKEN = ("expression",)
"""What figures have under that name is of no corpus."""


def load(path: Path, rows: BadRows, space: LabelSpace, name: str) -> Iterator[Dialogue]:
    """Dialogues of all splits; they become the corpus's of that name, whatever name they were written under.

    Args:
        path: Directory.
        rows: What becomes of bad rows.
        space: Its labels.
        name: Of the corpus.

    Raises:
        UserError: If there is no such file.
    """
    file = path / DIALOGUES
    try:
        source = file.open("rb")
    except FileNotFoundError:
        raise UserError(
            f"no {DIALOGUES} here", where=str(path), fix="give the directory of an imported corpus: selfemo data import"
        ) from None
    seen: dict[str, int] = {}
    with source:
        for line, text in enumerate(source, 1):
            try:
                dialogue = parse_line(text, f"{file}:{line}")
            except UserError as error:
                rows.bad(file, line, "(the whole)", error.message, text[:2000])
                continue
            if dialogue.id in seen:
                rows.bad(file, line, "id", f"{dialogue.id!r} was there in line {seen[dialogue.id]}", dialogue.id)
                continue
            seen[dialogue.id] = line
            if dialogue.split not in SPLITS:
                rows.bad(file, line, "split", f"{dialogue.split!r} is not one of {', '.join(SPLITS)}", dialogue.id)
                continue
            turns = [_turn(turn, number, file, line, rows, space) for number, turn in enumerate(dialogue.turns)]
            kept = tuple(turn for turn in turns if turn is not None)
            if kept:
                own = dialogue.id if dialogue.id.startswith(f"{name}/") else f"{name}/{dialogue.id}"
                yield dialogue.model_copy(update={"id": own, "corpus": name, "turns": kept})


def _turn(turn: Utterance, number: int, file: Path, line: int, rows: BadRows, space: LabelSpace) -> Utterance | None:
    """A turn with its labels as the space writes them, or None after reporting it; no gold is gold that nobody gave."""
    gold: list[str] = []
    for said in turn.gold or ():
        label = rows.label(said, space, file, line, f"turns.{number}.gold", turn.text)
        if label is None:
            return None
        if label not in gold:
            gold.append(label)
    votes: dict[str, float] = {}
    for said, share in (turn.votes or {}).items():
        label = rows.label(said, space, file, line, f"turns.{number}.votes", turn.text)
        if label is None:
            return None
        votes[label] = votes.get(label, 0.0) + share
    return turn.model_copy(update={"gold": tuple(gold) or None, "votes": votes or None})
