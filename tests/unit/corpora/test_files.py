"""Corpora as their archives and repositories lay them out, and files in other encodings than UTF-8."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfemo.data.corpora import load_corpus
from selfemo.data.corpora.files import read_text
from selfemo.data.corpora.rows import BadRows
from selfemo.errors import UserError
from tests.unit.corpora.meld import GOOD, write_meld


@pytest.mark.parametrize("folder", ["train", "data/MELD"])
def test_meld_is_found_as_its_archive_and_its_repository_hold_it(tmp_path: Path, folder: str) -> None:
    path = write_meld(tmp_path / "MELD.Raw", GOOD)
    (path / folder).mkdir(parents=True)
    (path / "train_sent_emo.csv").rename(path / folder / "train_sent_emo.csv")
    assert [d.id for d in load_corpus("meld", str(path), BadRows())] == ["meld/train/0", "meld/dev/0"]


def test_dailydialog_is_found_as_its_archives_unpack(tmp_path: Path) -> None:
    for name in ("train", "validation", "test"):
        folder = tmp_path / name / name
        folder.mkdir(parents=True)
        (folder / f"dialogues_{name}.txt").write_text("Hi . __eou__ Hello . __eou__\n")
        (folder / f"dialogues_emotion_{name}.txt").write_text("0 4\n")
    assert [d.split for d in load_corpus("dailydialog", str(tmp_path), BadRows())] == ["train", "dev", "test"]


def test_emorynlp_is_found_in_its_repository(tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()
    for short in ("trn", "dev", "tst"):
        (tmp_path / "json" / f"emotion-detection-{short}.json").write_text(
            '{"episodes": [{"scenes": [{"scene_id": "c1", "utterances": '
            '[{"utterance_id": "u1", "transcript": "Hi", "emotion": "Mad"}]}]}]}'
        )
    assert [d.split for d in load_corpus("emorynlp-json", str(tmp_path), BadRows())] == ["train", "dev", "test"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_what_a_file_says_of_its_encoding_is_believed(tmp_path: Path, encoding: str) -> None:
    said = "\u201cOù est-il \u2013 là\u2026\u201d said Zoë, and that\u2019s the café à la carte. À bientôt\n"
    (tmp_path / "a.csv").write_bytes(said.encode(encoding))
    assert read_text(tmp_path / "a.csv") == said


@pytest.mark.parametrize(
    ("said", "encoding"),
    [
        ("It\u2019s late", "mac_roman"),
        ("Well\u2026", "mac_roman"),
        ("Wait \u2014 no", "mac_roman"),
        ("the café", "mac_roman"),
        ("Где поезд", "cp1251"),
        ("Žluťoučký kůň", "iso-8859-2"),
        ("電車はどこ", "shift_jis"),
    ],
)
def test_another_encoding_is_refused_with_its_line_and_never_garbled(tmp_path: Path, said: str, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes(b"plain\n" + said.encode(encoding) + b"\n")
    with pytest.raises(UserError, match=r"a\.csv:2: neither UTF-8 nor Windows-1252"):
        read_text(tmp_path / "a.csv")


def test_text_in_two_encodings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("café\n".encode() + "café\n".encode("cp1252"))
    with pytest.raises(UserError, match=r"a\.csv:1: neither UTF-8 nor Windows-1252"):
        read_text(tmp_path / "a.csv")


def test_utf_16_without_its_mark_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("Utterance\n".encode("utf-16-le"))
    with pytest.raises(UserError, match="UTF-16"):
        read_text(tmp_path / "a.csv")


def test_a_column_that_the_header_names_twice_is_refused(tmp_path: Path) -> None:
    path = write_meld(tmp_path / "m", GOOD)
    file = path / "train_sent_emo.csv"
    file.write_text(file.read_text(encoding="utf-8").replace("Sentiment", "Emotion"), encoding="utf-8")
    with pytest.raises(UserError, match=r"train_sent_emo\.csv:1: column 'Emotion' stands there twice"):
        load_corpus("meld", str(path), BadRows())
