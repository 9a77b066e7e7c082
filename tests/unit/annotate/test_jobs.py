"""An annotation from the first row to the last: whoever reads, however often it is killed, the file is the same."""

from __future__ import annotations

import csv
import multiprocessing
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from selfemo.annotate import batches
from selfemo.cli import main
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.method.player import Player, written
from selfemo.method.prompts import Prompter
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.weights import load_model, load_tokenizer
from tests.spaces import SPACES
from tests.unit.annotate.conftest import LABELS, Annotator
from tests.unit.annotate.dying import dies

BATCH = 16


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH", BATCH)


@pytest.fixture(scope="module")
def said(dialogues: list[Dialogue]) -> list[tuple[str, int, Utterance]]:
    """Some turns, and a dialogue that is longer than a batch and than a history."""
    short = [(d.id, t, u) for d in dialogues[:6] for t, u in enumerate(d.turns)]
    turns = [u for d in dialogues[6:16] for u in d.turns][: BATCH + 30]
    return short + [("long", t, u) for t, u in enumerate(turns)]


def table(place: Path, said: list[tuple[str, int, Utterance]]) -> Path:
    with place.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["dialogue_id", "turn", "speaker", "text"])
        out.writerows((name, turn, u.speaker, u.text) for name, turn, u in said)
    return place


