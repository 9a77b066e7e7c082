"""Files that are not what they seem: read right, or refused with file, row, column and fix. Never shifted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.intake.conftest import Imported, Importer

CHAT = "dialogue,speaker,text,emotion\n1,Ann,Hello you,joy\n1,Ben,Grüße,fear\n"


def refused(done: Imported, *parts: str) -> None:
    assert done.code == 2, done.output
    for part in (*parts, "fix:"):
        assert part in done.output
    assert not done.out.exists()
    assert [p.name for p in done.out.parent.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_is_known_in_all_its_forms(tmp_path: Path, importer: Importer, encoding: str) -> None:
    (tmp_path / "chat.csv").write_bytes(CHAT.encode(encoding))
    done = importer(tmp_path / "chat.csv", *(["--encoding", encoding] if encoding == "utf-32" else []))
    assert done.said == [[("Ann", "Hello you"), ("Ben", "Grüße")]]


@pytest.mark.parametrize("encoding", ["cp1252", "mac-roman"])
def test_an_encoding_that_only_a_reader_can_tell_is_asked_for(
    tmp_path: Path, importer: Importer, encoding: str
) -> None:
    (tmp_path / "chat.csv").write_bytes(CHAT.encode(encoding))
    refused(importer(tmp_path / "chat.csv"), "not sure of encoding", "chat.csv", "--encoding")
    assert importer(tmp_path / "chat.csv", "--encoding", encoding).said[0][1] == ("Ben", "Grüße")


def test_a_wrong_encoding_is_refused_with_its_place(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "chat.csv").write_bytes(CHAT.encode("cp1252"))
    refused(importer(tmp_path / "chat.csv", "--encoding", "utf-8"), "not utf-8: the byte at 58")
    refused(importer(tmp_path / "chat.csv", "--encoding", "base64"), "no encoding 'base64'")


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ("1,Cy,one,joy,more", ("row 3", "column (beyond the last)", "5 cells, where there are 4 columns")),
        ("1,Cy,one", ("row 3", "column emotion", "3 cells")),
        ('1,Cy,"one" two,joy', ("line 3", "a quote that is not closed, or text after a closing one")),
        ('1,Cy,"one,joy', ("line 3", "a quote that is not closed")),
        ("1,Cy,o\0ne,joy", ("line 3", "NUL")),
        (",Cy,one,joy", ("row 3", "column dialogue", "no id of a dialogue")),
        ("1,Cy,one,[joy", ("row 3", "column emotion", "which parts labels")),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, importer: Importer, row: str, parts: tuple[str, ...]) -> None:
    if row.endswith("[joy"):
        row = "1,Cy,one,jo:y"
    (tmp_path / "chat.csv").write_text(
        'dialogue,speaker,text,emotion\n1,"Ann","Hello ""you""",joy\n' + row + "\n2,D,x,joy\n"
    )
    refused(importer(tmp_path / "chat.csv"), "chat.csv", *parts)


def test_bad_rows_are_left_out_when_that_is_asked_for(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "chat.csv").write_text(CHAT + "1,Cy,one,joy,more\n2,Di,two,joy\n3,Ed\n")
    done = importer(tmp_path / "chat.csv", "--skip-bad")
    assert [len(d.turns) for d in done.dialogues] == [2, 1]
    noted = [json.loads(line) for line in (done.out / "quarantine.jsonl").read_text().splitlines()]
    assert [n["where"] for n in noted] == ["chat.csv: row 4: column (beyond the last)", "chat.csv: row 6: column text"]
    assert done.report["left out"]["bad rows"] == 2


def test_a_turn_that_is_there_twice_is_refused(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "chat.csv").write_text("conv_id,turn,speaker,text\n1,0,A,x\n1,1,B,y\n1,1.0,B,z\n")
    refused(importer(tmp_path / "chat.csv"), "row 4: column turn", "this turn was there in row 3")


def test_an_id_that_is_there_twice_is_refused(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "texts.csv").write_text("id,text,label\n7,x,joy\n8,y,joy\n7,z,joy\n")
    refused(importer(tmp_path / "texts.csv"), "row 4: column id", "this id was there in row 2")
    (tmp_path / "chats.jsonl").write_text('{"id": 7, "turns": ["a"]}\n' * 2)
    refused(importer(tmp_path / "chats.jsonl"), "row 2: column id", "this id was there in row 1")


def test_numbers_that_pandas_wrote_with_a_point_are_whole(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "chat.csv").write_text("conv_id,turn,text,label\n1.0,10.0,last,2.0\n1,9.0,first,0.0\n")
    (tmp_path / "names.txt").write_text("calm\njoy\nfear\n")
    done = importer(tmp_path / "chat.csv", "--labels", tmp_path / "names.txt", "--shares", "1,0,0")
    assert [d.id for d in done.dialogues] == ["corpus/train/1"]
    assert done.said == [[("A", "first"), ("B", "last")]]
    assert done.gold == [[("calm",), ("fear",)]]


