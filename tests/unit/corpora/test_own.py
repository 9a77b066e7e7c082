"""A corpus of one's own: free in its name, its labels beside it or in the configuration, and all of it travels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfemo import config as configuration
from selfemo.cli import main
from selfemo.config import Config
from selfemo.data.corpora import load_corpora, load_corpus
from selfemo.data.corpora.rows import BadRows
from selfemo.data.dialogue import SCHEMA
from selfemo.errors import UserError

LABELS = "name: support\nlabels: {平静: {}, 高兴: {aliases: [开心]}, 生气: {description: 不满}}\nneutral: 平静\n"


def row(key: str, split: str = "train", gold: Any = ("高兴",), **more: Any) -> str:
    turns = [
        {"speaker": "客户", "text": f"你好 {key}", "gold": gold},
        {"speaker": "客服", "text": "您好", "gold": None},
    ]
    return json.dumps({"schema": SCHEMA, "id": key, "corpus": "x", "split": split, "turns": turns} | more)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    place = tmp_path / "support"
    place.mkdir()
    (place / "labels.yaml").write_text(LABELS, encoding="utf-8")
    (place / "dialogues.jsonl").write_text("\n".join([row("a"), row("b", "dev"), row("c", "test")]))
    return place


def own(path: Path | str, more: str = "") -> list[str]:
    return [f"corpora=[{{name: support, path: {path}{more}}}]"]


def test_its_dialogues_are_read_under_the_name_that_the_configuration_gives(directory: Path) -> None:
    settings = configuration.load(None, own(directory))
    space = settings.spaces()["support"]
    assert (space.labels, space.neutral, space.lookup("开心")) == (("平静", "高兴", "生气"), "平静", "高兴")
    found = load_corpora(settings.corpora, settings.spaces(), "dev")
    assert [(d.id, d.corpus, d.split) for d in found.training] == [("support/a", "support", "train")]
    assert found.held_out[0].turns[0].gold == ("高兴",)
    assert load_corpus("support", str(directory), BadRows())[0].id == "support/a"


def test_the_configuration_that_travels_holds_the_labels_and_their_order(directory: Path) -> None:
    there = configuration.load(None, own(directory)).to_json()
    for file in directory.iterdir():
        file.unlink()  # a pod has no such directory
    assert Config.from_json(there).spaces()["support"].labels == ("平静", "高兴", "生气")
    changed = LABELS.replace("平静: {}, 高兴: {aliases: [开心]}", "高兴: {aliases: [开心]}, 平静: {}")
    (directory / "labels.yaml").write_text(changed)
    other = configuration.load(None, own(directory))
    assert other.digest("prepare") != Config.from_json(there).digest("prepare")


def test_labels_are_a_file_beside_the_configuration_or_stand_in_it(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "two.yaml").write_text("name: two\nlabels: [ja, nein]\n")
    file = tmp_path / "run.yaml"
    file.write_text(f"corpora:\n  - {{name: support, path: {directory}, labels: spaces/two.yaml}}\n")
    assert configuration.load(file).spaces()["support"].labels == ("ja", "nein")
    inline = configuration.load(None, own(directory, ", labels: {labels: [ja, nein]}")).spaces()["support"]
    assert (inline.name, inline.labels) == ("support", ("ja", "nein"))


@pytest.mark.parametrize(
    ("corpus", "line", "problem"),
    [
        ("{name: support, path: x, labels: nowhere.yaml}", 2, "there is no label file"),
        ("{name: support, path: x, labels: {labels: [a, A]}}", 2, "'A' is named twice"),
        ("{name: support, path: x, labels: {labels: [a], colour: red}}", 2, "corpora.0.labels.colour: Extra inputs"),
        ("{name: support}", 2, "no such corpus; known: sample"),
        ("{name: sup/port, path: x}", 2, "is no name for a corpus"),
        ("{name: expression, path: x}", 2, "is no name for a corpus"),
        ("{name: sample, labels: {labels: [a]}}", 2, "the labels of sample are its own"),
    ],
)
def test_what_is_wrong_with_a_corpus_is_told_with_its_line(
    corpus: str, line: int, problem: str, tmp_path: Path
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(f"corpora:\n  - {corpus}\n")
    with pytest.raises(UserError) as error:
        configuration.load(file)
    assert f"run.yaml:{line}: " in str(error.value)
    assert problem in str(error.value)


def test_a_bad_label_file_is_named_itself(directory: Path) -> None:
    (directory / "labels.yaml").write_text("name: support\nlabels:\n  - a\n  - a\n")
    with pytest.raises(UserError, match=rf"{directory}/labels.yaml:2: .*named twice"):
        configuration.load(None, own(directory))


def test_labels_that_are_not_found_are_missed_where_they_are_needed_and_not_before(tmp_path: Path) -> None:
    settings = configuration.load(None, own(tmp_path / "elsewhere"))  # a machine that serves has no corpora
    with pytest.raises(UserError, match="set labels to the file"):
        settings.spaces()


@pytest.mark.parametrize(
    ("line", "column", "problem"),
    [
        (row("z", gold=["glad"]), "turns.0.gold", "'glad' is not one of 平静, 高兴, 生气"),
        (row("z", "holdout"), "split", "'holdout' is not one of train, dev, test"),
        (row("a"), "id", "'a' was there in line 1"),
        ("{", "(the whole)", "not JSON"),
        (row("z", turns=[]), "(the whole)", "turns"),
    ],
)
def test_a_bad_row_stops_or_is_put_aside(directory: Path, line: str, column: str, problem: str) -> None:
    file = directory / "dialogues.jsonl"
    file.write_text(f"{row('a')}\n{line}\n{row('b')}\n")
    with pytest.raises(UserError) as error:
        load_corpus("support", str(directory), BadRows())
    assert f"{file}:2: column {column}: " in str(error.value)
    assert problem in str(error.value)
    rows = BadRows(skip_bad=True)
    kept = load_corpus("support", str(directory), rows)
    assert [d.id for d in kept][:1] == ["support/a"]
    assert kept[-1].id == "support/b"
    assert len(rows.quarantine) == 1


def test_gold_is_written_as_the_label_space_has_it_and_no_gold_is_none(directory: Path) -> None:
    (directory / "labels.yaml").write_text("name: x\nlabels: [Joy, Anger]\n")
    (directory / "dialogues.jsonl").write_text("\n".join([row("a", gold=["JOY", "joy", "ANGER"]), row("b", gold=[])]))
    first, second = load_corpus("support", str(directory), BadRows())
    assert first.turns[0].gold == ("Joy", "Anger")
    assert second.turns[0].gold is None


def test_a_directory_without_its_files_is_an_error_that_says_what_belongs_there(directory: Path) -> None:
    (directory / "dialogues.jsonl").unlink()
    with pytest.raises(UserError, match=r"no dialogues\.jsonl here"):
        load_corpus("support", str(directory), BadRows())
    (directory / "labels.yaml").unlink()
    with pytest.raises(UserError, match=r"support is none of sample, meld.* has its labels here"):
        load_corpus("support", str(directory), BadRows())


def test_votes_are_kept_under_the_labels_names(directory: Path) -> None:
    (directory / "labels.yaml").write_text("name: x\nlabels: [Joy, Anger]\n")
    turn = {"speaker": "A", "text": "Well.", "gold": ["joy"], "votes": {"joy": 2, "JOY": 1, "anger": 1}}
    (directory / "dialogues.jsonl").write_text(row("a", turns=[turn]))
    assert load_corpus("support", str(directory), BadRows())[0].turns[0].votes == {"Joy": 3, "Anger": 1}
    turn["votes"] = {"fear": 1}
    (directory / "dialogues.jsonl").write_text(row("a", turns=[turn]))
    with pytest.raises(UserError, match=r":1: column turns\.0\.votes: 'fear' is not one of Joy, Anger"):
        load_corpus("support", str(directory), BadRows())


def test_the_command_line_checks_and_shows_it(directory: Path) -> None:
    run = CliRunner().invoke
    checked = run(main, ["data", "check", "--corpus", "support", "--path", str(directory)])
    assert (checked.exit_code, "高兴" in checked.output) == (0, True)
    shown = run(main, ["data", "show", "--corpus", "support", "--path", str(directory)])
    assert "客户: 你好 a  [高兴]" in shown.output
    assert "or give the directory of your own with --path" in run(main, ["data", "check", "--corpus", "support"]).output
    assert "is no name for a corpus" in run(main, ["data", "show", "--corpus", "../x", "--path", "y"]).output