def rows(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {(row["dialogue_id"], row["turn"]): row for row in csv.DictReader(file)}


@pytest.fixture
def source(tmp_path: Path, said: list[tuple[str, int, Utterance]]) -> Path:
    return table(tmp_path / "in.csv", said)


def left(annotate: Annotator) -> list[str]:
    return sorted(f.name for f in annotate.place.iterdir() if f.name not in ("in.csv", "store", "work"))


def test_each_turn_is_read_with_the_turns_before_it(
    annotate: Annotator, source: Path, said: list[tuple[str, int, Utterance]], tiny: Path
) -> None:
    done = annotate(source, "out.csv")
    assert done.code == 0, done.stderr
    tokenizer = load_tokenizer(str(tiny))
    player = Player(TransformersEngine(load_model(str(tiny)), tokenizer), Prompter(tokenizer), "tiny")
    by_dialogue: dict[str, list[Utterance]] = {}
    space = SPACES["sample"]
    found = rows(done.out)
    for name, turn, utterance in said:
        history = by_dialogue.setdefault(name, [])
        history.append(Utterance(speaker=utterance.speaker, text=utterance.text))
        (chances,) = player.read([history], [space])
        row = found[name, str(turn)]
        answers = dict(zip(space.answers, written(chances), strict=True))
        for label in LABELS:
            expected = sum(p for answer, p in answers.items() if label in answer)
            assert float(row[f"p_{label}"]) == pytest.approx(expected, abs=1e-4)
    assert done.report["turns"] == len(said)
    assert left(annotate) == ["out.csv", "out.csv.annotation.json"]


def test_rows_may_come_in_any_order_and_keep_it(
    annotate: Annotator, source: Path, said: list[tuple[str, int, Utterance]]
) -> None:
    mixed = list(said)
    random.Random(0).shuffle(mixed)
    ordered = rows(annotate(source, "out.csv").out)
    done = annotate(table(annotate.place / "mixed.csv", mixed), "mixed-out.csv")
    found = rows(done.out)
    assert list(found) == [(name, str(turn)) for name, turn, _ in mixed]
    for key, row in found.items():
        for label in LABELS:
            assert float(row[f"p_{label}"]) == pytest.approx(float(ordered[key][f"p_{label}"]), abs=1e-4)


def test_rows_of_several_raters_are_one_turn(annotate: Annotator) -> None:
    text = "text,id,rater_id\nOh no!,a,1\nWe won.,b,1\nOh no!,a,2\n"
    done = annotate(annotate.write("in.csv", text), "out.csv", "--dialogue", "id", "--rater", "rater_id", "--yes")
    first, _, third = done.text.splitlines()[1:]
    assert first.partition(",a,1,")[2] == third.partition(",a,2,")[2] != ""
    assert done.report["turns"] == 2


def test_processes_and_shards_come_to_the_same_file(annotate: Annotator, source: Path) -> None:
    whole = annotate(source, "out.csv").out.read_bytes()
    assert annotate(source, "two.csv", "--processes", "2").out.read_bytes() == whole
    for number in (2, 0):
        done = annotate(source, "sharded.csv", "--shard", f"{number}/3")
        assert done.code == 0, done.stderr
        assert not done.out.exists()
        assert f"shard {number} of 3 is done; others are not" in done.stdout
    assert annotate(source, "sharded.csv", "--shard", "1/3").out.read_bytes() == whole
    assert "two.csv" in (found := left(annotate))
    assert [name for name in found if name.startswith(".")] == []


def _killed(arguments: list[str], after: int) -> None:
    """The command in a process that is killed when it has read so many batches."""
    batches.BATCH = BATCH
    read, count = batches.Worker.read, 0

    def counted(worker: Any, batch: int) -> int:
        nonlocal count
        if count == after:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        return read(worker, batch)

    pytest.MonkeyPatch().setattr(batches.Worker, "read", counted)  # in this process alone
    main(arguments)


def test_killed_it_goes_on_and_done_it_does_nothing(
    annotate: Annotator, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = annotate(source, "whole.csv").out.read_bytes()
    arguments = annotate.arguments(source, "out.csv")
    process = multiprocessing.get_context("spawn").Process(target=_killed, args=(arguments, 3))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (annotate.place / "out.csv").exists()
    read: list[int] = []
    own = batches.Worker.read

    def noted(worker: batches.Worker, batch: int) -> int:
        read.append(batch)
        return own(worker, batch)

    monkeypatch.setattr(batches.Worker, "read", noted)
    done = annotate(source, "out.csv")
    assert done.out.read_bytes() == whole
    assert read == list(range(3, -(-done.report["turns"] // BATCH)))
    read.clear()
    again = annotate(source, "out.csv")
    assert (again.code, again.stdout.splitlines()[-1], read) == (0, done.stdout.splitlines()[-1], [])
    assert left(annotate) == ["out.csv", "out.csv.annotation.json", "whole.csv", "whole.csv.annotation.json"]


def test_a_process_that_dies_is_told_and_what_was_read_stays(
    annotate: Annotator, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotate(source, "out.csv", "--shard", "0/2")
    with monkeypatch.context() as patched:
        patched.setattr(batches, "_start", dies)
        done = annotate(source, "out.csv", "--processes", "2")
    assert done.code == 2
    assert "a process died" in done.stderr
    assert "give the same command again" in done.stderr
    assert not done.out.exists()
    again = annotate(source, "out.csv")
    assert again.code == 0
    assert f"{-(-again.report['turns'] // (2 * BATCH)) * BATCH} turns were read before" in again.stderr


def test_a_batch_that_is_cut_short_is_read_again(annotate: Annotator, source: Path) -> None:
    whole = annotate(source, "whole.csv").out.read_bytes()
    annotate(source, "out.csv", "--shard", "0/2")
    (place,) = (f for f in annotate.place.iterdir() if f.name.startswith(".out.csv."))
    batch = place / "parts" / f"{0:08d}.f4"
    batch.write_bytes(batch.read_bytes()[:-4])
    assert annotate(source, "out.csv", "--shard", "1/2").stdout.splitlines()[-1].startswith("shard 1 of 2 is done")
    assert annotate(source, "out.csv", "--shard", "0/2").out.read_bytes() == whole


def test_a_threshold_is_chosen_anew_without_reading_again(
    annotate: Annotator, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotate(source, "out.csv", "--shard", "0/2", "--threshold", "0.1")
    annotate(source, "out.csv", "--shard", "1/2", "--threshold", "1")
    assert annotate(source, "out.csv", "--threshold", "1").report["kept"] == 0


def test_what_is_there_is_not_replaced_unless_it_is_asked_for(annotate: Annotator, source: Path) -> None:
    mine = annotate.write("out.csv", "mine\n")
    done = annotate(source, "out.csv")
    assert done.code == 2
    assert "is already there" in done.stderr
    assert "--force" in done.stderr
    assert mine.read_text() == "mine\n"
    assert annotate(source, "out.csv", "--force").code == 0
    assert annotate(source, "in.csv", "--force").code == 2
    (annotate.place / "folder").mkdir()
    assert "not annotated" in annotate(source, "folder", "--force").stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dialogue_id,turn,text\na,1,x\na,one,y\n", "in.csv: row 3: column turn: 'one' is no number and no time"),
        ("dialogue_id,turn,text\na,1,x\na,1,y\n", "in.csv: row 3: column turn: this turn was there in row 2"),
        ("dialogue_id,turn,text\na,1,x\na,2\n", "in.csv: row 3: column text: 2 cells, where there are 3 columns"),
        ("dialogue_id,turn,text\na,1,x\n,2,y\n", "in.csv: row 3: column dialogue_id: no id of a dialogue"),
        ("text,confidence\nx,1\n", "in.csv: has a column 'confidence' already"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_written(annotate: Annotator, text: str, said: str) -> None:
    turn = ["--turn", "turn"] if "turn" in text else []
    done = annotate(annotate.write("in.csv", text), "out.csv", *turn, "--yes")
    assert done.code == 2
    assert said in done.stderr
    assert "fix: " in done.stderr
    assert left(annotate) == []


def test_a_name_that_comes_up_late_is_refused_and_a_prefix_makes_room_for_it(annotate: Annotator) -> None:
    lines = ['{"text": "x"}'] * 400 + ['{"text": "y", "abstain": true}']
    source = annotate.write("in.jsonl", "\n".join(lines))
    done = annotate(source, "out.jsonl", "--yes")
    assert "row 401: column abstain: is there already" in done.stderr
    assert "--prefix" in done.stderr
    last = annotate(source, "out.jsonl", "--yes", "--prefix", "emo_").lines[-1]
    assert last["abstain"] is True
    assert last["emo_abstain"] in (True, False)


def test_labels_that_an_encoding_lacks_are_refused_before_anything_is_read(annotate: Annotator) -> None:
    source = annotate.write("in.csv", "text\nHélas\n", "cp1252")
    done = annotate(source, "out.csv", "--encoding", "cp1252", "--prefix", "感情_", "--yes")
    assert done.code == 2
    assert "cp1252 has no '感'" in done.stderr


@pytest.mark.parametrize("shard", ["3/3", "x", "1", "-1/2"])
def test_a_shard_that_is_none_is_refused(annotate: Annotator, source: Path, shard: str) -> None:
    done = annotate(source, "out.csv", f"--shard={shard}")
    assert done.code == 2
    assert "is no shard" in done.stderr


def test_a_history_that_is_too_long_for_the_model_is_cut(annotate: Annotator) -> None:
    text = "dialogue_id,speaker,text\n" + "".join(f"a,S,{'Ω' * 599}{n % 10}\n" for n in range(8))
    done = annotate(annotate.write("in.csv", text), "out.csv", "--yes")
    assert done.code == 0, done.stderr
