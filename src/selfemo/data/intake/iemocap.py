"""IEMOCAP's release as rows, with every annotator's vote (``C-E1: Happiness;``), self-evaluations left out.

The shipped corpora iemocap4 and iemocap6 read the same files into the field's label sets; this reads all labels.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selfemo.data.corpora.files import read_text
from selfemo.data.corpora.iemocap import CODES, SPOKEN, SUMMARY, WORDS
from selfemo.data.text import lines
from selfemo.errors import UserError

_VOTE = re.compile(r"C-E\d+:\t?\s*([^\t(]*)")
_TURN = re.compile(r"Ses\d\d[FM]_.*_([FM])\d+$")


def rows(path: Path, refuse: Callable[[Path, int | str, str, str], None]) -> Iterator[dict[str, Any]]:
    """Turns in order, with columns dialogue, speaker, text, emotion, votes and session.

    The majority label is the release's own; a turn without one (``xxx``) has votes alone.

    Raises:
        UserError: If there are labels but no transcriptions.
    """
    folders = sorted(path.glob("**/EmoEvaluation"))
    for folder in folders:
        spoken = folder.parent / "transcriptions"
        if not spoken.is_dir():
            raise UserError("no transcriptions beside it", where=str(folder), fix="give the release's top directory")
        for file in sorted(spoken.glob("Ses*.txt")):
            labels = _labels(folder / file.name, refuse)
            for number, line in enumerate(lines(read_text(file)), 1):
                match = SPOKEN.match(line)
                turn = _TURN.match(match.group(1)) if match else None
                if match and turn:
                    emotion, votes = labels.get(match.group(1), (None, None))
                    yield {
                        "dialogue": file.stem,
                        "speaker": "Woman" if turn.group(1) == "F" else "Man",
                        "text": match.group(2),
                        "emotion": emotion,
                        "votes": votes,
                        "session": file.stem[:5],
                    }
                elif match is None and line.startswith(("Ses", "[")):
                    refuse(file, number, "transcription", "not `ID [start-end]: text`")


def _labels(
    file: Path, refuse: Callable[[Path, int | str, str, str], None]
) -> dict[str, tuple[str | None, dict[str, int] | None]]:
    majority: dict[str, str | None] = {}
    votes: dict[str, Counter[str]] = {}
    current = ""
    for number, line in enumerate(lines(read_text(file)), 1):
        if match := SUMMARY.match(line):
            current, code = match.groups()
            if code != "xxx" and code not in CODES:
                refuse(file, number, "summary", f"{code[:40]!r} is no emotion of the release")
            majority[current], votes[current] = CODES.get(code), Counter()
        elif line.startswith("[") and not line.startswith("[START_TIME"):
            refuse(file, number, "summary", "not `[start - end]<tab>id<tab>label<tab>[v, a, d]`")
            current = ""
        elif current and (vote := _VOTE.match(line)):
            for word in filter(None, (w.strip().lower() for w in vote.group(1).split(";"))):
                votes[current][WORDS.get(word, word)] += 1
    return {turn: (label, dict(votes[turn]) or None) for turn, label in majority.items()}
