"""Whether what is served is still like what the policy was judged on."""

from __future__ import annotations

import inspect
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from selfemo.cli.drift import drift
from selfemo.data.labels import LabelSpace
from selfemo.method.drift import Read, compare, psi
from selfemo.method.drifted import BOUND, FEWEST
from tests.conftest import ROOT

SPACE = LabelSpace("talk", ("calm", "joy", "anger"))
counts = arrays.arrays(np.float64, 5, elements=st.integers(0, 1000).map(float))


def turns(dialogues: int, mix: tuple[float, float, float], said: str, seed: int, sure: float = 0.6) -> list[Read]:
    """Three turns a dialogue; of one dialogue all are alike."""
    random = Random(seed)
    found = []
    for number in range(dialogues):
        (label,) = random.choices(SPACE.labels, mix)
        rest = (1 - sure) / 2
        found += [Read(f"{seed}/{number}", {name: sure if name == label else rest for name in SPACE.labels}, said)] * 3
    return found


EVEN = (1.0, 1.0, 1.0)


@given(counts, counts)
def test_the_index_is_none_of_like_shares_and_the_same_from_either_side(a: np.ndarray, b: np.ndarray) -> None:
    assert psi(a, a) == 0
    assert psi(a, b) >= 0
    assert psi(a, b) == pytest.approx(psi(b, a))


def test_the_index_of_two_boxes_is_what_its_formula_says() -> None:
    shares = (1000.5 / 2001, 1000.5 / 2001), (1500.5 / 2001, 500.5 / 2001)
    expected = sum((q - p) * np.log(q / p) for p, q in zip(*shares, strict=True))
    assert psi(np.array([1000.0, 1000.0]), np.array([1500.0, 500.0])) == pytest.approx(expected)


def test_what_has_changed_is_told_by_its_measure() -> None:
    before = turns(60, EVEN, "thank you for the lamp", 1)
    labels, confidence, said = compare(before, turns(60, (0.1, 0.1, 2.0), "thank you for the lamp", 2), SPACE)
    assert (labels.drifted, confidence.drifted, said.drifted) == (True, False, False)
    assert labels.moved[0][0] == "anger"
    labels, confidence, said = compare(before, turns(60, EVEN, "the invoice never came", 3, sure=0.4), SPACE)
    assert (labels.drifted, confidence.drifted, said.drifted) == (False, True, True)
    assert said.moved[0][0] == "any other word"


def test_turns_of_one_dialogue_are_no_evidence_of_their_own() -> None:
    """Without any drift, one in a hundred may be called so; by turns it would be many more."""
    called = 0
    for seed in range(40):
        before, after = turns(25, EVEN, "", 2 * seed), turns(25, EVEN, "", 2 * seed + 1)
        called += compare(before, after, SPACE, bound=0.0)[0].drifted
    assert called <= 2


def test_of_few_dialogues_nothing_is_decided() -> None:
    before, after = turns(60, (1.0, 0.0, 0.0), "", 1), turns(FEWEST - 1, (0.0, 0.0, 1.0), "", 2)
    labels, *_ = compare(before, after, SPACE)
    assert labels.psi > 1
    assert (labels.decided, labels.drifted, labels.served) == (False, False, FEWEST - 1)


def test_a_word_of_few_dialogues_has_no_name() -> None:
    before = turns(30, EVEN, "we all say this", 1) + [Read("x", {"joy": 1.0}, "Grzegorz Grzegorz Grzegorz")] * 9
    said = compare(before, turns(30, EVEN, "we all say that", 2), SPACE)[-1]
    assert "grzegorz" not in {name for name, _, _ in said.moved}


def test_where_no_text_is_known_words_are_not_compared() -> None:
    assert [m.name for m in compare(turns(30, EVEN, "", 1), turns(30, EVEN, "x", 2), SPACE)] == ["labels", "confidence"]


def test_the_index_that_is_too_much_stands_in_one_place() -> None:
    (option,) = (one for one in drift.params if one.name == "bound")
    assert option.default == BOUND == inspect.signature(compare).parameters["bound"].default
    assert str(BOUND) not in (ROOT / "src" / "selfemo" / "cli" / "drift.py").read_text(encoding="utf-8")
