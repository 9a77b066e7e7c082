from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError
from tests.spaces import MELD, SPACES


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_every_space_round_trips_names_and_masks(space: LabelSpace) -> None:
    for mask in range(1 << len(space)):
        assert space.mask(space.names(mask)) == mask


def test_a_space_has_at_most_sixty_four_labels_and_all_of_them_fit_into_a_mask() -> None:
    names = tuple(f"l{i}" for i in range(64))
    space = LabelSpace("big", names)
    assert space.names(space.mask(names)) == names
    assert space.answer_masks.tolist() == [1 << i for i in range(64)]
    with pytest.raises(UserError, match="65 labels"):
        LabelSpace("big", (*names, "more"))


def test_a_label_named_twice_and_an_alias_to_nowhere_are_refused() -> None:
    with pytest.raises(UserError, match="twice"):
        LabelSpace("x", ("joy", "joy"))
    with pytest.raises(UserError, match="aliases of no label"):
        LabelSpace("x", ("joy",), {"glad": "happy"})


@pytest.mark.parametrize(
    ("word", "label"),
    [("Joy", "joy"), ("HAPPY", "joy"), ("surprises", "surprise"), (" angry ", "anger"), ("joyless", None), ("", None)],
)
def test_lookup_knows_case_aliases_and_plurals(word: str, label: str | None) -> None:
    assert MELD.lookup(word) == label


def test_an_unknown_name_is_an_error_that_lists_the_labels() -> None:
    with pytest.raises(UserError, match="use one of neutral, joy"):
        MELD.mask(["glee"])


@given(st.dictionaries(st.sampled_from(["anger~disgust", "joy~surprise"]), st.floats(0, 1), min_size=1))
def test_affinity_is_symmetric_with_ones_on_the_diagonal(pairs: dict[str, float]) -> None:
    matrix = MELD.affinity_matrix(pairs)
    assert matrix is not None
    assert np.array_equal(matrix, matrix.T)
    assert np.all(np.diag(matrix) == 1)


@pytest.mark.parametrize("pair", ["anger", "anger~anger", "anger~glee"])
def test_a_malformed_affinity_says_how_to_write_it(pair: str) -> None:
    with pytest.raises(UserError, match="not a pair of labels"):
        MELD.affinity_matrix({pair: 0.5})


def test_affinity_outside_its_range_is_refused() -> None:
    with pytest.raises(UserError, match=r"outside 0\.\.1"):
        MELD.affinity_matrix({"anger~disgust": 1.5})
    assert MELD.affinity_matrix({}) is None
