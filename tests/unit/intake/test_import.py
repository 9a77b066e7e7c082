"""`selfemo data import`: splits, labels, votes, redaction, what is written, and what is asked."""

from __future__ import annotations

import json
import os
import pty
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from selfemo.config import load
from selfemo.data.corpora import load_corpus
from selfemo.data.corpora.rows import BadRows
from selfemo.data.intake.splits import SPLITS, Shares, assign
from selfemo.data.intake.staging import StagedDialogue
from selfemo.data.label_file import read_label_file
from tests.conftest import ROOT
from tests.unit.intake.conftest import Importer


def table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def chats(path: Path, count: int = 20) -> Path:
    rows = (f"{d},{who},turn {d} {who},c{d % 4},joy" for d in range(count) for who in "AB")
    return table(path, "conv_id,speaker,text,client,emotion", *rows)


def test_an_import_says_what_it_read_and_how(tmp_path: Path, importer: Importer) -> None:
    done = importer(chats(tmp_path / "chats.csv"))
    report = done.report
    assert sorted(p.name for p in done.out.iterdir()) == ["dialogues.jsonl", "import.json", "labels.yaml"]
    assert report["files"][0]["name"] == "chats.csv"
    assert report["files"][0]["bytes"] == (tmp_path / "chats.csv").stat().st_size
    assert len(report["files"][0]["sha256"]) == 64
    assert report["columns"]["text"] == "text"
    assert report["columns"]["dialogue"] == ["conv_id"]
    assert report["counts"]["train"] == {"dialogues": 16, "turns": 32, "labelled": 32}
    assert report["splits"] == {"drawn": {"train": 80, "dev": 10, "test": 10, "seed": 0}}
    assert report["masked"] is None
    assert str(tmp_path) not in json.dumps(report)


@pytest.mark.parametrize("name", ["ticket", "Ticket-ID", "Session", "case_id", "Call"])
def test_what_a_help_desk_calls_a_conversation_is_one(tmp_path: Path, importer: Importer, name: str) -> None:
    done = importer(table(tmp_path / "desk.csv", f"{name},sender,message", "1,A,Hi.", "1,B,Hello.", "2,A,Me again."))
    assert done.report["columns"]["dialogue"] == [name]
    assert [len(d.turns) for d in done.dialogues] == [2, 1]


def test_a_draw_depends_on_the_seed_alone(tmp_path: Path, importer: Importer) -> None:
    file = chats(tmp_path / "chats.csv")
    ids = [{d.id for d in importer(file, "--seed", s, out=f"o{i}").dialogues} for i, s in enumerate("001")]
    assert {i.split("/", 1)[1] for i in ids[0]} == {i.split("/", 1)[1] for i in ids[1]}
    assert {i.split("/", 1)[1] for i in ids[0]} != {i.split("/", 1)[1] for i in ids[2]}


def test_a_group_is_never_on_both_sides(tmp_path: Path, importer: Importer) -> None:
    done = importer(chats(tmp_path / "chats.csv"), "--group", "client", "--shares", "50,25,25")
    sides: dict[str, set[str]] = {}
    for dialogue in done.dialogues:
        sides.setdefault(str(int(dialogue.id.rsplit("/", 1)[1]) % 4), set()).add(dialogue.split)
    assert all(len(splits) == 1 for splits in sides.values())
    assert {d.split for d in done.dialogues} == {"train", "dev", "test"}


def test_stated_splits_that_cut_a_dialogue_or_a_group_are_refused(tmp_path: Path, importer: Importer) -> None:
    file = table(tmp_path / "a.csv", "conv_id,text,split", "1,x,train", "1,y,test")
    done = importer(file, "--yes")
    assert done.code == 2
    assert "dialogue '1' is of test and train" in done.output
    file = table(tmp_path / "b.csv", "conv_id,text,split,who", "1,x,train,Ann", "2,y,validation,Ann", "3,z,test,Ben")
    assert "group 'Ann' is on both sides" in importer(file, "--yes", "--group", "who").output
    assert [d.split for d in importer(file, "--yes").dialogues] == ["train", "dev", "test"]


