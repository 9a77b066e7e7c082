"""MELD: its published counts where its files are here, its CSV in small where they are not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from selfemo.data.corpora import load_corpus
from selfemo.data.corpora.rows import BadRows, clean
from selfemo.data.dialogue import Dialogue
from selfemo.errors import UserError
from tests.unit.corpora.meld import GOOD, MELD_HEADER, write_meld
from tests.unit.corpora.separators import SEPARATORS


def _counts(dialogues: list[Dialogue], split: str) -> tuple[int, int, Counter[str]]:
    mine = [d for d in dialogues if d.split == split]
    return len(mine), sum(len(d.turns) for d in mine), Counter(u.gold[0] for d in mine for u in d.turns if u.gold)


def test_meld_has_its_published_counts(meld_directory: Path) -> None:
    dialogues = load_corpus("meld", str(meld_directory), BadRows())
    assert _counts(dialogues, "train") == (
        1038,
        9989,
        Counter(neutral=4710, joy=1743, surprise=1205, anger=1109, sadness=683, disgust=271, fear=268),
    )
    assert _counts(dialogues, "dev") == (
        114,
        1109,
        Counter(neutral=470, joy=163, surprise=150, anger=153, sadness=111, disgust=22, fear=40),
    )


def test_meld_dialogues_are_keyed_by_split_and_ordered_by_utterance(tmp_path: Path) -> None:
    first = "2,What?,Monica,surprise,negative,0,0,4,7,a,b"
    dialogues = load_corpus("meld", str(write_meld(tmp_path / "m", GOOD, first)), BadRows())
    assert [d.id for d in dialogues] == ["meld/train/0", "meld/dev/0"]
    assert [u.text for u in dialogues[0].turns] == ["What?", "Oh my God, he's lost it."]


def test_windows_1252_copies_read_like_clean_ones(tmp_path: Path) -> None:
    dialogues = load_corpus("meld", str(write_meld(tmp_path / "m", GOOD, encoding="cp1252")), BadRows())
    assert dialogues[0].turns[0].text == "Oh my God, he's lost it."
    assert clean("it\x92s  \u201cfine\u201d") == 'it\'s "fine"'


@pytest.mark.parametrize(
    ("row", "column", "problem"),
    [
        ("1,Hi,Ross,glee,x,0,0,1,1,a,b", "Emotion", "'glee' is not one of neutral"),
        ("1,Hi,Ross,joy,x,zero,0,1,1,a,b", "Dialogue_ID", "'zero' is not a whole number"),
        ("1,Hi,Ross,joy,x,\u00b2,0,1,1,a,b", "Dialogue_ID", "'\u00b2' is not a whole number"),
        ("1,Hi,Ross,joy,x,0," + "9" * 5000 + ",1,1,a,b", "Utterance_ID", "is not a whole number"),
        ("1,Hi,Ross,joy,x,0,1.5,1,1,a,b", "Utterance_ID", "'1.5' is not a whole number"),
        ("2,Hi,Ross,joy,x,0,1,1,1,a,b", "Utterance_ID", "Dialogue_ID 0, Utterance_ID 1 was there in line 2"),
        ("Hi,Ross,neutral,neutral,0,1,1,1,a,b", "EndTime", "wrong number of fields"),
        ("1,,Ross,joy,x,0,0,1,1,a,b", "Utterance", "no text"),
        ('1,"Hi,Ross,joy,x,0,0,1,1,a,b\r\n2,"Ho",Ben,joy,x,0,2,1,1,a,b', "Utterance", "not CSV from here on"),
        ('1,"Hi,Ross,joy,x,0,0,1,1,a,b\r\n2,",Ben,joy,x,0,2,1,1,a,b', "Utterance", "a cell holds other rows"),
        ("1,Hi,Ross", "Emotion", "wrong number of fields"),
    ],
)
def test_a_bad_row_is_an_error_with_file_line_and_column_or_goes_to_quarantine(
    tmp_path: Path, row: str, column: str, problem: str
) -> None:
    path = write_meld(tmp_path / "m", GOOD, row)
    with pytest.raises(UserError) as error:
        load_corpus("meld", str(path), BadRows())
    assert f"train_sent_emo.csv:3: column {column}" in str(error.value)
    assert problem in str(error.value)
    rows = BadRows(skip_bad=True)
    assert len(load_corpus("meld", str(path), rows)) == 2
    assert len(rows.quarantine) == 2


@pytest.mark.parametrize(("character", "read"), [*((c, " ") for c in SEPARATORS), ("\x85", "\u2026")])
def test_only_a_line_feed_ends_a_row(tmp_path: Path, character: str, read: str) -> None:
    row = f"1,Well{character}where is it?,Ann,neutral,neutral,0,0,1,1,a,b"
    dialogues = load_corpus(
        "meld", str(write_meld(tmp_path / "m", row, "2,Over there.,Ben,joy,positive,0,1,1,1,a,b")), BadRows()
    )
    assert [(u.speaker, u.text) for u in dialogues[0].turns] == [
        ("Ann", f"Well{read}where is it?"),
        ("Ben", "Over there."),
    ]


def test_a_quoted_cell_may_hold_lines_and_rows_may_end_as_on_any_system(tmp_path: Path) -> None:
    path = write_meld(tmp_path / "m")
    for end in ("\n", "\r\n", "\r"):
        rows = [
            MELD_HEADER.strip(),
            f'1,"Two{end}lines",Ann,joy,positive,0,0,1,1,a,b',
            "2,Oh,B,joy,positive,0,1,1,1,a,b",
        ]
        (path / "train_sent_emo.csv").write_bytes((end.join(rows) + end).encode())
        dialogues = load_corpus("meld", str(path), BadRows())
        assert [u.text for u in dialogues[0].turns] == ["Two lines", "Oh"]


def test_numbers_that_a_spreadsheet_wrote_are_read(tmp_path: Path) -> None:
    dialogues = load_corpus(
        "meld", str(write_meld(tmp_path / "m", "1,Hi.,Ann,joy,positive,0.0,1.0,1,1,a,b")), BadRows()
    )
    assert dialogues[0].id == "meld/train/0"


def test_a_header_that_is_no_csv_is_named(tmp_path: Path) -> None:
    path = write_meld(tmp_path / "m", GOOD)
    (path / "train_sent_emo.csv").write_text("x" * 200_000 + ",Speaker\nHi,Ross\n")
    with pytest.raises(UserError, match=r"train_sent_emo\.csv:1: not CSV"):
        load_corpus("meld", str(path), BadRows())


def test_a_missing_column_names_the_header(tmp_path: Path) -> None:
    path = write_meld(tmp_path / "m", GOOD)
    (path / "train_sent_emo.csv").write_text("Utterance,Speaker\nHi,Ross\n")
    with pytest.raises(UserError, match=r"train_sent_emo\.csv:1: column 'Emotion' is missing"):
        load_corpus("meld", str(path), BadRows())
