"""Labels that go out to a spreadsheet or Label Studio and come back as gold."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from selfemo.cli import main
from selfemo.config import Config
from selfemo.data.corpora.load import load_corpora
from selfemo.data.corrections import Reading, collected_id
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.feedback import Feedback
from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError
from selfemo.places import temporary
from selfemo.review import label_studio, table
from selfemo.review.asked import Asked

NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)
SPACE = LabelSpace("talk", ("calm", "joy", "anger"), aliases={"happy": "joy"})
SPACES = {"talk": SPACE}

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=30)
turns = st.builds(
    lambda key, number, said, before, why, chances: Asked(
        collected_id("talk", key), number, SPACE, tuple(before), said, chances, tuple(why)
    ),
    st.text(min_size=1, max_size=5).filter(lambda key: key.strip() == key and key.isprintable()),
    st.integers(0, 99),
    st.builds(Utterance, speaker=texts.filter(bool), text=texts),
    st.lists(st.builds(Utterance, speaker=texts.filter(bool), text=texts), max_size=2),
    st.lists(texts, max_size=2),
    st.just({"joy": 0.6, "calm": 0.4}),
)


@given(
    st.lists(
        st.tuples(turns, st.lists(st.sampled_from(["happy", "joy", "ANGER", "calm"]), max_size=3)),
        max_size=4,
        unique_by=lambda one: one[0].key,
    )
)
def test_what_a_person_fills_in_comes_back_whatever_was_said(given: list[tuple[Asked, list[str]]]) -> None:
    """Of both forms; a spreadsheet finds no formula in any cell."""
    expected = [
        (turn.dialogue, turn.turn, tuple(dict.fromkeys(SPACE.lookup(label) for label in labels)))
        for turn, labels in given
        if labels
    ]
    turns = {turn.dialogue: 1 + max(t.turn for t, _ in given if t.dialogue == turn.dialogue) for turn, _ in given}
    rows = list(csv.reader(io.StringIO(table.written(turn for turn, _ in given), newline="")))
    assert not any(cell[:1] in ("=", "+", "-", "@", "\t") for row in rows for cell in row if cell)
    filled = io.StringIO()
    csv.writer(filled, delimiter=";").writerows(
        [rows[0], *([*row[:-1], ", ".join(labels)] for row, (_, labels) in zip(rows[1:], given, strict=True))]
    )
    tasks = json.loads(label_studio.tasks([turn for turn, _ in given]))
    for task, (_, labels) in zip(tasks, given, strict=True):
        cancelled = {"was_cancelled": True, "result": []}
        choices = {"from_name": "labels", "to_name": "text", "type": "choices", "value": {"choices": labels}}
        task["annotations"] = [{"result": [choices] if labels else []}, cancelled]
    with temporary("review") as place:
        (place / "turns.csv").write_text(filled.getvalue(), encoding="utf-8-sig", newline="")
        (place / "turns.json").write_text(json.dumps(tasks))
        for read in (
            table.read(place / "turns.csv", SPACES, turns, "ada", NOW),
            label_studio.read(place / "turns.json", SPACES, turns, "ada", NOW),
        ):
            assert [(row.dialogue, row.turn, row.labels) for row in read] == expected
            assert {(row.who, row.when, row.source) for row in read} <= {("ada", NOW, "review")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dialogue,turn\n", "row 1: no column 'labels', or two"),
        ("dialogue,turn,labels\ntalk/collected/a,0\n", "row 2: 2 cells under 3 names"),
        ("dialogue,turn,labels\n\ntalk/collected/a,x,joy\n", "row 3: turn: 'x' is no turn"),
        (
            "dialogue,turn,labels\ntalk/collected/a,0,joys\n,,\ntalk/collected/a,1,sad\n",
            "row 4: labels: 'sad' is not a",
        ),
        (
            "dialogue,turn,labels\ntalk/collected/a," + "9" * 5000 + ",joy\n",
            "row 2: turn: '99999999999999999999' is no",
        ),
        ("dialogue,turn,labels\ntalk/collected/a,2,joy\n", "row 2: turn: 'talk/collected/a' has no turn 2"),
        ("dialogue,turn,labels\ntalk/collected/b,0,joy\n", "row 2: dialogue: there is no dialogue 'talk/collected/b'"),
        ("dialogue,turn,labels\nmeld/train/1,0,joy\n", "row 2: dialogue: 'meld/train/1' is of no corpus that is known"),
        ('dialogue,turn,labels\n"talk/collected/a,0,joy\n', "line 2: unexpected end of data"),
        ("dialogue,turn,labels\ntalk/collected/a,0,\xff\n", "byte 40 is not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_named_by_file_row_and_column(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "turns.csv"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as raised:
        table.read(file, SPACES, {"talk/collected/a": 2}, "ada", NOW)
    assert said in str(raised.value)
    assert str(file) in str(raised.value)
    assert raised.value.fix


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("{}", "not a list of tasks"),
        ("[1]", "task 1: not a task"),
        ('[{"data": {"dialogue": "talk/collected/a", "turn": "0"}}]', "task 1: not a task"),
        (
            '[{"data": {"dialogue": "talk/collected/a", "turn": 0}, "annotations": [{"result": '
            '[{"from_name": "labels", "value": {"choices": ["sad"]}}]}]}]',
            "task 1: labels: 'sad' is not a label of talk",
        ),
        (
            '[{"data": {"dialogue": "talk/\\ud800", "turn": 0}, "annotations": [{"result": '
            '[{"from_name": "labels", "value": {"choices": ["joy"]}}]}]}]',
            "task 1: dialogue: there is no dialogue",
        ),
    ],
)
def test_what_is_no_export_is_named_by_its_task(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "turns.json"
    file.write_text(text)
    with pytest.raises(UserError) as raised:
        label_studio.read(file, SPACES, {"talk/collected/a": 2}, "ada", NOW)
    assert said in str(raised.value)


def test_the_interface_offers_every_label_as_the_first_one_and_beside_it() -> None:
    """Label Studio tells choices of one group in the order of the interface: none of them would be the primary one."""
    space = LabelSpace("talk", ("a&b", "c", "喜"))
    view = ElementTree.fromstring(label_studio.interface(space))
    groups = {group.get("name"): group for group in view.iter("Choices")}
    assert {name: group.get("choice") for name, group in groups.items()} == {"labels": "single", "also": "multiple"}
    for group in groups.values():
        assert [choice.get("value") for choice in group] == list(space.labels)


@pytest.fixture
def place(tmp_path: Path) -> Feedback:
    """Conversations under the sample corpus's labels: two turns that the policy is unsure of, one that it is not."""
    found = Feedback.at(str(tmp_path / "back"))
    turns = tuple(Utterance(speaker="AB"[n % 2], text=text) for n, text in enumerate(("Oh.", "=1+1", "Fine.")))
    row = Dialogue(id=collected_id("sample", "a"), corpus="sample", split="train", turns=turns)
    found.add_conversations([row])
    chances = [{"joy": 0.4, "anger": 0.4}, {"joy": 0.5, "anger": 0.3}, {"joy": 1.0}]
    found.add_readings(
        [Reading(dialogue=row.id, turn=n, labels=("joy",), chances=one, when=NOW) for n, one in enumerate(chances)]
    )
    return found