GROUPS = st.lists(st.sets(st.sampled_from("abcdefgh"), max_size=2), min_size=1, max_size=40)


@given(GROUPS, st.integers(0, 99))
def test_draws_keep_groups_whole_and_come_near_the_shares(groups: list[set[str]], seed: int) -> None:
    known = [StagedDialogue(str(i), "", frozenset(), frozenset(group)) for i, group in enumerate(groups)]
    splits = assign(known, Shares(60, 20, 20), seed, "here")
    assert set(splits) <= set(SPLITS)
    for name in "abcdefgh":
        assert len({split for split, group in zip(splits, groups, strict=True) if name in group}) <= 1
    if not any(groups):
        assert abs(splits.count("train") - 0.6 * len(groups)) < 1


@pytest.mark.parametrize("cell", ["joy|fear", "joy;fear", '"joy,fear"', '"[""joy"", ""fear""]"', "\"['joy', 'fear']\""])
def test_several_labels_in_a_cell(tmp_path: Path, importer: Importer, cell: str) -> None:
    done = importer(table(tmp_path / "t.csv", "text,label,n", f"x,{cell},1"), "--delimiter", ",")
    assert done.gold == [[("joy", "fear")]]


def test_a_column_for_each_label(tmp_path: Path, importer: Importer) -> None:
    file = table(tmp_path / "t.csv", "text,joy,fear,calm", "x,1,1,0", "y,0.0,0.0,1.0")
    assert importer(file).code == 2  # sure only of what is stated
    done = importer(file, "--label", "joy", "--label", "fear", "--label", "calm")
    assert done.gold == [[("joy", "fear")], [("calm",)]]


def test_votes_of_annotators_are_kept(tmp_path: Path, importer: Importer) -> None:
    rows = ['{"text": "x", "votes": {"joy": 2, "fear": 1}}', '{"text": "y", "votes": {"joy": 1, "fear": 1, "calm": 1}}']
    done = importer(table(tmp_path / "t.jsonl", *rows, '{"text": "z", "votes": null}'))
    assert done.gold == [[("joy",)], [None], [None]]  # half of the votes, or nothing
    assert [d.turns[0].votes for d in done.dialogues] == [{"joy": 2, "fear": 1}, {"joy": 1, "fear": 1, "calm": 1}, None]
    columns = table(tmp_path / "c.csv", "text,joy,fear", "x,0.75,0.25")
    done = importer(columns, "--votes", "joy", "--votes", "fear", out="columns")
    assert done.dialogues[0].turns[0].votes == {"joy": 0.75, "fear": 0.25}


def test_labels_by_frequency_or_by_a_file(tmp_path: Path, importer: Importer) -> None:
    rows = ["a,Neutral", "b,neutral", "c,怒り", "d,怒り|Freude", "e,怒り", "f,"]
    file = table(tmp_path / "t.csv", "text,label", *rows)
    space = read_label_file(importer(file).out / "labels.yaml").space()
    assert (space.labels, space.neutral, space.sets) == (
        ("怒り", "Neutral", "Freude"),
        "Neutral",
        (("怒り", "Freude"),),
    )
    (tmp_path / "mine.yaml").write_text(
        "name: x\nlabels: {calm: {aliases: [neutral]}, Freude: {}, anger: {aliases: [怒り]}}"
    )
    done = importer(file, "--labels", tmp_path / "mine.yaml", out="mine")
    assert [g[0] for g in done.gold] == [("calm",), ("calm",), ("anger",), ("anger", "Freude"), ("anger",), None]
    assert yaml.safe_load((done.out / "labels.yaml").read_text(encoding="utf-8"))["name"] == "mine"
    (tmp_path / "few.yaml").write_text("name: x\nlabels: [neutral]")
    few = importer(file, "--labels", tmp_path / "few.yaml", out="few")
    assert "row 4: column label: '怒り' is no label of the label file, and no alias" in few.output
    assert not few.out.exists()


