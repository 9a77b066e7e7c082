"""DailyDialog (CC-BY-NC-SA-4.0): ``{train,validation,test}/dialogues_*.txt`` and ``dialogues_emotion_*.txt``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from selfemo.data.corpora.rows import Rows, clean, read_text
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.labels import LabelSpace
from selfemo.data.text import lines
from selfemo.errors import UserError

FOLDERS = {"train": "train", "dev": "validation", "test": "test"}
END = "__eou__"


def load(path: Path, rows: Rows, space: LabelSpace) -> Iterator[Dialogue]:
    """Dialogues of all splits; the two speakers are A and B, in turns. Emotions are numbers, in the labels' order."""
    names = {str(number): label for number, label in enumerate(space.labels)}
    for split, folder in FOLDERS.items():
        said = path / folder / f"dialogues_{folder}.txt"
        felt = path / folder / f"dialogues_emotion_{folder}.txt"
        texts = [line for line in lines(read_text(said)) if line.strip()]
        codes = [(n, line) for n, line in enumerate(lines(read_text(felt)), 1) if line.strip()]
        if len(texts) != len(codes):
            raise UserError(
                f"{len(codes)} dialogues, but {len(texts)} in {said.name}",
                where=str(felt),
                fix="use files of one release",
            )
        for number, (text, (line, emotions)) in enumerate(zip(texts, codes, strict=True), 1):
            turns = [clean(t) for t in text.split(END) if t.strip()]
            labels = emotions.split()
            unknown = next((x for x in labels if x not in names), None)
            if len(turns) != len(labels):
                rows.bad(felt, line, "emotion", f"{len(labels)} emotions for {len(turns)} turns", emotions)
            elif unknown is not None:
                rows.bad(felt, line, f"emotion {labels.index(unknown) + 1}", f"{unknown!r} is not 0..6", emotions)
            else:
                utterances = tuple(
                    Utterance(speaker="AB"[i % 2], text=t, gold=(names[x],))
                    for i, (t, x) in enumerate(zip(turns, labels, strict=True))
                )
                name = f"dailydialog/{split}/{number}"
                yield Dialogue(id=name, corpus="dailydialog", split=split, turns=utterances)
