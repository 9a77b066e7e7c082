"""A dialogue: what a turn may hold, and its JSON Lines form."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from selfemo.data.dialogue import Dialogue, Utterance, read_jsonl, write_jsonl
from selfemo.errors import UserError


def dialogue(*turns: Utterance) -> Dialogue:
    return Dialogue(id="own/train/1", corpus="own", split="train", turns=turns)


def test_a_turn_without_votes_is_written_as_it_was_before_there_were_votes(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "d.jsonl", [dialogue(Utterance(speaker="Ann", text="Höre", gold=("joy",)))])
    assert (tmp_path / "d.jsonl").read_text(encoding="utf-8") == (
        '{"schema": "selfemo.dialogue/1", "id": "own/train/1", "corpus": "own", "split": "train", '
        '"turns": [{"speaker": "Ann", "text": "Höre", "gold": ["joy"]}]}\n'
    )
    assert "votes" not in Utterance(speaker="Ann", text="").model_dump_json()


VOTES = st.dictionaries(st.text(min_size=1), st.floats(0, 1e6), min_size=1).filter(lambda v: sum(v.values()) > 0)


@given(VOTES)
def test_votes_survive_the_file(tmp_path_factory: pytest.TempPathFactory, votes: dict[str, float]) -> None:
    path = tmp_path_factory.mktemp("votes") / "d.jsonl"
    whole = dialogue(Utterance(speaker="Ann", text="", votes=votes))
    write_jsonl(path, [whole])
    assert list(read_jsonl(path)) == [whole]


@pytest.mark.parametrize(
    "votes",
    [{}, {"joy": 0.0}, {"joy": -1.0, "fear": 2.0}, {"joy": math.nan}, {"joy": math.inf}, {"a": 1e308, "b": 1e308}],
)
def test_votes_that_are_no_proportions_are_refused(votes: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="vote"):
        Utterance(speaker="Ann", text="", votes=votes)


def test_bad_votes_in_a_file_are_reported_with_their_line(tmp_path: Path) -> None:
    row: dict[str, Any] = {"schema": "selfemo.dialogue/1", "id": "d", "corpus": "own", "split": "train"}
    row["turns"] = [{"speaker": "A", "text": "", "votes": {"joy": -1}}]
    (tmp_path / "d.jsonl").write_text(json.dumps(row))
    with pytest.raises(UserError, match=r"d\.jsonl:1: turns\.0\.votes"):
        list(read_jsonl(tmp_path / "d.jsonl"))


def test_self_play_sees_neither_gold_nor_votes() -> None:
    turn = Utterance(speaker="Ann", text="Oh.", gold=("joy",), votes={"joy": 2, "fear": 1})
    assert dialogue(turn).hidden().turns == (Utterance(speaker="Ann", text="Oh."),)


def test_turns_with_votes_can_be_members_of_a_set() -> None:
    turn = Utterance(speaker="Ann", text="Oh.", votes={"joy": 2})
    assert len({turn, turn.model_copy(), turn.model_copy(update={"votes": {"joy": 1.0}})}) == 2