def test_the_neutral_label_of_any_language_is_named(tmp_path: Path, importer: Importer) -> None:
    file = table(tmp_path / "t.csv", "text,label", "a,Neutre", "b,joie", "c,neutre")
    guessed = importer(file, out="guessed")
    assert read_label_file(guessed.out / "labels.yaml").space().neutral is None
    assert "neutral label: none; if one means no emotion, give --neutral LABEL" in guessed.output
    named = importer(file, "--neutral", "NEUTRE", out="named")
    assert read_label_file(named.out / "labels.yaml").space().neutral == named.report["neutral"] == "Neutre"
    assert "neutral label: Neutre" in named.output
    unknown = importer(file, "--neutral", "calme", out="unknown")
    assert (unknown.code, "--neutral: no label 'calme' fix: use one of Neutre, joie" in unknown.output) == (2, True)
    (tmp_path / "mine.yaml").write_text("name: x\nlabels: [Neutre, joie]")
    both = importer(file, "--labels", tmp_path / "mine.yaml", "--neutral", "Neutre", out="both")
    assert (both.code, "the label file says which it is" in both.output) == (2, True)


def test_more_labels_than_a_space_can_have_are_refused(tmp_path: Path, importer: Importer) -> None:
    done = importer(table(tmp_path / "t.csv", "text,label", *(f"x,l{i}" for i in range(65))))
    assert done.code == 2
    assert "65 labels" in done.output
    assert not done.out.exists()


def test_nothing_is_replaced_unless_that_is_asked_for(tmp_path: Path, importer: Importer) -> None:
    file = chats(tmp_path / "chats.csv")
    assert importer(file).code == 0
    assert "is already there" in importer(file).output
    broken = table(tmp_path / "broken.csv", "text,label", "x,jo:y")
    assert importer(broken, "--force").code == 2
    assert len(importer(file, out="other").dialogues) == 20
    assert len((tmp_path / "corpus" / "dialogues.jsonl").read_text().splitlines()) == 20  # the old one is whole
    assert importer(table(tmp_path / "t.csv", "text", "x"), "--force").code == 0
    assert len((tmp_path / "corpus" / "dialogues.jsonl").read_text().splitlines()) == 1
    (tmp_path / "precious").mkdir()
    assert "is no import" in importer(file, "--force", out="precious").output
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_columns_that_are_not_there_are_named(tmp_path: Path, importer: Importer) -> None:
    done = importer(chats(tmp_path / "chats.csv"), "--text", "said")
    assert done.code == 2
    assert "no column 'said'" in done.output
    assert "use one of conv_id, speaker, text, client, emotion" in done.output
    assert importer(chats(tmp_path / "chats.csv"), "--label", "@none").gold[0] == [None, None]


def test_a_guess_that_is_not_sure_is_refused_without_a_terminal(tmp_path: Path, importer: Importer) -> None:
    file = table(tmp_path / "t.csv", "speaker,text,message", "A,hello,hi", "B,yes,no")
    done = importer(file)
    assert done.code == 2
    assert "not sure of text: text fix: give --text (columns: speaker, text, message), or --yes" in done.output
    assert importer(file, "--yes").said == [[("A", "hello"), ("B", "yes")]]


def test_a_time_in_another_form_is_no_reason_to_leave_turns_where_they_stand(
    tmp_path: Path, importer: Importer
) -> None:
    newest_first = [f"d,04.10.2026 10:{minute:02},A,turn {minute}" for minute in (7, 6, 5)]
    file = table(tmp_path / "t.csv", "dialogue,time,speaker,text", *newest_first)
    done = importer(file)
    assert done.code == 2 and "not sure of time" in done.output
    done = importer(file, "--time", "time")
    assert done.code == 2
    assert "t.csv: row 2: column time: '04.10.2026 10:07' is no number and no time as ISO 8601 writes it" in done.output
    assert importer(file, "--yes").said == [[("A", f"turn {minute}") for minute in (7, 6, 5)]]
    ours = [row.replace("04.10.2026", "2026-10-04") for row in newest_first]
    file = table(tmp_path / "u.csv", "dialogue,time,speaker,text", *ours[:1], "d,,A,with it", *ours[1:])
    told = importer(file, "--force").said
    assert told == [[("A", text) for text in ("turn 5", "turn 6", "turn 7", "with it")]]


