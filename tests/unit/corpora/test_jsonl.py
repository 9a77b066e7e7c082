"""Dialogues are written as lines of JSON, and read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfemo.data.dialogue import Dialogue, read_jsonl, write_jsonl
from selfemo.errors import UserError


def test_dialogues_round_trip_as_json_lines(tmp_path: Path, dialogues: list[Dialogue]) -> None:
    assert write_jsonl(tmp_path / "d.jsonl", dialogues) == len(dialogues)
    assert list(read_jsonl(tmp_path / "d.jsonl")) == dialogues
    assert all(u.gold is None for u in dialogues[0].hidden().turns)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"x": ' + "1" * 5000 + "}", "not JSON"),
        ("\udcff", "not UTF-8"),
        ('{"schema": "other"}', "schema is 'other'"),
        ('{"schema": "selfemo.dialogue/1", "id": "x", "corpus": "meld", "split": "dev", "turns": []}', "turns"),
    ],
)
def test_a_line_that_is_no_dialogue_is_named(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(line.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(UserError, match=problem) as error:
        list(read_jsonl(path))
    assert "d.jsonl:1" in str(error.value)
