"""EmoryNLP, in its two versions, which must never be mixed.

``emorynlp``: the timestamp-aligned CSV of the MELD repository, the one ERC papers use.
``emorynlp-json``: the official JSON of emorynlp/emotion-detection (Apache-2.0).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from selfemo.data.corpora.files import find, read_text
from selfemo.data.corpora.rows import BadRows, clean, read_csv
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError

COLUMNS = ("Utterance", "Speaker", "Emotion", "Scene_ID", "Utterance_ID", "Season", "Episode")
JSON_SPLITS = {"train": "trn", "dev": "dev", "test": "tst"}
# What was looked through is not looked at again (*+, and a closing quote that may be missing): linear in the cell.
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*+)('?)|\"((?:[^\"\\]|\\.)*+)(\"?)")

_ID = re.compile(r'"(?:utterance|scene|episode)_id"\s*:\s*"([^"\\]*)"')


def speakers(literal: str) -> str:
    """Speakers out of a printed Python list such as ``['Ross Geller', 'Joey']``; read as text, never evaluated."""
    found = [a or b for a, single, b, double in _QUOTED.findall(literal) if single or double]
    names = map(clean, found) if literal.strip().startswith("[") else [literal]
    return " and ".join(n.strip() for n in names if n.strip()) or "Someone"


def load_csv(path: Path, rows: BadRows, space: LabelSpace) -> Iterator[Dialogue]:
    """Scenes of ``emorynlp_{train,dev,test}_final.csv``, keyed by season, episode and scene."""
    if not (path / "emorynlp_train_final.csv").exists() and list(path.glob("*.json")):
        raise UserError(
            "this is the official JSON version", where=str(path), fix="name the corpus emorynlp-json; never mix the two"
        )
    for split in ("train", "dev", "test"):
        file = find(path, f"emorynlp_{split}_final.csv", "data/emorynlp")  # as in MELD's repository
        scenes: dict[tuple[int, ...], list[tuple[int, Utterance]]] = defaultdict(list)
        seen: dict[tuple[int, ...], int] = {}
        for line, row in read_csv(file, COLUMNS, rows):
            key = rows.key(row, ("Season", "Episode", "Scene_ID", "Utterance_ID"), file, line, seen)
            if key is None:
                continue
            label = rows.label(row["Emotion"], space, file, line, "Emotion", row)
            text = clean(row["Utterance"])
            if label and not text:
                rows.bad(file, line, "Utterance", "no text", row)
            elif label:
                turn = Utterance(speaker=speakers(row["Speaker"]), text=text, gold=(label,))
                scenes[key[:-1]].append((key[-1], turn))
        for scene, found in scenes.items():
            name = "-".join(map(str, scene))
            ordered = tuple(u for _, u in sorted(found, key=lambda item: item[0]))
            yield Dialogue(id=f"emorynlp/{split}/{name}", corpus="emorynlp", split=split, turns=ordered)


def load_json(path: Path, rows: BadRows, space: LabelSpace) -> Iterator[Dialogue]:
    """Scenes of ``emotion-detection-{trn,dev,tst}.json``: ``episodes[].scenes[].utterances[]``."""
    if list(path.glob("emorynlp_*_final.csv")):
        raise UserError(
            "this is the CSV version of the MELD repository",
            where=str(path),
            fix="name the corpus emorynlp; never mix the two",
        )
    for split, short in JSON_SPLITS.items():
        file = find(path, f"emotion-detection-{short}.json", "json")  # as in the project's repository
        found = _read(file, rows, space)
        scenes: set[str] = set()
        said: set[str] = set()
        for scene in found.objects(found.objects([found.data], "episodes"), "scenes"):
            name = clean(str(scene.get("scene_id")))
            if name in scenes:
                found.bad(scene, "scene_id", "was there before")
                continue
            scenes.add(name)
            turns = tuple(
                turn for u in found.objects([scene], "utterances") if (turn := found.turn(u, said)) is not None
            )
            if turns:
                yield Dialogue(id=f"emorynlp-json/{split}/{name}", corpus="emorynlp-json", split=split, turns=turns)


def _read(file: Path, rows: BadRows, space: LabelSpace) -> _Release:
    text = read_text(file)
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"not JSON: {error.msg}", where=f"{file}:{error.lineno}: column {error.colno}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; lists thousands deep
        raise UserError(f"not JSON that can be read: {error}", where=f"{file}:1") from None
    if not isinstance(data, dict) or "episodes" not in data:
        raise UserError("no list of episodes", where=f"{file}:1", fix="use the official release's files")
    return _Release(file, text, data, rows, space)


@dataclass(frozen=True)
class _Release:
    """A file of the official release: its text, the object in it, what becomes of its bad rows, and its labels."""

    file: Path
    text: str
    data: dict[str, Any]
    rows: BadRows
    space: LabelSpace

    @cached_property
    def lines(self) -> dict[str, int]:
        """The line of each scene and utterance by id: one pass, made when there is something to report."""
        lines: dict[str, int] = {}
        number, at = 1, 0
        for match in _ID.finditer(self.text):
            number += self.text.count("\n", at, match.start(1))
            at = match.start(1)
            lines.setdefault(match.group(1), number)
        return lines

    def bad(self, row: dict[str, Any], column: str, problem: str) -> None:
        """Report an object of the file."""
        self.rows.bad(self.file, partial(self.line, row), f"{_name(row)}.{column}", problem, row)

    def line(self, row: dict[str, Any]) -> int:
        """The line of a scene's or an utterance's id; 1 of an object that has none."""
        return self.lines.get(_name(row), 1)

    def objects(self, parents: Iterable[dict[str, Any]], key: str) -> Iterator[dict[str, Any]]:
        """The objects that some objects list under a key; whatever else stands there is reported."""
        for parent in parents:
            children = parent.get(key, [])
            if not isinstance(children, list):
                self.bad(parent, key, "not a list")
                continue
            for child in children:
                if isinstance(child, dict):
                    yield child
                else:
                    self.bad(parent, key, f"{str(child)[:40]!r} is not an object")

    def turn(self, row: dict[str, Any], seen: set[str]) -> Utterance | None:
        """An utterance, or None after reporting it; its id is added to those seen in the file."""
        if "utterance_id" in row and _name(row) in seen:
            self.bad(row, "utterance_id", "was there before")
            return None
        seen.add(_name(row))
        line, emotion = partial(self.line, row), str(row.get("emotion"))
        label = self.rows.label(emotion, self.space, self.file, line, f"{_name(row)}.emotion", row)
        said = clean(str(row.get("transcript") or ""))
        if label and not said:
            self.bad(row, "transcript", "no text")
            return None
        named = row.get("speakers")
        who = " and ".join(clean(str(s)) for s in named) if isinstance(named, list) else ""
        return Utterance(speaker=who or "Someone", text=said, gold=(label,)) if label else None


def _name(row: dict[str, Any]) -> str:
    """What an object calls itself."""
    return next((str(row[key]) for key in ("utterance_id", "scene_id", "episode_id") if key in row), "file")
