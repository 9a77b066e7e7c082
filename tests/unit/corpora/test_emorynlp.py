"""EmoryNLP in its two official forms, CSV and JSON."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from selfemo.data.corpora import emorynlp, load_corpus
from selfemo.data.corpora.emorynlp import _ID, _Release, speakers
from selfemo.data.corpora.rows import Rows
from selfemo.data.dialogue import Utterance, write_jsonl
from selfemo.errors import UserError


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

    def line(_: _Release, row: Any) -> int:
        looked.append(row)
        return 4

    monkeypatch.setattr(_Release, "line", line)
    load_corpus("emorynlp-json", str(_emory(tmp_path, EMORY_JSON % "Peaceful")), Rows())
    assert not looked
    load_corpus("emorynlp-json", str(_emory(tmp_path, EMORY_JSON % "Bored")), Rows(skip_bad=True))
    assert len(looked) == 3


def test_a_file_is_looked_through_once_however_many_of_its_rows_are_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []

    class Counted:
        def finditer(self, text: str) -> Any:
            passes.append(len(text))
            return _ID.finditer(text)

    monkeypatch.setattr(emorynlp, "_ID", Counted())
    text = (EMORY_JSON % "Bored").replace("Scared", "Bored")
    rows = Rows(skip_bad=True)
    assert load_corpus("emorynlp-json", str(_emory(tmp_path, text)), rows) == []
    assert len(passes) == 3  # a file of each split, and two bad rows in each


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
        (
            '{"episodes": [{"scenes": [{"utterances": [{"utterance_id": "u1", "transcript": "Hi", "emotion": "Mad"},'
            '\n {"utterance_id": "u1", "transcript": "Yo", "emotion": "Sad"}]}]}]}',
            "column u1.utterance_id: was there before",
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
