"""Every form that is read is written again, with what was read in each turn beside what was there."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.annotate.conftest import ADDED, LABELS, Annotator, is_said


def cells(text: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))


def test_a_spreadsheet_keeps_its_cells_its_encoding_and_its_line_ends(annotate: Annotator) -> None:
    text = (
        'sep=;\r\nticket_id;sender;message;weight\r\n7;Zoë;"Hélas; ""non""";007\r\n'
        '8;Max;"two\r\nlines";1.50\r\n7;Max;Oh.;\r\n'
    )
    done = annotate(annotate.write("in.csv", text, "cp1252"), "out.csv", "--encoding", "cp1252", "--yes")
    assert done.code == 0, done.stderr
    found = done.out.read_bytes().decode("cp1252")
    assert found.startswith(f"sep=;\r\nticket_id;sender;message;weight;{';'.join(ADDED)}\r\n")
    rows = cells(found.removeprefix("sep=;\r\n"), ";")
    kept = [(r["ticket_id"], r["sender"], r["message"], r["weight"]) for r in rows]
    assert kept == [("7", "Zoë", 'Hélas; "non"', "007"), ("8", "Max", "two\r\nlines", "1.50"), ("7", "Max", "Oh.", "")]
    for row in rows:
        assert set(row["emotions"].split("|")) <= set(LABELS)
        assert sum(float(row[f"p_{label}"]) for label in LABELS) >= 0.999
        assert row["abstain"] == ("true" if float(row["confidence"]) < 0.16 else "false")


def test_a_file_without_a_header_gets_none(annotate: Annotator) -> None:
    source = annotate.write("in.tsv", "Oh no!\t1\nWe won.\t2\n")
    done = annotate(source, "out.tsv", "--text", "1", "--no-header", "--yes")
    rows = [line.split("\t") for line in done.text.splitlines()]
    assert [row[:2] for row in rows] == [["Oh no!", "1"], ["We won.", "2"]]
    assert {len(row) for row in rows} == {2 + len(ADDED)}


def test_each_message_of_a_chat_is_annotated_and_what_nobody_says_is_not(annotate: Annotator) -> None:
    chat = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "It broke again!"}]},
        {"role": "assistant", "content": "I am so sorry."},
    ]
    text = json.dumps({"id": 3, "messages": chat, "score": 0.5}) + "\n" + json.dumps({"id": 4, "messages": []}) + "\n"
    first, second = annotate(annotate.write("in.jsonl", text), "out.jsonl", "--yes").lines
    assert {k: first[k] for k in ("id", "score")} == {"id": 3, "score": 0.5}
    assert [{k: m[k] for k in ("role", "content")} for m in first["messages"]] == chat
    assert [first["messages"][0][name] for name in ADDED] == [None] * len(ADDED)
    for message in first["messages"][1:]:
        is_said(message)
    assert second == {"id": 4, "messages": []}


@pytest.mark.parametrize(
    "document",
    [
        [{"text": "Oh no!", "n": 1}, {"text": "We won.", "n": 2}],
        {"version": 2, "rows": [{"utterance": "Oh no!"}, {"utterance": "We won."}]},
        {"a1": {"text": "Oh no!"}, "a2": {"text": "We won."}},
        {"train": [{"text": "Oh no!"}], "test": [{"text": "We won."}]},
        [[{"role": "user", "content": "Oh no!"}, {"role": "assistant", "content": "We won."}]],
    ],
)
def test_a_json_document_keeps_its_form(annotate: Annotator, document: Any) -> None:
    done = annotate(annotate.write("in.json", json.dumps(document)), "out.json", "--yes")
    found: list[dict[str, Any]] = []

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            if "emotions" in value:
                found.append({name: value.pop(name) for name in ADDED})
            return {k: without(v) for k, v in value.items()}
        return [without(v) for v in value] if isinstance(value, list) else value

    assert without(json.loads(done.text)) == document
    assert len(found) == 2
    for one in found:
        is_said(one)


def test_turns_that_are_text_alone_have_lists_beside_them(annotate: Annotator) -> None:
    (row,) = annotate(annotate.write("in.jsonl", '{"dialog": ["Hello.", "Oh no!"]}\n'), "out.jsonl", "--yes").lines
    assert row["dialog"] == ["Hello.", "Oh no!"]
    for place in (0, 1):
        is_said({name: row[name][place] for name in ADDED})


