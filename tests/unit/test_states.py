"""Words that say what became of something: an enumeration each, and the same after they were written and read."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from selfemo.registry.moves import Move, MoveKind
from selfemo.registry.rounds import RoundFate, RoundRow, fate
from selfemo.runs.find import Run
from selfemo.runs.going import PieceState, Stage, StepProgress
from selfemo.runs.state import RunState, RunStatus, state_of

ROW = RoundRow(1, 3, 1, 0.5, 0.5, 0.5, (0.4, 0.6), None, None, 1.0, True, reasons={"low": 1}, became=RoundFate.CANARY)
MOVE = Move(1, MoveKind.ROLLBACK, "2", "1", "worse", {"a": "b"})


@pytest.mark.parametrize(
    ("thing", "name", "of"),
    [
        (StepProgress, "state", PieceState),
        (vars(Stage)["state"].fget, "return", PieceState),
        (RunState, "word", RunStatus),
        (Move, "kind", MoveKind),
        (RoundRow, "became", RoundFate),
        (fate, "return", RoundFate),
    ],
)
def test_what_became_of_something_is_a_member_of_an_enumeration(thing: Any, name: str, of: type[StrEnum]) -> None:
    assert get_type_hints(thing)[name] is of


@pytest.mark.parametrize("row", [ROW, replace(ROW, became=RoundFate.UNKNOWN, reasons={})])
def test_a_round_is_the_same_after_it_was_written_and_read(row: RoundRow) -> None:
    read = RoundRow.from_dict(json.loads(json.dumps(row.to_dict())))
    assert read == row
    assert (type(read.weighted_f1_interval), type(read.became)) == (tuple, RoundFate)


def test_a_round_that_was_written_before_anything_became_of_it_is_read() -> None:
    data = {key: value for key, value in ROW.to_dict().items() if key != "became"}
    assert RoundRow.from_dict(data).became is RoundFate.UNKNOWN


def test_a_move_is_the_same_after_it_was_written_and_read() -> None:
    read = Move.from_dict(json.loads(json.dumps(asdict(MOVE))))
    assert read == MOVE
    assert read.told == "2" and type(read.kind) is MoveKind
    with pytest.raises(ValueError, match="sideways"):
        Move.from_dict(asdict(MOVE) | {"kind": "sideways"})


@pytest.mark.parametrize(("status", "word"), [("FINISHED", RunStatus.FINISHED), ("SCHEDULED", RunStatus.OPEN)])
def test_every_word_of_mlflow_is_one_of_ours(status: str, word: RunStatus, tmp_path: Path) -> None:
    assert state_of(Run("r", "id", status, datetime.now(UTC)), tmp_path).word is word
