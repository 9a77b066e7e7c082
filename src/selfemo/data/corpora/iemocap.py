"""IEMOCAP: the official release, read from a user's own copy (the licence forbids handing it on).

Labels: ``Session{1..5}/dialog/EmoEvaluation/Ses*.txt``; text: ``Session{1..5}/dialog/transcriptions/Ses*.txt``.
The majority label is primary; what single annotators named (``C-*`` lines) makes the gold a set. Turns with
no majority, or one outside the label space, stay as context and are not scored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from selfemo.data.corpora.files import read_text
from selfemo.data.corpora.rows import BadRows, clean
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.labels import LabelSpace
from selfemo.data.seeds import seed_of
from selfemo.data.text import lines
from selfemo.errors import UserError

SUMMARY = re.compile(r"\[[\d.]+ - [\d.]+\]\t(\S+)\t(\S+)\t\[.*\]")
"""A turn's line of a label file: its id, and the code of its majority label."""
SPOKEN = re.compile(r"(\S+) \[[\d.]+-[\d.]+\]:\s?(.*)")
"""A turn's line of a transcription: its id, and what was said."""
_TURN = re.compile(r"Ses\d\d([FM])_.*_([FM])\d+$")

CODES = {
    "neu": "neutral",
    "hap": "happiness",
    "sad": "sadness",
    "ang": "anger",
    "exc": "excited",
    "fru": "frustration",
    "fea": "fear",
    "sur": "surprise",
    "dis": "disgust",
    "oth": "other",
}
"""The release's codes; what each counts as, a label space's aliases say. ``xxx`` is none: there was no majority."""
WORDS = {"neutral state": "neutral"}
"""What annotators call a label that has another name as well."""


def load(path: Path, rows: BadRows, space: LabelSpace) -> Iterator[Dialogue]:
    """Dialogues under six labels or four: of four, one stands for two of the six, and one is not scored."""
    corpus, words = space.name, {*CODES.values()}
    names = {word: label for word in words if (label := space.lookup(word))}
    within = path / "IEMOCAP_full_release"  # what its archive unpacks to
    where = path if not within.is_dir() else within
    sessions = [s for s in sorted(where.glob("Session[1-5]")) if s.is_dir()]
    if not sessions:
        raise UserError("no Session1..Session5 here", where=str(path), fix="give the release's top directory")
    for session in sessions:
        for file in sorted((session / "dialog" / "transcriptions").glob("Ses*.txt")):
            labels = _labels(session / "dialog" / "EmoEvaluation" / file.name, rows, names)
            turns = tuple(_turns(file, rows, labels, space))
            if turns:
                name = f"{corpus}/{_split(session, file.stem)}/{file.stem}"
                yield Dialogue(id=name, corpus=corpus, split=_split(session, file.stem), turns=turns)


def _split(session: Path, dialogue: str) -> str:
    """Session 5 is test; a tenth of the other dialogues, fixed by name, is dev (the release has no dev split)."""
    if session.name == "Session5":
        return "test"
    return "dev" if seed_of("iemocap dev", dialogue) % 10 == 0 else "train"


def _labels(file: Path, rows: BadRows, names: dict[str, str]) -> dict[str, tuple[str, ...] | None]:
    """Gold sets by utterance; None where there is nothing to score."""
    gold: dict[str, tuple[str, ...] | None] = {}
    current, primary = "", None
    for number, line in enumerate(lines(read_text(file)), 1):
        if match := SUMMARY.match(line):
            current, code = match.groups()
            primary = names.get(CODES.get(code, ""))
            gold[current] = (primary,) if primary else None
        elif line.startswith("["):
            if not line.startswith("[START_TIME"):  # the header, with or without a leading per cent sign
                rows.bad(file, number, "summary", "not `[start - end]<tab>id<tab>label<tab>[v, a, d]`", line)
                current = ""
        elif line.startswith("C-") and current and primary:
            chosen = line.split("\t")[1] if "\t" in line else ""
            for word in chosen.split(";"):
                said = word.strip().lower()
                label = names.get(WORDS.get(said, said))
                so_far = gold[current] or ()
                if label and label not in so_far:
                    gold[current] = (*so_far, label)
    return gold


def _turns(
    file: Path, rows: BadRows, labels: dict[str, tuple[str, ...] | None], space: LabelSpace
) -> Iterator[Utterance]:
    for number, line in enumerate(lines(read_text(file)), 1):
        if not line.strip():
            continue
        match = SPOKEN.match(line)
        if match is None:
            if line.startswith(("Ses", "[")):  # unlabelled asides such as "M: [LAUGHTER]" are known, and left out
                rows.bad(file, number, "transcription", "not `ID [start-end]: text`", line)
            continue
        name, text = match.groups()
        turn = _TURN.match(name)
        if turn is None:
            if not re.match(r"Ses\d\d[FM]_.*XX", name):  # overlapping speech of no annotated turn
                rows.bad(file, number, "id", f"{name!r} does not tell the speaker", line)
            continue
        yield Utterance(
            speaker="Woman" if turn.group(2) == "F" else "Man", text=clean(text) or "...", gold=labels.get(name)
        )
