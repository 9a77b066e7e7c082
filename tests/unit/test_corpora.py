"""Corpora: the counts of the real ones where they are here, the official layouts in small where they are not."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfemo.config import load as load_config
from selfemo.data.corpora import leakage, load_corpus
from selfemo.data.corpora.emorynlp import _Release, speakers
from selfemo.data.corpora.rows import Rows, clean
from selfemo.data.dialogue import Dialogue, Utterance, read_jsonl, write_jsonl
from selfemo.data.text import lines, nfc
from selfemo.errors import UserError
from selfemo.steps.prepare import corpora_of

MELD_HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\r\n"


def _counts(dialogues: list[Dialogue], split: str) -> tuple[int, int, Counter[str]]:
    mine = [d for d in dialogues if d.split == split]
    return len(mine), sum(len(d.turns) for d in mine), Counter(u.gold[0] for d in mine for u in d.turns if u.gold)


# The sample corpus


def test_the_sample_corpus_is_large_and_varied_enough(dialogues: list[Dialogue]) -> None:
    turns = [u for d in dialogues for u in d.turns]
    assert len(dialogues) >= 120
    assert len(turns) >= 900
    shares = Counter(u.gold[0] for u in turns if u.gold)
    assert set(shares) == {"neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear"}
    assert max(shares.values()) / len(turns) < 0.65
    assert min(shares.values()) >= 20
    assert sum(len(u.gold or ()) > 1 for u in turns) >= 10


def test_the_sample_corpus_is_split_by_dialogue_without_leakage(dialogues: list[Dialogue]) -> None:
    assert {d.split for d in dialogues} == {"train", "dev", "test"}
    assert len({d.id for d in dialogues}) == len(dialogues)
    held_out = [d for d in dialogues if d.split != "train"]
    assert leakage.remove([d for d in dialogues if d.split == "train"], held_out)[1] == 0


# MELD


def test_meld_has_its_published_counts(meld_directory: Path) -> None:
    dialogues = load_corpus("meld", str(meld_directory), Rows())
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


def _meld(path: Path, *rows: str, encoding: str = "utf-8") -> Path:
    path.mkdir(exist_ok=True)
    for split in ("train", "dev"):
        (path / f"{split}_sent_emo.csv").write_bytes((MELD_HEADER + "\r\n".join(rows) + "\r\n").encode(encoding))
    return path


GOOD = '1,"Oh my God, he\u2019s lost it.",Phoebe,sadness,negative,0,1,4,7,a,b'


def test_meld_dialogues_are_keyed_by_split_and_ordered_by_utterance(tmp_path: Path) -> None:
    first = "2,What?,Monica,surprise,negative,0,0,4,7,a,b"
    dialogues = load_corpus("meld", str(_meld(tmp_path / "m", GOOD, first)), Rows())
    assert [d.id for d in dialogues] == ["meld/train/0", "meld/dev/0"]
    assert [u.text for u in dialogues[0].turns] == ["What?", "Oh my God, he's lost it."]


def test_windows_1252_copies_read_like_clean_ones(tmp_path: Path) -> None:
    dialogues = load_corpus("meld", str(_meld(tmp_path / "m", GOOD, encoding="cp1252")), Rows())
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
        ("1,Hi,Ross", "Emotion", "wrong number of fields"),
    ],
)
def test_a_bad_row_is_an_error_with_file_line_and_column_or_goes_to_quarantine(
    tmp_path: Path, row: str, column: str, problem: str
) -> None:
    path = _meld(tmp_path / "m", GOOD, row)
    with pytest.raises(UserError) as error:
        load_corpus("meld", str(path), Rows())
    assert f"train_sent_emo.csv:3: column {column}" in str(error.value)
    assert problem in str(error.value)
    rows = Rows(skip_bad=True)
    assert len(load_corpus("meld", str(path), rows)) == 2
    assert len(rows.quarantine) == 2


SEPARATORS = ("\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\u2028", "\u2029")


@pytest.mark.parametrize(("character", "read"), [*((c, " ") for c in SEPARATORS), ("\x85", "\u2026")])
def test_only_a_line_feed_ends_a_row(tmp_path: Path, character: str, read: str) -> None:
    row = f"1,Well{character}where is it?,Ann,neutral,neutral,0,0,1,1,a,b"
    dialogues = load_corpus(
        "meld", str(_meld(tmp_path / "m", row, "2,Over there.,Ben,joy,positive,0,1,1,1,a,b")), Rows()
    )
    assert [(u.speaker, u.text) for u in dialogues[0].turns] == [
        ("Ann", f"Well{read}where is it?"),
        ("Ben", "Over there."),
    ]


def test_a_quoted_cell_may_hold_lines_and_rows_may_end_as_on_any_system(tmp_path: Path) -> None:
    path = _meld(tmp_path / "m")
    for end in ("\n", "\r\n", "\r"):
        rows = [
            MELD_HEADER.strip(),
            f'1,"Two{end}lines",Ann,joy,positive,0,0,1,1,a,b',
            "2,Oh,B,joy,positive,0,1,1,1,a,b",
        ]
        (path / "train_sent_emo.csv").write_bytes((end.join(rows) + end).encode())
        dialogues = load_corpus("meld", str(path), Rows())
        assert [u.text for u in dialogues[0].turns] == ["Two lines", "Oh"]


def test_numbers_that_a_spreadsheet_wrote_are_read(tmp_path: Path) -> None:
    dialogues = load_corpus("meld", str(_meld(tmp_path / "m", "1,Hi.,Ann,joy,positive,0.0,1.0,1,1,a,b")), Rows())
    assert dialogues[0].id == "meld/train/0"


def test_a_header_that_is_no_csv_is_named(tmp_path: Path) -> None:
    path = _meld(tmp_path / "m", GOOD)
    (path / "train_sent_emo.csv").write_text("x" * 200_000 + ",Speaker\nHi,Ross\n")
    with pytest.raises(UserError, match=r"train_sent_emo\.csv:1: not CSV"):
        load_corpus("meld", str(path), Rows())


# Text


@given(st.text(alphabet="e\u0301\u0316x \uac00\u1100"))
def test_text_is_composed_as_unicode_says(text: str) -> None:
    assert nfc(text) == unicodedata.normalize("NFC", text)


def test_marks_beyond_what_any_writing_stacks_are_left_out() -> None:
    assert len(clean("e" + "\u0301\u0316" * 100_000)) == 30  # the first goes into the letter
    assert speakers("['" + "\\'" * 100_000) == "Someone"


@given(st.text())
def test_lines_are_those_of_a_text_file(text: str) -> None:
    assert lines(text) == re.split(r"\r\n|\r|\n", text)[: -1 if re.search(r"[\r\n]\Z", text) or not text else None]


def test_a_missing_column_names_the_header(tmp_path: Path) -> None:
    path = _meld(tmp_path / "m", GOOD)
    (path / "train_sent_emo.csv").write_text("Utterance,Speaker\nHi,Ross\n")
    with pytest.raises(UserError, match=r"train_sent_emo\.csv:1: column 'Emotion' is missing"):
        load_corpus("meld", str(path), Rows())


# EmoryNLP


def test_emorynlp_csv_groups_scenes_and_reads_speakers_as_text(tmp_path: Path) -> None:
    header = "Utterance,Speaker,Emotion,Scene_ID,Utterance_ID,Season,Episode,Start_Time,End_Time\n"
    rows = "Hey!,\"['Ross Geller']\",Joyful,4,2,1,3,a,b\nNo.,\"['Monica Geller', 'Joey']\",Mad,4,1,1,3,a,b\n"
    for split in ("train", "dev", "test"):
        (tmp_path / f"emorynlp_{split}_final.csv").write_text(header + rows)
    dialogues = load_corpus("emorynlp", str(tmp_path), Rows())
    assert dialogues[0].id == "emorynlp/train/1-3-4"
    assert dialogues[0].turns[0] == Utterance(speaker="Monica Geller and Joey", text="No.", gold=("mad",))
    with pytest.raises(UserError, match="never mix the two"):
        load_corpus("emorynlp-json", str(tmp_path), Rows())


def test_an_emorynlp_scene_holds_each_utterance_once(tmp_path: Path) -> None:
    header = "Utterance,Speaker,Emotion,Scene_ID,Utterance_ID,Season,Episode\n"
    for split in ("train", "dev", "test"):
        (tmp_path / f"emorynlp_{split}_final.csv").write_text(
            header + "Hey!,Joey,Joyful,4,2,1,3\nYo!,Joey,Joyful,4,2,1,3\n"
        )
    with pytest.raises(
        UserError, match=r"csv:3: column Utterance_ID: .*Scene_ID 4, Utterance_ID 2 was there in line 2"
    ):
        load_corpus("emorynlp", str(tmp_path), Rows())


def test_speakers_are_never_evaluated() -> None:
    assert speakers("[__import__('os').getcwd()]") == "os"
    assert speakers("""['O\\'Neil', "Ann"]""") == "O\\'Neil and Ann"
    assert speakers("[]") == "Someone"


EMORY_JSON = """{"season_id": "s01", "episodes": [{"episode_id": "s01_e01", "scenes": [
  {"scene_id": "s01_e01_c01", "utterances": [
    {"utterance_id": "s01_e01_c01_u001", "speakers": ["Monica Geller"], "transcript": "Nothing!", "emotion": "Scared"},
    {"utterance_id": "s01_e01_c01_u002", "speakers": [], "transcript": "Come on.", "emotion": "%s"}]}]}]}"""


def test_emorynlp_json_reads_the_official_layout(tmp_path: Path) -> None:
    for short in ("trn", "dev", "tst"):
        (tmp_path / f"emotion-detection-{short}.json").write_text(EMORY_JSON % "Peaceful")
    dialogues = load_corpus("emorynlp-json", str(tmp_path), Rows())
    assert [d.split for d in dialogues] == ["train", "dev", "test"]
    assert [u.gold for u in dialogues[0].turns] == [("scared",), ("peaceful",)]
    (tmp_path / "emotion-detection-trn.json").write_text(EMORY_JSON % "Bored")
    with pytest.raises(UserError, match=r"trn\.json:4: column s01_e01_c01_u002\.emotion: 'Bored'"):
        load_corpus("emorynlp-json", str(tmp_path), Rows())
    with pytest.raises(UserError, match="official JSON version"):
        load_corpus("emorynlp", str(tmp_path), Rows())
    (tmp_path / "emotion-detection-trn.json").write_text("{\n oops")
    with pytest.raises(UserError, match=r"trn\.json:2: column 2: not JSON"):
        load_corpus("emorynlp-json", str(tmp_path), Rows())


def _emory(path: Path, text: str) -> Path:
    for short in ("trn", "dev", "tst"):
        (path / f"emotion-detection-{short}.json").write_text(text)
    return path


def test_a_line_of_json_is_looked_for_only_to_report_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    monkeypatch.setattr(_Release, "line", lambda _, row: looked.append(row) or 4)
    load_corpus("emorynlp-json", str(_emory(tmp_path, EMORY_JSON % "Peaceful")), Rows())
    assert not looked
    load_corpus("emorynlp-json", str(_emory(tmp_path, EMORY_JSON % "Bored")), Rows(skip_bad=True))
    assert len(looked) == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"episodes": null}', "trn.json:1: column file.episodes: not a list"),
        ('{"episodes": ["x"]}', "column file.episodes: 'x' is not an object"),
        ('{"episodes": [{"episode_id": "e1",\n "scenes": null}]}', "trn.json:1: column e1.scenes: not a list"),
        ('{"episodes": [{"scenes": [\n{"scene_id": "c1", "utterances": 3}]}]}', "trn.json:2: column c1.utterances"),
        (
            '{"episodes": [{"scenes": [{"scene_id": "c1"},\n {"scene_id": "c1"}]}]}',
            "column c1.scene_id: was there before",
        ),
        ("[1]", "trn.json:1: no list of episodes"),
        ("[" * 100_000, "trn.json:1: not JSON that can be read"),
        ('{"episodes": ' + "1" * 5000 + "}", "trn.json:1: not JSON that can be read"),
    ],
)
def test_json_of_another_form_is_named(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(UserError, match=re.escape(problem)):
        load_corpus("emorynlp-json", str(_emory(tmp_path, text)), Rows())


def test_half_a_surrogate_pair_can_be_written_down(tmp_path: Path) -> None:
    text = (EMORY_JSON % "Peaceful").replace("Nothing!", "No\\ud800!").replace("Monica", "Mon\\udfff")
    dialogues = load_corpus(
        "emorynlp-json", str(_emory(tmp_path, text.replace('c01", "utt', 'c01\\ud800", "utt'))), Rows()
    )
    assert dialogues[0].id == "emorynlp-json/train/s01_e01_c01?"
    assert dialogues[0].turns[0] == Utterance(speaker="Mon? Geller", text="No?!", gold=("scared",))
    assert write_jsonl(tmp_path / "d.jsonl", dialogues) == 3


# IEMOCAP

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
    dialogues = load_corpus("iemocap6", str(iemocap), Rows())
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
    assert load_corpus("iemocap6", str(iemocap), Rows())[0].turns[0].text == "Excuse Ses me."


def test_iemocap_four_way_counts_excited_as_happy_and_drops_frustrated(iemocap: Path) -> None:
    turns = load_corpus("iemocap4", str(iemocap), Rows())[0].turns
    assert [u.gold for u in turns] == [("neutral", "sad"), None, ("happy",), None]


def test_iemocap_bad_lines_are_named(iemocap: Path) -> None:
    file = iemocap / "Session1" / "dialog" / "transcriptions" / "Ses01F_impro01.txt"
    file.write_text("Ses01F_impro01_F000 oops\n")
    with pytest.raises(UserError, match=r"Ses01F_impro01\.txt:1: column transcription"):
        load_corpus("iemocap6", str(iemocap), Rows())
    labels = iemocap / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    labels.write_text("[1 - 2] broken\n")
    with pytest.raises(UserError, match=r"Ses01F_impro01\.txt:1: column summary"):
        load_corpus("iemocap4", str(iemocap), Rows())
    with pytest.raises(UserError, match="no Session1"):
        load_corpus("iemocap4", str(iemocap / "Session1"), Rows())


# DailyDialog


def _daily(path: Path, emotions: str) -> Path:
    for folder in ("train", "validation", "test"):
        (path / folder).mkdir(parents=True, exist_ok=True)
        (path / folder / f"dialogues_{folder}.txt").write_text("Hi ! __eou__ Go away . __eou__\n")
        (path / folder / f"dialogues_emotion_{folder}.txt").write_text(emotions + "\n")
    return path


def test_dailydialog_maps_codes_by_name(tmp_path: Path) -> None:
    dialogues = load_corpus("dailydialog", str(_daily(tmp_path, "4 1")), Rows())
    assert [u.gold for u in dialogues[0].turns] == [("happiness",), ("anger",)]
    assert [d.split for d in dialogues] == ["train", "dev", "test"]


@pytest.mark.parametrize(
    ("emotions", "problem"),
    [("4", "1 emotions for 2 turns"), ("\n\n4 9", r"train\.txt:3: .*'9' is not"), ("4 1\n0 0", "2 dialogues")],
)
def test_dailydialog_bad_lines_are_named(tmp_path: Path, emotions: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        load_corpus("dailydialog", str(_daily(tmp_path, emotions)), Rows())


@pytest.mark.parametrize("separator", [*SEPARATORS, "\x85"])
def test_dailydialog_has_a_dialogue_a_line(tmp_path: Path, separator: str) -> None:
    path = _daily(tmp_path, "4 1")
    for folder in ("train", "validation", "test"):
        said = f"Hi{separator}there ! __eou__ Go away . __eou__\n"
        (path / folder / f"dialogues_{folder}.txt").write_text(said, encoding="utf-8")
    turns = load_corpus("dailydialog", str(path), Rows())[0].turns
    assert turns[0].text == ("Hi\u2026there !" if separator == "\x85" else "Hi there !")


# Leakage, paths, JSONL


def _dialogue(name: str, *texts: str, split: str = "train", gold: str = "joy") -> Dialogue:
    turns = tuple(Utterance(speaker="A", text=t, gold=(gold,)) for t in texts)
    return Dialogue(id=name, corpus="meld", split=split, turns=turns)


def test_held_out_utterances_leave_training_whatever_their_spelling() -> None:
    held_out = [_dialogue("h", "Well, that is just great!", "What?", split="test")]
    training = [_dialogue("a", "well that is JUST great", "What?"), _dialogue("b", "Well that is just great...")]
    kept, removed = leakage.remove(training, held_out)
    assert removed == 2
    assert [(d.id, [u.text for u in d.turns]) for d in kept] == [("a", ["What?"])]  # short speech is common speech


def test_a_run_removes_leakage_across_corpora(tmp_path: Path) -> None:
    dialogue = next(d for d in load_corpus("sample", None, Rows()) if d.split == "dev")
    text = max((u.text for u in dialogue.turns), key=len)
    path = _meld(tmp_path / "m", GOOD, f'2,"{text}",Ross,joy,x,1,0,1,1,a,b')
    (path / "dev_sent_emo.csv").write_text(MELD_HEADER + GOOD)
    corpora = corpora_of(load_config(None, [f"corpora=[{{name: sample}}, {{name: meld, path: {path}}}]"]))
    assert corpora.leaked == 2  # that one, and the train row that is in MELD's own dev split here
    assert {d.corpus for d in corpora.held_out} == {"sample", "meld"}


@pytest.mark.parametrize(
    ("corpus", "problem"),
    [
        ("{name: meld}", "needs a path"),
        ("{name: meld, path: /nowhere}", "no such directory"),
        ("{name: meld, path: $SELFEMO_UNSET/x}", "is not set"),
    ],
)
def test_a_corpus_that_cannot_be_found_says_what_to_set(corpus: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        corpora_of(load_config(None, [f"corpora=[{corpus}]"]))


def test_a_missing_split_is_an_error(tmp_path: Path) -> None:
    path = _meld(tmp_path / "m", GOOD)
    settings = load_config(None, [f"corpora=[{{name: meld, path: {path}}}]", "evaluation.split=test"])
    with pytest.raises(UserError, match="meld has no test split"):
        corpora_of(settings)


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
