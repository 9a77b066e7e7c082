"""A label space as a file: what it may say, and what is wrong with it by line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from pipelines.overlay import with_label_files
from selfemo import config as configuration
from selfemo.data.label_file import LabelFile, parse_text, read_label_file, read_spaces, write_spaces
from selfemo.data.labels import LabelSpace
from selfemo.errors import CorruptArtifact, UserError
from selfemo.store.s3 import S3Backend
from tests.conftest import ROOT
from tests.spaces import SPACES
from tests.unit.label_sets import spaces

FULL = """\
name: support
labels:
  ruhig: {aliases: [neutral, keine], description: "keine besondere Regung"}
  Freude: {aliases: [froh]}
  怒り:
neutral: ruhig
affinity: {Freude~怒り: 0.25}
sets: [[怒り, ruhig]]
"""


def test_a_file_says_all_that_is_known_of_a_label_space() -> None:
    space = parse_text(FULL, "labels.yaml").space()
    assert space.labels == ("ruhig", "Freude", "怒り")
    assert (space.lookup("FROH"), space.lookup("neutral"), space.neutral) == ("Freude", "ruhig", "ruhig")
    assert space.answers == (("ruhig",), ("Freude",), ("怒り",), ("怒り", "ruhig"))
    assert space.descriptions == {"ruhig": "keine besondere Regung"}
    matrix = space.affinity_matrix({})
    assert matrix is not None
    assert matrix[1, 2] == matrix[2, 1] == 0.25


@pytest.mark.parametrize("labels", ["[joy, anger]", "{joy: , anger: {}}", "[joy, {anger: {aliases: [mad]}}]"])
def test_labels_are_a_list_or_a_mapping_or_a_list_with_mappings(labels: str) -> None:
    assert parse_text(f"name: x\nlabels: {labels}", "f").space().labels == ("joy", "anger")


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("labels: [a]", 1, "has no name"),
        ("name: x\nlabels: [a]\nlabel: [b]", 3, "is no key of a label file"),
        ("name: x\nlabels:\n  joy: {alias: [a]}", 3, "labels.joy.alias: is no key"),
        ("name: x\nlabels:\n  joy: {}\n  joy: {}", 4, "'joy' is written twice"),
        ("name: x\nlabels:\n  - joy\n  - Joy", 4, "'Joy' is named twice: as 'joy'"),
        ("name: x\nlabels: [joy, no]", 2, "False is no text: put it in quotes"),
        ("name: x\nlabels:\n  - 1", 2, "1 is no text"),
        ("name: x\nlabels:\n  - a\n  - b, c", 4, "'b, c' has ',', which parts labels"),
        ("name: x\nlabels:\n  - a\n  - '...'", 4, "'...' has no letter"),
        (
            "name: x\nlabels:\n  a: {aliases: [c]}\n  b:\n    aliases:\n      - d\n      - C",
            7,
            "'C' is an alias of 'a'",
        ),
        ("name: x\nlabels:\n  a: {aliases: [b]}\n  b: {}", 3, "'b' is an alias of 'a', and a label itself"),
        ("name: x\nlabels: [a, b]\nneutral: c", 3, "'c' is not one of its labels"),
        ("name: x\nlabels: [a, b]\nsets:\n  - [a, b]\n  - [a]", 5, "no set of two labels"),
        ("name: x\nlabels: [a, b]\nsets:\n  - [a, b]\n  - [a, b]", 5, "a, b is named twice"),
        ("name: x\nlabels: [a, b]\naffinity:\n  a~b: 2", 4, "2.0 is outside 0..1"),
        ("name: x\nlabels: [a, b]\naffinity:\n  a~c: 1", 4, "'a~c' is not a pair of labels"),
        ("name: x\nlabels: []", 2, "0 labels"),
        ("name: x\nlabels: 3", 2, "valid dictionary"),
        ("name: x\nlabels: [", 2, "not YAML"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(text: str, line: int, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        read_label_file(path)
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert problem in str(error.value)


@pytest.mark.parametrize(("text", "problem"), [(b"[1, 2]", "not a mapping"), (b"\xff\xfe", "not UTF-8")])
def test_what_is_no_label_file_at_all_is_named(text: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_bytes(text)
    with pytest.raises(UserError, match=problem):
        read_label_file(tmp_path / "labels.yaml")
    with pytest.raises(UserError, match="no such file"):
        read_label_file(tmp_path / "nowhere.yaml")


@given(spaces())
def test_any_space_travels_as_json_with_its_order(space: LabelSpace) -> None:
    again = LabelFile.model_validate_json(LabelFile.of(space).model_dump_json()).space()
    assert again == space


def test_the_spaces_of_a_policy_lie_beside_its_weights(tmp_path: Path) -> None:
    write_spaces(tmp_path / "labels.json", SPACES)
    assert read_spaces(tmp_path / "labels.json") == SPACES
    (tmp_path / "labels.json").write_text('{"x": {"labels": []}}')
    with pytest.raises(CorruptArtifact, match="holds no label spaces"):
        read_spaces(tmp_path / "labels.json")


def test_every_shipped_space_is_a_file_of_that_form_and_is_named_as_its_corpus() -> None:
    files = sorted((ROOT / "src/selfemo/data/spaces").glob("*.yaml"))
    assert {f.stem: read_label_file(f).space() for f in files} == SPACES
    assert all(space.name == name for name, space in SPACES.items())


def test_a_store_that_is_away_keeps_no_command_from_its_work_that_needs_no_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(self: S3Backend, uri: str) -> bytes | None:
        raise UserError("reading: connection refused", where=uri)

    monkeypatch.setattr(S3Backend, "read", away)
    config = configuration.load(None, ["corpora=[{name: mine, path: s3://bucket/mine}]"])
    with pytest.raises(UserError, match="the labels of mine are not known"):
        _ = config.corpora[0].space


def test_an_overlays_label_file_lies_beside_its_settings_and_travels_with_them(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nlabels: [calm, glad]\n")
    settings = {"corpora": [{"name": "mine", "path": "s3://bucket/mine", "labels": "mine.yaml"}]}
    read = with_label_files(settings, tmp_path)
    assert list(read["corpora"][0]["labels"]["labels"]) == ["calm", "glad"]
    assert read["corpora"][0]["path"] == "s3://bucket/mine"
