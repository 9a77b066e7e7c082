"""DailyDialog (CC-BY-NC-SA-4.0): ``{train,validation,test}/dialogues_*.txt`` and ``dialogues_emotion_*.txt``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from selfemo.data.corpora.files import find, read_text
from selfemo.data.corpora.rows import BadRows, clean
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.labels import LabelSpace
from selfemo.data.text import lines
from selfemo.errors import UserError

FOLDERS = {"train": "train", "dev": "validation", "test": "test"}
END = "__eou__"


def load(path: Path, rows: BadRows, space: LabelSpace) -> Iterator[Dialogue]:
    """Dialogues of all splits; the two speakers are A and B, in turns. Emotions are numbers, in the labels' order."""
    names = {str(number): label for number, label in enumerate(space.labels)}
    for split, folder in FOLDERS.items():
        within = path / folder  # the archive holds train.zip, which unpacks to train/train
        said = find(within, f"dialogues_{folder}.txt", folder)
        felt = find(within, f"dialogues_emotion_{folder}.txt", folder)
        number = 0
        for line, (text, emotions) in enumerate(
            zip_longest(lines(read_text(said)), lines(read_text(felt)), fillvalue=""), 1
        ):
            if not text.strip() and not emotions.strip():
                continue
            if not text.strip() or not emotions.strip():  # all that follows could be one line off
                here, there = (felt, said) if text.strip() else (said, felt)
                raise UserError(
                    f"nothing here, but a dialogue in {there.name}",
                    where=f"{here}:{line}",
                    fix="use files of one release",
                )
            number += 1
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
