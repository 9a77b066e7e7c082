"""An import as people call it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfemo.cli import main
from selfemo.data.dialogue import Dialogue, read_jsonl


@dataclass
class Imported:
    """What ``selfemo data import`` did."""

    code: int
    output: str
    out: Path

    @property
    def dialogues(self) -> list[Dialogue]:
        assert self.code == 0, self.output
        return list(read_jsonl(self.out / "dialogues.jsonl"))

    @property
    def report(self) -> Any:
        return json.loads((self.out / "import.json").read_text(encoding="utf-8"))

    @property
    def said(self) -> list[list[tuple[str, str]]]:
        return [[(t.speaker, t.text) for t in d.turns] for d in self.dialogues]

    @property
    def gold(self) -> list[list[tuple[str, ...] | None]]:
        return [[t.gold for t in d.turns] for d in self.dialogues]


class Importer:
    """Runs the command in this process."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path

    def __call__(self, *args: str | Path, out: str = "corpus") -> Imported:
        done = CliRunner().invoke(main, ["data", "import", *map(str, args), "--out", str(self.path / out)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Imported(done.exit_code, " ".join(done.output.split()), self.path / out)


@pytest.fixture
def importer(tmp_path: Path) -> Importer:
    return Importer(tmp_path)
