"""MELD: ``{train,dev,test}_sent_emo.csv`` of declare-lab/MELD (GPL-3.0)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from selfemo.data.corpora.files import find
from selfemo.data.corpora.rows import BadRows, clean, read_csv
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.labels import LabelSpace

COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")


def load(path: Path, rows: BadRows, space: LabelSpace) -> Iterator[Dialogue]:
    """Dialogues of all splits that the directory holds.

    Dialogue ids restart in each split, so they are keyed by split. Utterance ids have gaps; their order counts.
    """
    for split in ("train", "dev", "test"):
        file = find(path, f"{split}_sent_emo.csv", split, "data/MELD")  # as in MELD.Raw.tar.gz, and in the repository
        if not file.exists() and split == "test":
            continue  # the test split is often kept apart
        turns: dict[int, list[tuple[int, Utterance]]] = defaultdict(list)
        seen: dict[tuple[int, ...], int] = {}
        for line, row in read_csv(file, COLUMNS, rows):
            key = rows.key(row, ("Dialogue_ID", "Utterance_ID"), file, line, seen)
            if key is None:
                continue
            label = rows.label(row["Emotion"], space, file, line, "Emotion", row)
            text = clean(row["Utterance"])
            if label and not text:
                rows.bad(file, line, "Utterance", "no text", row)
            elif label:
                speaker = clean(row["Speaker"]) or "Someone"
                turns[key[0]].append((key[1], Utterance(speaker=speaker, text=text, gold=(label,))))
        for dialogue, found in turns.items():
            ordered = tuple(u for _, u in sorted(found, key=lambda item: item[0]))
            yield Dialogue(id=f"meld/{split}/{dialogue}", corpus="meld", split=split, turns=ordered)
