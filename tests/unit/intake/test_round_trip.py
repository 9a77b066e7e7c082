"""Dialogues that are written in a form of tables and imported are the dialogues that were written."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfemo.data.text import nfc
from tests.unit.intake.conftest import Importer

HOSTILE = st.sampled_from(
    [
        "\u0085",
        "\u2028",
        "\u2029",
        "\x0b",
        "\x1c",
        "\ufeff",
        '"',
        '""',
        ",",
        ";",
        "\t",
        "|",
        "\n",
        "\r",
        "\r\n",
        "'",
        "=1+1",
        "�",
    ]
)
TEXT = st.lists(
    st.one_of(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5), HOSTILE),
    max_size=6,
)
TEXTS = TEXT.map(lambda parts: nfc("".join(parts)))
LABELS = st.lists(st.sampled_from(["joy", "anger", "怒り", "no fear"]), unique=True, max_size=3)
NAMES = st.sampled_from(["Ann", "Ben O'Hara", "Cem;Çelik", "D|E"])
DIALOGUES = st.lists(st.lists(st.tuples(NAMES, TEXTS, LABELS), min_size=1, max_size=3), min_size=1, max_size=4)
HEADER = ["dialogue_id", "turn", "speaker", "text", "emotion"]


def rows(dialogues: Any, parted: str) -> list[list[str]]:
    return [
        [str(d), str(t), speaker, text, parted.join(labels)]
        for d, turns in enumerate(dialogues)
        for t, (speaker, text, labels) in enumerate(turns)
    ]


def as_csv(path: Path, dialogues: Any) -> Path:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([HEADER, *rows(dialogues, "|")])
    (path / "all.csv").write_bytes(out.getvalue().encode("utf-16"))
    return path / "all.csv"


def as_semicolons(path: Path, dialogues: Any) -> Path:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=";", quoting=csv.QUOTE_ALL).writerows([HEADER, *rows(dialogues, ",")])
    (path / "all.csv").write_bytes(b"sep=;\r\n" + out.getvalue().encode())
    return path / "all.csv"


def as_tsv(path: Path, dialogues: Any) -> Path:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter="\t").writerows([HEADER, *rows(dialogues, "|")])
    (path / "all.tsv").write_bytes(out.getvalue().encode("utf-8-sig"))
    return path / "all.tsv"


def as_jsonl(path: Path, dialogues: Any) -> Path:
    with (path / "all.jsonl").open("w", encoding="utf-8", newline="\n") as out:
        for number, turns in enumerate(dialogues):
            listed = [{"speaker": s, "text": t, "emotions": labels} for s, t, labels in turns]
            out.write(json.dumps({"id": number, "turns": listed}, ensure_ascii=number % 2 == 0) + "\n")
    return path / "all.jsonl"


def as_parquet(path: Path, dialogues: Any) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = [(float(d), float(t), *turn) for d, turns in enumerate(dialogues) for t, turn in enumerate(turns)]
    columns = [list(column) for column in zip(*flat, strict=True)]
    table = pa.table(dict(zip(HEADER, columns, strict=True)), schema=None)
    pq.write_table(table, path / "all.parquet")
    return path / "all.parquet"


@pytest.mark.parametrize("write", [as_csv, as_semicolons, as_tsv, as_jsonl, as_parquet])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(dialogues=DIALOGUES)
def test_what_is_written_is_what_is_imported(write: Any, dialogues: Any) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory)
        file = write(path, dialogues)
        done = Importer(path)(file, "--shares", "1,0,0", "--label", "emotions" if write is as_jsonl else "emotion")
        found = [[(t.speaker, t.text, list(t.gold or ())) for t in d.turns] for d in done.dialogues]
        assert found == [[(s, t, labels) for s, t, labels in turns] for turns in dialogues]
