"""What was imported, counted as it is written, and what ``import.json`` says of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from selfemo.data.dialogue import Dialogue
from selfemo.data.intake.files import SourceFile
from selfemo.data.intake.naming import in_order
from selfemo.data.intake.plan import ImportPlan
from selfemo.data.intake.refusals import Refusals
from selfemo.data.intake.splits import SPLITS

SCHEMA = "selfemo.import/1"


@dataclass
class Tally:
    """What was imported, counted as it is written."""

    dialogues: Counter[str] = field(default_factory=Counter)
    turns: Counter[str] = field(default_factory=Counter)
    labelled: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    votes: Counter[str] = field(default_factory=Counter)
    sets: Counter[tuple[str, ...]] = field(default_factory=Counter)
    voted: int = 0
    masked: Counter[str] = field(default_factory=Counter)

    def add(self, dialogue: Dialogue) -> None:
        """Count a dialogue."""
        split = dialogue.split
        self.dialogues[split] += 1
        self.turns[split] += len(dialogue.turns)
        for turn in dialogue.turns:
            self.labelled[split] += turn.gold is not None
            self.labels.update(turn.gold or ())
            self.voted += turn.votes is not None
            self.votes.update(turn.votes or ())
            if turn.gold and len(turn.gold) > 1:
                self.sets[turn.gold] += 1


def report_of(
    plan: ImportPlan, name: str, tally: Tally, rows: list[int], refusals: Refusals, redacted: bool
) -> dict[str, Any]:
    """What ``import.json`` says: files by name, size and hash, columns, counts; nothing of what was masked."""
    columns = {key: value for key, value in asdict(plan.columns).items() if value and key != "unsure"}
    return {
        "schema": SCHEMA,
        "name": name,
        "files": [
            {
                "name": table.source.path.name,
                **_size(table.source),
                "form": table.source.form,
                **({"split": table.source.split} if table.source.split else {}),
                **(
                    {"encoding": table.dialect.encoding.name, "delimiter": table.dialect.delimiter}
                    if table.dialect
                    else {}
                ),
                "rows": count,
            }
            for table, count in zip(plan.tables, rows, strict=True)
        ],
        "columns": columns,
        "splits": {"drawn": asdict(plan.shares) | {"seed": plan.options.seed}}
        if plan.shares
        else "as the source states",
        "counts": {
            split: {"dialogues": tally.dialogues[split], "turns": tally.turns[split], "labelled": tally.labelled[split]}
            for split in SPLITS
        },
        "labels": {label: tally.labels[label] for label in in_order(tally.labels, tally.votes)},
        "turns with several labels": sum(tally.sets.values()),
        "turns with votes": tally.voted,
        "left out": {"bad rows": refusals.count, **refusals.passed},
        "masked": dict(sorted(tally.masked.items())) if redacted else None,
    }


_READ = {"convokit": "*.json*", "iemocap": "**/Ses*.txt"}
"""Of a directory that is read as one source: its files."""


def _size(source: SourceFile) -> dict[str, Any]:
    """Bytes and sha256 of a source; of a directory, of its files together: names, sizes and bytes, in order."""
    if source.form not in _READ:
        with source.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": source.path.stat().st_size, "sha256": digest}
    files = sorted(path for path in source.path.glob(_READ[source.form]) if path.is_file())
    whole, size = hashlib.sha256(), 0
    for path in files:
        size += path.stat().st_size
        whole.update(f"{path.relative_to(source.path).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                whole.update(piece)
    return {"files": len(files), "bytes": size, "sha256": whole.hexdigest()}
