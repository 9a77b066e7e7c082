"""EmoryNLP, in its two versions, which must never be mixed.

``emorynlp``: the timestamp-aligned CSV of the MELD repository, the one ERC papers use.
``emorynlp-json``: the official JSON of emorynlp/emotion-detection (Apache-2.0).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from selfemo.data.corpora.rows import Rows, clean, read_csv, read_text
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.labels import EMORYNLP
from selfemo.errors import UserError

COLUMNS = ("Utterance", "Speaker", "Emotion", "Scene_ID", "Utterance_ID", "Season", "Episode")
JSON_SPLITS = {"train": "trn", "dev": "dev", "test": "tst"}
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")


def speakers(literal: str) -> str:
    """Speakers out of a printed Python list such as ``['Ross Geller', 'Joey']``; read as text, never evaluated."""
    names = [clean(a or b) for a, b in _QUOTED.findall(literal)] if literal.strip().startswith("[") else [literal]
    return " and ".join(n.strip() for n in names if n.strip()) or "Someone"


def load_csv(path: Path, rows: Rows) -> Iterator[Dialogue]:
    """Scenes of ``emorynlp_{train,dev,test}_final.csv``, keyed by season, episode and scene."""
    if not (path / "emorynlp_train_final.csv").exists() and list(path.glob("*.json")):
        raise UserError(
            "this is the official JSON version", where=str(path), fix="name the corpus emorynlp-json; never mix the two"
        )
    for split in ("train", "dev", "test"):
        file = path / f"emorynlp_{split}_final.csv"
        scenes: dict[tuple[int, ...], list[tuple[int, Utterance]]] = defaultdict(list)
        for line, row in read_csv(file, COLUMNS, rows):
            keys = ("Season", "Episode", "Scene_ID", "Utterance_ID")
            wrong = next((k for k in keys if not row[k].strip().isdigit()), None)
            if wrong is not None:
                rows.bad(file, line, wrong, f"{row[wrong]!r} is not a number", row)
                continue
            label = rows.label(row["Emotion"], EMORYNLP, file, line, "Emotion", row)
            text = clean(row["Utterance"])
            if label and not text:
                rows.bad(file, line, "Utterance", "no text", row)
            elif label:
                season, episode, scene, number = (int(row[k]) for k in keys)
                turn = Utterance(speaker=speakers(row["Speaker"]), text=text, gold=(label,))
                scenes[season, episode, scene].append((number, turn))
        for key, found in scenes.items():
            name = "-".join(map(str, key))
            ordered = tuple(u for _, u in sorted(found, key=lambda item: item[0]))
            yield Dialogue(id=f"emorynlp/{split}/{name}", corpus="emorynlp", split=split, turns=ordered)


def load_json(path: Path, rows: Rows) -> Iterator[Dialogue]:
    """Scenes of ``emotion-detection-{trn,dev,tst}.json``: ``episodes[].scenes[].utterances[]``."""
    if list(path.glob("emorynlp_*_final.csv")):
        raise UserError(
            "this is the CSV version of the MELD repository", where=str(path),
            fix="name the corpus emorynlp; never mix the two",
        )  # fmt: skip
    for split, short in JSON_SPLITS.items():
        file = path / f"emotion-detection-{short}.json"
        text = read_text(file)
        try:
            data = json.loads(text)
            episodes = data["episodes"]
        except json.JSONDecodeError as error:
            raise UserError(f"not JSON: {error.msg}", where=f"{file}:{error.lineno}: column {error.colno}") from None
        except (KeyError, TypeError):
            raise UserError("no list of episodes", where=f"{file}:1", fix="use the official release's files") from None
        for episode in episodes:
            for scene in episode.get("scenes", ()):
                turns = []
                for utterance in scene.get("utterances", ()):
                    turn = _utterance(utterance, file, text, rows)
                    if turn is not None:
                        turns.append(turn)
                if turns:
                    name = f"emorynlp-json/{split}/{scene.get('scene_id')}"
                    yield Dialogue(id=name, corpus="emorynlp-json", split=split, turns=tuple(turns))


def _utterance(row: dict[str, object], file: Path, text: str, rows: Rows) -> Utterance | None:
    name = str(row.get("utterance_id"))
    line = text.count("\n", 0, max(0, text.find(f'"{name}"'))) + 1
    label = rows.label(str(row.get("emotion")), EMORYNLP, file, line, f"{name}.emotion", row)
    said = clean(str(row.get("transcript") or ""))
    if label and not said:
        rows.bad(file, line, f"{name}.transcript", "no text", row)
        return None
    named = row.get("speakers")
    who = " and ".join(clean(str(s)) for s in named) if isinstance(named, list) else ""
    return Utterance(speaker=who or "Someone", text=said, gold=(label,)) if label else None