def selfemo(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], catch_exceptions=False)


@pytest.mark.parametrize("said", ["x;=1+1", "x\n=1", "x, @SUM(A1)", "＝1+1", " -1", "\t+1"])
def test_a_spreadsheet_that_parts_otherwise_finds_no_formula_either(said: str) -> None:
    asked_about = Asked(collected_id("talk", "a"), 0, SPACE, (), Utterance(speaker="A", text=said), {"joy": 0.5}, ())
    text = table.written([asked_about])
    for parting in ",;\t":
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=parting):
            assert not any(cell.lstrip()[:1] in tuple("=+-@＝＋－＠") for cell in row if cell.strip()), row
    assert "'" in text


def test_a_turn_of_any_length_can_be_labelled_and_nothing_else_reads_csv_otherwise(tmp_path: Path) -> None:
    long = Utterance(speaker="A" * 9999, text="word " * 100_000)
    key = collected_id("talk", "a")
    text = table.written([Asked(key, 0, SPACE, (long,) * 6, long, {"joy": 0.5}, ())])
    file, before = tmp_path / "turns.csv", csv.field_size_limit()
    file.write_text(text.rstrip("\r\n") + "joy\n")
    (row,) = table.read(file, SPACES, {key: 1}, "ada", NOW)
    assert row.labels == ("joy",)
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("who", ["", " ", "a\x1b[2J"])
def test_a_name_that_cannot_be_shown_is_refused(place: Feedback, tmp_path: Path, who: str) -> None:
    done = selfemo("review", "import", tmp_path / "x.csv", "--who", who, "--place", place.uri)
    assert (done.exit_code, "cannot be shown" in done.output) == (2, True)


