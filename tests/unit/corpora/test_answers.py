"""The allowed answers of a corpus are what its annotators give: no turn's gold is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfemo.data.corpora import load_corpus
from selfemo.data.corpora.rows import BadRows
from selfemo.data.dialogue import Dialogue
from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError
from tests.spaces import SPACES


def given(dialogues: list[Dialogue]) -> set[tuple[str, ...]]:
    return {turn.gold for d in dialogues for turn in d.turns if turn.gold}


def test_the_sample_corpus_has_no_other_sets_than_are_allowed(dialogues: list[Dialogue]) -> None:
    assert given(dialogues) == set(SPACES["sample"].answers)


def test_meld_has_none_but_single_labels(meld_directory: Path) -> None:
    assert given(load_corpus("meld", str(meld_directory), BadRows())) == set(SPACES["meld"].answers)


def test_answers_are_every_label_and_the_sets_with_their_masks() -> None:
    space = LabelSpace("x", ("joy", "fear"), neutral=None, sets=(("fear", "joy"),))
    assert space.answers == (("joy",), ("fear",), ("fear", "joy"))
    assert space.answer_masks.tolist() == [1, 2, 3]


@pytest.mark.parametrize("sets", [(("joy",),), (("joy", "joy"),), (("joy", "hope"),)])
def test_a_set_has_two_labels_of_the_space_at_least(sets: tuple[tuple[str, ...], ...]) -> None:
    with pytest.raises(UserError, match="no set of two labels"):
        LabelSpace("x", ("joy", "fear"), neutral=None, sets=sets)