@pytest.mark.parametrize("form", ["parquet", "arrow", "stream"])
def test_tables_keep_their_types(annotate: Annotator, form: str) -> None:
    pa = pytest.importorskip("pyarrow")
    pq, ipc = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow.ipc")
    table = pa.table(
        {
            "text": ["Oh no!", "We won.", "Fine."],
            "when": pa.array([1, 2, 3], pa.timestamp("us")),
            "kind": pa.array(["a", "b", "a"]).dictionary_encode(),
            "n": pa.array([1, None, 3], pa.int8()),
        }
    ).replace_schema_metadata({"about": "these"})
    source, out = annotate.place / "in.parquet", "out.parquet"
    if form == "parquet":
        pq.write_table(table, source, compression="zstd", row_group_size=2)
    else:
        source, out = annotate.place / "in.arrow", "out.arrow"
        with (ipc.new_file if form == "arrow" else ipc.new_stream)(str(source), table.schema) as file:
            file.write_table(table)
    done = annotate(source, out, "--text", "text", "--dialogue", "@row", "--yes")
    assert done.code == 0, done.stderr
    found = pq.read_table(done.out) if form == "parquet" else None
    if found is None:
        with pa.memory_map(str(done.out)) as file:
            found = (ipc.open_file if form == "arrow" else ipc.open_stream)(file).read_all()
    assert found.select(table.column_names).equals(table.combine_chunks())
    assert found.schema.metadata[b"about"] == b"these"
    assert found.schema.field("emotions").type == pa.list_(pa.string())
    assert found.schema.field("p_joy").type == pa.float64()
    assert found.schema.field("abstain").type == pa.bool_()
    if form == "parquet":
        assert pq.ParquetFile(done.out).metadata.row_group(0).column(0).compression == "ZSTD"
    for row in found.to_pylist():
        is_said(row)


def test_a_data_set_of_hugging_face_is_one_again(annotate: Annotator) -> None:
    datasets = pytest.importorskip("datasets")
    rows = {
        "dialog": [["Hello.", "Oh no!"], ["We won."]],
        "emotion": [[0, 1], [0]],
    }
    features = datasets.Features(
        {
            "dialog": datasets.Sequence(datasets.Value("string")),
            "emotion": datasets.Sequence(datasets.ClassLabel(names=["none", "fear"])),
        }
    )
    whole = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=features)})
    whole.save_to_disk(str(annotate.place / "set"))
    done = annotate(annotate.place / "set", "read", "--yes")
    assert done.code == 0, done.stderr
    found = datasets.load_from_disk(str(done.out))["train"]
    assert found.features["emotion"].feature.names == ["none", "fear"]
    assert [row["dialog"] for row in found] == rows["dialog"]
    assert [len(row["emotions"]) for row in found] == [2, 1]
    is_said({name: found[0][name][1] for name in ADDED})


def test_convokits_utterances_have_it_in_their_meta(annotate: Annotator) -> None:
    place = annotate.place / "convo"
    place.mkdir()
    one = {"id": "u1", "conversation_id": "c", "text": "Oh no!", "speaker": "a", "timestamp": 1, "meta": {"x": 1}}
    two = {"id": "u2", "conversation_id": "c", "text": "We won.", "speaker": "b", "timestamp": 2}
    (place / "utterances.jsonl").write_text(json.dumps(one) + "\n" + json.dumps(two) + "\n")
    (place / "speakers.json").write_text('{"a": {"meta": {"age": 3}}}')
    done = annotate(place, "read", "--yes")
    assert done.code == 0, done.stderr
    first, second = map(json.loads, (done.out / "utterances.jsonl").read_text().splitlines())
    assert first["meta"].pop("x") == 1
    for row in (first, second):
        is_said(row["meta"])
    assert (done.out / "speakers.json").read_text() == '{"a": {"meta": {"age": 3}}}'


def test_all_files_of_a_directory_are_written_to_one(annotate: Annotator) -> None:
    place = annotate.place / "files"
    place.mkdir()
    for name in ("train", "test"):
        (place / f"{name}.csv").write_text("Dialogue_ID,Utterance_ID,Speaker,Utterance\n0,0,A,Oh no!\n0,1,B,We won.\n")
    done = annotate(place, "read", "--yes")
    assert done.code == 0, done.stderr
    assert sorted(f.name for f in done.out.iterdir()) == ["test.csv", "train.csv"]
    assert done.report["dialogues"] == 2, "the same id in two splits is two dialogues"


@pytest.mark.parametrize(("text", "out"), [('{"text": "Oh no!"}\n', "read.csv"), ("text\nOh no!\n", "read.parquet")])
def test_a_name_that_says_another_form_is_refused(annotate: Annotator, text: str, out: str) -> None:
    done = annotate(annotate.write("said.jsonl" if text.startswith("{") else "said.csv", text), out, "--yes")
    assert (done.code, "is written in the form of said." in done.stderr) == (2, True), done.stderr
    assert "end its name as that of said." in done.stderr
    assert not done.out.exists()


def test_a_release_that_has_no_rows_is_refused(annotate: Annotator, tmp_path: Path) -> None:
    labels = tmp_path / "iemocap" / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    labels.parent.mkdir(parents=True)
    labels.write_text("[6.29 - 8.23]\tSes01F_impro01_F000\tneu\t[2.5, 2.5, 2.5]\nC-E2:\tNeutral;\t()\n")
    spoken = labels.parents[1] / "transcriptions" / labels.name
    spoken.parent.mkdir()
    spoken.write_text("Ses01F_impro01_F000 [006.29-008.23]: Excuse me.\n")
    done = annotate(tmp_path / "iemocap", "read", "--yes")
    assert done.code == 2
    assert "no rows that could be added to" in done.stderr
    assert "selfemo data import" in done.stderr
