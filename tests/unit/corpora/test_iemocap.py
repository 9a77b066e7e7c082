"""IEMOCAP: its transcripts and its annotators' labels, with six labels and with four."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfemo.data.corpora import load_corpus
from selfemo.data.corpora.rows import BadRows
from selfemo.errors import UserError
from tests.conftest import ROOT

EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes0{s}F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral; Sadness;\t()
C-F1:\tNeutral;\t(curious)
A-E3:\tval 3; act 2; dom  2;\t()

[10.0100 - 11.3925]\tSes0{s}F_impro01_M000\txxx\t[2.5000, 2.5000, 2.5000]
C-E2:\tFrustration;\t()

[14.8872 - 18.0175]\tSes0{s}F_impro01_M001\texc\t[2.0, 2.0, 2.0]
C-E2:\tExcited; Happiness;\t()

[19.0 - 20.0]\tSes0{s}F_impro01_F001\tfru\t[2.0, 2.0, 2.0]
C-E2:\tFrustration; Anger;\t()
"""
TRANSCRIPT = """Ses0{s}F_impro01_F000 [006.2901-008.2357]: Excuse me.
M: [LAUGHTER]
Ses0{s}F_impro01_M000 [010.0100-011.3925]: Do you have your forms? [BREATHING]
Ses0{s}F_impro01_M001 [014.8872-018.0175]: Yeah!
Ses0{s}F_impro01_FXX0 [018.1-018.2]: Mhm.
Ses0{s}F_impro01_F001 [019.0-020.0]: Let me see.
"""


@pytest.fixture
def iemocap(tmp_path: Path) -> Path:
    for session in range(1, 6):
        base = tmp_path / f"Session{session}" / "dialog"
        for folder, text in (("EmoEvaluation", EVALUATION), ("transcriptions", TRANSCRIPT)):
            (base / folder).mkdir(parents=True)
            (base / folder / f"Ses0{session}F_impro01.txt").write_text(text.replace("{s}", str(session)))
        (base / "transcriptions" / f"._Ses0{session}F_impro01.txt").write_bytes(b"\x00\x05\x16")
    return tmp_path


def test_iemocap_annotators_make_a_set_and_no_majority_is_context(iemocap: Path) -> None:
    dialogues = load_corpus("iemocap6", str(iemocap), BadRows())
    assert len(dialogues) == 5
    turns = dialogues[0].turns
    assert [u.speaker for u in turns] == ["Woman", "Man", "Man", "Woman"]
    assert [u.gold for u in turns] == [("neutral", "sad"), None, ("excited", "happy"), ("frustrated", "angry")]
    assert turns[1].text.endswith("[BREATHING]")
    assert dialogues[4].split == "test"
    assert dialogues[4].id.startswith("iemocap6/test/Ses05")


def test_iemocap_has_a_turn_a_line(iemocap: Path) -> None:
    for session in range(1, 6):
        file = iemocap / f"Session{session}" / "dialog" / "transcriptions" / f"Ses0{session}F_impro01.txt"
        file.write_text(file.read_text().replace("Excuse me.", "Excuse\u2028Ses me."), encoding="utf-8")
    assert load_corpus("iemocap6", str(iemocap), BadRows())[0].turns[0].text == "Excuse Ses me."


def test_iemocap_four_way_counts_excited_as_happy_and_drops_frustrated(iemocap: Path) -> None:
    turns = load_corpus("iemocap4", str(iemocap), BadRows())[0].turns
    assert [u.gold for u in turns] == [("neutral", "sad"), None, ("happy",), None]


def test_iemocap_bad_lines_are_named(iemocap: Path) -> None:
    file = iemocap / "Session1" / "dialog" / "transcriptions" / "Ses01F_impro01.txt"
    file.write_text("Ses01F_impro01_F000 oops\n")
    with pytest.raises(UserError, match=r"Ses01F_impro01\.txt:1: column transcription"):
        load_corpus("iemocap6", str(iemocap), BadRows())
    labels = iemocap / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    labels.write_text("[1 - 2] broken\n")
    with pytest.raises(UserError, match=r"Ses01F_impro01\.txt:1: column summary"):
        load_corpus("iemocap4", str(iemocap), BadRows())
    with pytest.raises(UserError, match="no Session1"):
        load_corpus("iemocap4", str(iemocap / "Session1"), BadRows())


def test_what_the_releases_codes_mean_stands_in_one_place() -> None:
    files = [file.name for file in (ROOT / "src").rglob("*.py") if '"fru"' in file.read_text(encoding="utf-8")]
    assert files == ["iemocap.py"]