def test_on_a_terminal_what_is_not_sure_is_asked(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", "id,first,second", "1,hello there,x", "2,yes indeed,y")
    child, master = pty.fork()
    if child == 0:
        os.environ["PYTHONPATH"] = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
        args = ["data", "import", str(file), "--out", str(tmp_path / "corpus"), "--shares", "1,0,0"]
        os.execv(sys.executable, [sys.executable, "-m", "selfemo", *args])
    os.write(master, b"second\ny\n")
    shown = b""
    try:
        while piece := os.read(master, 4096):
            shown += piece
    except OSError:  # how a terminal ends on Linux
        pass
    _, status = os.waitpid(child, 0)
    assert status == 0, shown
    lines = (tmp_path / "corpus" / "dialogues.jsonl").read_text().splitlines()
    assert [json.loads(line)["turns"][0]["text"] for line in lines] == ["x", "y"]


def test_what_is_masked_is_counted_and_never_kept(tmp_path: Path, importer: Importer) -> None:
    rows = [
        "Anna Schmidt,jo@example.com,Call +49 30 1234567 or write to jo@example.com please",
        "Ben,jo@example.com,Thank you Anna",
        "Ben,jo@example.com,Anna;too many,cells",
    ]
    file = table(tmp_path / "t.csv", "speaker,conv_id,text", *rows)
    done = importer(file, "--redact", "--skip-bad", "--shares", "1,0,0")
    assert done.said == [[("Speaker 1", "Call [NUMBER] or write to [EMAIL] please"), ("Speaker 2", "Thank you [NAME]")]]
    assert done.report["masked"] == {"EMAIL": 1, "NAME": 1, "NUMBER": 1, "speaker": 2}
    written = b"".join(p.read_bytes() for p in done.out.iterdir())
    for secret in (b"Anna", b"Schmidt", b"example", b"1234567"):
        assert secret not in written
        assert secret.decode() not in done.output


def test_a_command_of_ones_own_masks(tmp_path: Path, importer: Importer) -> None:
    script = "import sys, json\nfor line in sys.stdin: print(json.dumps(json.loads(line).replace('Anna', '[NAME]')))"
    (tmp_path / "mask.py").write_text(script)
    file = table(tmp_path / "t.csv", "text", "Anna said: [NAME]", "nothing")
    done = importer(file, "--redact-command", f"{sys.executable} {tmp_path / 'mask.py'}", "--shares", "1,0,0")
    assert done.said == [[("Someone", "[NAME] said: [NAME]")], [("Someone", "nothing")]]
    assert done.report["masked"] == {"NAME": 1, "speaker": 0}


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("false", "ended with 1"),
        ("head -n 1", "wrote 1 lines for 2"),
        ("cut -c 2-", "is no JSON string"),
        ("no-such-command", "No such file"),
    ],
)
def test_a_command_that_fails_ends_the_import(tmp_path: Path, importer: Importer, command: str, problem: str) -> None:
    done = importer(table(tmp_path / "t.csv", "text", "one", "two"), "--redact-command", command)
    assert done.code == 2
    assert problem in done.output
    assert not done.out.exists()


def test_an_import_is_a_corpus_that_a_run_reads(tmp_path: Path, importer: Importer) -> None:
    rows = [{"conv_id": c, "speaker": "Ann", "text": f"怒り {c}", "votes": {"怒り": 2, "joy": c}} for c in range(4)]
    done = importer(table(tmp_path / "t.jsonl", *map(json.dumps, rows)), "--shares", "50,50,0")
    rows_of = BadRows()
    loaded = load_corpus("corpus", str(done.out), rows_of)
    assert loaded == done.dialogues
    assert loaded[1].turns[0].votes == {"怒り": 2.0, "joy": 1.0}
    config = load(None, [f"corpora=[{{name: corpus, path: {done.out}}}]"])
    assert config.spaces()["corpus"].labels == ("怒り", "joy")


def test_a_library_that_is_missing_is_named_with_what_installs_it(
    tmp_path: Path, importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    done = importer(table(tmp_path / "t.csv", "text", "one"), "--redact")
    assert done.code == 2
    assert "phonenumbers is not installed" in done.output
    assert "pip install 'selfemo[data]'" in done.output
    assert not done.out.exists()