def test_labels_that_are_numbers_want_names(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "texts.csv").write_text("text,label\nx,0\ny,1\n")
    refused(importer(tmp_path / "texts.csv"), "labels are numbers, and nothing names them", "--labels")
    (tmp_path / "names.txt").write_text("calm\n")
    refused(
        importer(tmp_path / "texts.csv", "--labels", tmp_path / "names.txt"), "row 3: column label", "1 is not 0..0"
    )


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.jsonl", '{"text": "x"}\n{"text": \n', ("row 2", "not JSON", "column 9")),
        ("a.json", '[{"text": "x"},\n {]', ("line 2", "not JSON")),
        ("a.json", "[" * 100_000, ("not JSON",)),
        ("a.json", "3", ("neither a list nor an object",)),
        ("a.jsonl", '{"text": "x"}\n3\n', ("row 2", "not a JSON object")),
        ("a.parquet", "text\nx\n", ("is no Parquet file",)),
        ("a.csv", "", ("is empty",)),
        ("a.csv", "a,text,a\n1,x,2\n", ("row 1", "names column 'a' twice")),
        ("a.xyz", "hello", ("is of no known form",)),
        ("a.gz", "\x1f\x8b\x08", ("is an archive",)),
        ("a.jsonl", '{"text": "x"}\n{"note": "y"}\n', ("row 2", "column text", "no such column in this row")),
    ],
)
def test_a_file_that_is_none_is_named(
    tmp_path: Path, importer: Importer, name: str, content: str, parts: tuple[str, ...]
) -> None:
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    refused(importer(tmp_path / name), name, *parts)


def test_a_saved_dataset_cannot_point_elsewhere(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "state.json").write_text('{"_data_files": [{"filename": "../secret.arrow"}]}')
    refused(importer(tmp_path / "saved"), "'../secret.arrow' is not a name beside it")


def test_separators_of_lines_inside_text_end_no_row(tmp_path: Path, importer: Importer) -> None:
    text = "a\u2028b\u0085c\x0bd\x1ce"
    (tmp_path / "chat.jsonl").write_text(json.dumps({"text": text}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert importer(tmp_path / "chat.jsonl").said == [[("Someone", text)]]


def test_half_a_surrogate_pair_is_one_replacement_character(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "chat.jsonl").write_text('{"text": "sm\\ud83dile \\ud83d\\ude00"}\n')
    assert importer(tmp_path / "chat.jsonl").said == [[("Someone", "sm\ufffdile 😀")]]


def test_quotes_that_enclose_nothing_are_characters(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "t.tsv").write_text('text\tlabel\nsay "hi" twice\tjoy\n"Go" away\tfear\nthe end"\tjoy\n')
    assert [said[0][1] for said in importer(tmp_path / "t.tsv").said] == ['say "hi" twice', '"Go" away', 'the end"']


def test_a_cell_may_be_larger_than_the_csv_module_would_have_it(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "t.csv").write_text('text,label\n"' + "x " * 100_000 + '""y""",joy\n')
    assert importer(tmp_path / "t.csv").said[0][0][1].endswith('x "y"')


def test_a_first_row_that_may_be_text_is_asked_about_and_never_lost(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "t.txt").write_text("Hello you\nAnd you\n")
    refused(importer(tmp_path / "t.txt"), "not sure of header", "--header or --no-header")
    assert [s[0][1] for s in importer(tmp_path / "t.txt", "--no-header").said] == ["Hello you", "And you"]
    (tmp_path / "u.csv").write_text("Satz,Gefühl\nHallo,Freude\n", encoding="utf-8")
    refused(importer(tmp_path / "u.csv", out="u"), "not sure of header")
    assert importer(tmp_path / "u.csv", "--text", "Satz", "--label", "Gefühl", out="u").gold == [[("Freude",)]]


def test_lines_that_end_as_on_an_old_mac(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "t.csv").write_bytes("text;label\rschön;joy\rgrün;fear\r".encode("mac-roman"))
    done = importer(tmp_path / "t.csv", "--encoding", "mac-roman")
    assert [s[0][1] for s in done.said] == ["schön", "grün"]


def test_an_object_is_no_text(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\n{"text": {"en": "b"}}\n')
    refused(importer(tmp_path / "t.jsonl", "--text", "text"), "row 2: column text", "an object, where text should be")


def test_times_finer_than_python_has_them_are_refused(tmp_path: Path, importer: Importer) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    times = pa.array([1, 2], pa.timestamp("ns"))
    pq.write_table(pa.table({"text": ["a", "b"], "speaker": ["x", "y"], "sent_at": times}), tmp_path / "t.parquet")
    done = importer(tmp_path / "t.parquet")
    assert done.code in (0, 2)  # with pandas installed they are read
    assert done.code == 2 or done.said == [[("x", "a"), ("y", "b")]]
