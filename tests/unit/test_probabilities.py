"""Calibration error, Brier score and temperature: against scikit-learn, plain definitions and what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from selfemo.method import probabilities
from tests.spaces import SPACES

M = 4
turns = st.lists(
    st.tuples(st.lists(st.floats(0.01, 1), min_size=M, max_size=M), st.integers(0, M - 1)), min_size=2, max_size=40
)


def arrays(rows: list[tuple[list[float], int]]) -> tuple[np.ndarray, np.ndarray]:
    chances = np.array([r[0] for r in rows])
    return chances / chances.sum(axis=1, keepdims=True), np.array([r[1] for r in rows])


@given(turns)
def test_the_brier_score_is_scikit_learns(rows: list[tuple[list[float], int]]) -> None:
    chances, gold = arrays(rows)
    known = sum(brier_score_loss(gold == label, chances[:, label], pos_label=True) for label in range(M))
    assert probabilities.brier(chances, gold) == pytest.approx(known)


@given(turns)
def test_the_calibration_error_is_its_definition(rows: list[tuple[list[float], int]]) -> None:
    chances, gold = arrays(rows)
    expected = 0.0
    for low in range(probabilities.BINS):
        of_bin = [i for i, c in enumerate(chances) if int(min(c.max() * probabilities.BINS, 14.5)) == low]
        if of_bin:
            right = np.mean([chances[i].argmax() == gold[i] for i in of_bin])
            expected += len(of_bin) / len(gold) * abs(right - np.mean([chances[i].max() for i in of_bin]))
    assert probabilities.calibration_error(chances, gold) == pytest.approx(expected)


@given(turns)
def test_the_reliability_diagram_has_each_turn_once(rows: list[tuple[list[float], int]]) -> None:
    chances, gold = arrays(rows)
    count, sure, right = probabilities.reliability(chances, gold)
    assert count.sum() == len(gold)
    assert (count * sure).sum() == pytest.approx(chances.max(axis=1).sum())
    assert (count * right).sum() == pytest.approx((chances.argmax(axis=1) == gold).sum())


@given(turns)
def test_a_risk_curve_ends_with_all_turns_and_agrees_with_the_accuracy_of_the_surest(
    rows: list[tuple[list[float], int]],
) -> None:
    chances, gold = arrays(rows)
    curve = probabilities.risk_curve(chances, gold)
    surest = probabilities.risk_coverage(chances, gold)
    share, risk = curve[-1]
    assert share == 1.0
    assert risk == pytest.approx(1 - surest["1"])
    assert [share for share, _ in curve] == sorted({share for share, _ in curve})
    assert len(probabilities.risk_curve(chances, gold, points=5)) <= 5


def drawn(temperature: float, turns: int = 6000) -> tuple[np.ndarray, np.ndarray]:
    """A policy whose probabilities would be right at a temperature, and what was the case."""
    rng = np.random.default_rng(0)
    said = rng.dirichlet(np.full(M, 0.7), turns)
    true = probabilities.scaled(said, temperature)
    return said, np.array([rng.choice(M, p=row) for row in true])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_makes_probabilities_true_is_found(temperature: float) -> None:
    said, gold = drawn(temperature)
    assert probabilities.fitted_temperature(said, gold) == pytest.approx(temperature, rel=0.1)
    believed = probabilities.cross_scaled(said, gold, [str(i // 10) for i in range(len(gold))])
    assert probabilities.calibration_error(believed, gold) < 0.03
    assert np.array_equal(believed.argmax(1), said.argmax(1)), "no answer changes"


def test_no_turn_has_a_part_in_its_own_temperature() -> None:
    said, gold = drawn(2.0, 40)
    dialogues = [str(i // 10) for i in range(40)]
    before = probabilities.cross_scaled(said, gold, dialogues)
    changed = gold.copy()
    changed[:10] = (changed[:10] + 1) % M  # the first dialogue, of the first half
    after = probabilities.cross_scaled(said, changed, dialogues)
    assert np.array_equal(before[:10], after[:10])
    assert not np.array_equal(before[10:20], after[10:20])


def test_the_surest_come_first() -> None:
    said = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.55, 0.45]])
    found = probabilities.risk_coverage(said, np.array([0, 0, 0, 1, 1]))
    assert found == {"0.2": 1, "0.4": 1, "0.6": 1, "0.8": 0.75, "1": 0.6}


def test_the_chance_of_a_primary_label_is_that_of_all_answers_it_leads() -> None:
    space = SPACES["sample"]
    read = np.zeros((1, len(space.answers)))
    read[0, [space.answers.index(a) for a in (("joy",), ("joy", "surprise"), ("fear",))]] = 0.5, 0.3, 0.2
    (found,) = probabilities.of_primary(read, space)
    assert found[[space.index["joy"], space.index["surprise"], space.index["fear"]]].tolist() == [0.8, 0, 0.2]
