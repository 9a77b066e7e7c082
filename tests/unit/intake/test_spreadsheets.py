"""What spreadsheets and chat programs make of a conversation: read as it was meant, or refused."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

import pytest

from tests.unit.intake.conftest import Importer
from tests.unit.intake.test_hostile_files import CHAT, refused


def test_columns_without_a_name_leave_the_header_a_header(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "chat.csv").write_text(CHAT.replace("\n", ",,\n"), encoding="utf-8")
    done = importer(tmp_path / "chat.csv", "--text", "text")
    assert done.said == [[("Ann", "Hello you"), ("Ben", "Grüße")]]
    assert done.gold == [[("joy",), ("fear",)]]


def test_an_id_that_a_spreadsheet_cut_is_none(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "chat.csv").write_text("dialogue,speaker,text\n1.23457E+19,A,x\n1.23457E+19,B,of another\n")
    refused(importer(tmp_path / "chat.csv"), "row 2: column dialogue", "1.23457E+19: a spreadsheet has cut this id")


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"\xef\xbb\xbf<HTML><table><tr>", "is a web page, XML or RTF"),
        (b'<?xml version="1.0"?>', "is a web page, XML or RTF"),
        (rb"{\rtf1\ansi Ann: hello}", "is a web page, XML or RTF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an archive or a spreadsheet"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "is a pointer of Git LFS"),
    ],
)
def test_what_is_no_table_for_all_its_name_is_refused(
    tmp_path: Path, importer: Importer, start: bytes, said: str
) -> None:
    (tmp_path / "chat.csv").write_bytes(start)
    refused(importer(tmp_path / "chat.csv", "--yes"), "chat.csv", said)


def test_rows_that_an_open_quote_swallowed_are_not_a_turn(tmp_path: Path, importer: Importer) -> None:
    rows = ['"Hello,joy', "1,Ben,Fine,joy", '1,Ann,",sadness', '1,Ben,"Well, so",joy']
    (tmp_path / "chat.csv").write_text("dialogue,speaker,text,emotion\n1,Ann," + "\n".join(rows) + "\n")
    refused(importer(tmp_path / "chat.csv"), "line 2", "a quote that is not closed", "a cell holds other rows")


def test_text_of_several_lines_is_a_turn_however_many_commas_it_has(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "chat.csv").write_text('speaker,text,emotion\nAnn,"Hi, Ben\nwell, ok",joy\nBen,"1, 2\n3, 4",joy\n')
    done = importer(tmp_path / "chat.csv", "--dialogue", "@file")
    assert done.said == [[("Ann", "Hi, Ben\nwell, ok"), ("Ben", "1, 2\n3, 4")]]


def test_the_id_of_a_message_is_not_that_of_its_conversation(tmp_path: Path, importer: Importer) -> None:
    turns = [("user", "hi"), ("assistant", "hello"), ("user", "bye")]
    messages = [{"id": f"m{n}", "role": role, "content": text} for n, (role, text) in enumerate(turns)]
    chats = [{"id": "c1", "messages": messages}, {"id": "c2", "messages": messages}]
    (tmp_path / "chats.json").write_text(json.dumps(chats))
    assert importer(tmp_path / "chats.json").said == [turns, turns]


def test_a_refused_row_leaves_nothing_behind_that_complains(
    tmp_path: Path, importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    (tmp_path / "chat.csv").write_text("conv_id,turn,speaker,text\n1,0,A,x\n1,1,B,y\n1,1,B,z\n")
    refused(importer(tmp_path / "chat.csv"), "row 4: column turn", "this turn was there in row 3")
    gc.collect()
    assert complaints == []
