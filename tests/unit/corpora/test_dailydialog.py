"""DailyDialog: a dialogue a line, and its codes of emotions."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfemo.data.corpora import load_corpus
from selfemo.data.corpora.rows import BadRows
from selfemo.errors import UserError
from tests.unit.corpora.separators import SEPARATORS


def _daily(path: Path, emotions: str) -> Path:
    for folder in ("train", "validation", "test"):
        (path / folder).mkdir(parents=True, exist_ok=True)
        (path / folder / f"dialogues_{folder}.txt").write_text("Hi ! __eou__ Go away . __eou__\n")
        (path / folder / f"dialogues_emotion_{folder}.txt").write_text(emotions + "\n")
    return path


def test_dailydialog_maps_codes_by_name(tmp_path: Path) -> None:
    dialogues = load_corpus("dailydialog", str(_daily(tmp_path, "4 1")), BadRows())
    assert [u.gold for u in dialogues[0].turns] == [("happiness",), ("anger",)]
    assert [d.split for d in dialogues] == ["train", "dev", "test"]


@pytest.mark.parametrize(
    ("emotions", "problem"),
    [
        ("4", "1 emotions for 2 turns"),
        ("4 9", r"emotion_train\.txt:1: .*'9' is not"),
        ("4 1\n0 0", r"dialogues_train\.txt:2: nothing here, but a dialogue in dialogues_emotion_train\.txt"),
        ("\n4 1", r"emotion_train\.txt:1: nothing here, but a dialogue"),
    ],
)
def test_dailydialog_bad_lines_are_named(tmp_path: Path, emotions: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        load_corpus("dailydialog", str(_daily(tmp_path, emotions)), BadRows())


@pytest.mark.parametrize("separator", [*SEPARATORS, "\x85"])
def test_dailydialog_has_a_dialogue_a_line(tmp_path: Path, separator: str) -> None:
    path = _daily(tmp_path, "4 1")
    for folder in ("train", "validation", "test"):
        said = f"Hi{separator}there ! __eou__ Go away . __eou__\n"
        (path / folder / f"dialogues_{folder}.txt").write_text(said, encoding="utf-8")
    turns = load_corpus("dailydialog", str(path), BadRows())[0].turns
    assert turns[0].text == ("Hi\u2026there !" if separator == "\x85" else "Hi there !")