def test_two_rows_that_say_different_things_of_a_turn_are_refused(place: Feedback, tmp_path: Path) -> None:
    file = tmp_path / "turns.csv"
    file.write_text("dialogue,turn,labels\nsample/collected/a,0,joy\nsample/collected/a,0,joy\n")
    assert selfemo("review", "import", file, "--who", "ada", "--place", place.uri).exit_code == 0
    file.write_text("dialogue,turn,labels\nsample/collected/a,0,joy\nsample/collected/a,0,anger\n")
    done = selfemo("review", "import", file, "--who", "ada", "--place", place.uri)
    assert done.exit_code == 2
    assert f"{file}: row 3: labels: turn 0 of 'sample/collected/a' was joy above" in done.output


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_turns_go_out_by_the_command_and_labels_come_back_as_gold(place: Feedback, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"turns.{ending}"
    done = selfemo("review", "export", "--place", place.uri, "--out", file)
    assert done.exit_code == 0, done.output
    assert "2 turns; when they are labelled" in done.output
    if ending == "csv":
        assert "'=1+1" in file.read_text()
        rows = list(csv.reader(io.StringIO(file.read_text())))
        rows[1][-1] = "anger, joy"
        with file.open("w", newline="") as out:
            csv.writer(out).writerows(rows)
    else:
        tasks = json.loads(file.read_text())
        choices = {"from_name": "labels", "value": {"choices": ["anger", "joy"]}}
        tasks[0]["annotations"] = [{"result": [choices]}]
        file.write_text(json.dumps(tasks))
        assert file.with_suffix(".xml").exists()
    again = selfemo("review", "export", "--place", place.uri, "--out", file)
    assert (again.exit_code, "the file is there already" in again.output) == (2, True)
    done = selfemo("review", "import", file, "--who", "ada", "--place", place.uri)
    assert done.exit_code == 0, done.output
    (row,) = place.corrections()
    assert (row.labels, row.who, row.source) == (("anger", "joy"), "ada", "review")
    assert "1 turns; when" in selfemo("review", "export", "--place", place.uri, "--out", tmp_path / "more.csv").output


def test_of_a_file_with_one_bad_row_nothing_is_kept(place: Feedback, tmp_path: Path) -> None:
    file = tmp_path / "turns.csv"
    file.write_text("dialogue,turn,labels\nsample/collected/a,0,joy\nsample/collected/a,1,joyless\n")
    done = selfemo("review", "import", file, "--who", "ada", "--place", place.uri)
    assert done.exit_code == 2
    assert f"{file}: row 3: labels: 'joyless' is not a label of sample" in done.output
    assert place.corrections() == []


def test_labels_of_what_was_never_said_are_refused_and_of_a_corpus_dialogue_kept(
    place: Feedback, tmp_path: Path
) -> None:
    file = tmp_path / "turns.csv"
    file.write_text("dialogue,turn,labels\nsample/collected/a,0,joy\nsample/collected/a,3,joy\n")
    done = selfemo("review", "import", file, "--who", "ada", "--place", place.uri)
    assert done.exit_code == 2
    assert f"{file}: row 3: turn: 'sample/collected/a' has no turn 3" in done.output
    assert place.corrections() == []
    config = Config()
    spaces = config.spaces()
    dialogue = load_corpora(config.corpora, spaces, config.evaluation.split, config.store.endpoint).whole[0]
    file.write_text(f"dialogue,turn,labels\n{dialogue.id},0,joy\n")
    assert selfemo("review", "import", file, "--who", "ada", "--place", place.uri).exit_code == 0
    assert [row.dialogue for row in place.corrections()] == [dialogue.id]


def test_somebody_has_to_be_named(tmp_path: Path) -> None:
    file = tmp_path / "turns.csv"
    file.write_text("dialogue,turn,labels\n")
    for command in (("import", file), ("open",)):
        done = selfemo("review", *command, "--who", " ", "--place", tmp_path / "back")
        assert (done.exit_code, "give a name" in done.output) == (2, True)


def test_where_nothing_is_worth_asking_that_is_said_and_nothing_written(tmp_path: Path) -> None:
    out = tmp_path / "turns.csv"
    done = selfemo("review", "export", "--place", tmp_path / "empty", "--out", out)
    assert done.exit_code == 0
    assert "is worth asking about" in done.output
    assert not out.exists()
    assert selfemo("review", "export", "--place", tmp_path, "--out", tmp_path / "x.txt").exit_code == 2
