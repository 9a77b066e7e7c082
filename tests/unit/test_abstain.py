"""When to abstain: the threshold that keeps most turns at a precision, and what is published to choose it by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfemo.data.labels import LabelSpace
from selfemo.data.records import Prediction
from selfemo.errors import CorruptArtifact
from selfemo.method import abstain
from selfemo.method.abstain import LEAST, Calibration
from selfemo.method.probabilities import scaled

SPACE = LabelSpace("two", ("calm", "upset", "glad"), sets=(("upset", "glad"),))
turns = st.lists(st.tuples(st.sampled_from([0.3, 0.5, 0.6, 0.9]), st.booleans()), min_size=1, max_size=60)


def known(rows: list[tuple[float, bool]]) -> Calibration:
    ordered = sorted(rows, key=lambda row: -row[0])
    confidence, right = tuple(c for c, _ in ordered), tuple(int(r) for _, r in ordered)
    return Calibration(labels=SPACE.labels, temperature=1, confidence=confidence, right=right)


@given(turns, st.floats(0.05, 1))
def test_the_threshold_is_the_lowest_that_has_the_precision(rows: list[tuple[float, bool]], precision: float) -> None:
    def of(threshold: float) -> list[bool]:
        return [right for confidence, right in rows if confidence >= threshold]

    fits = [t for t in {c for c, _ in rows} if len(of(t)) >= LEAST and np.mean(of(t)) >= precision]
    found = abstain.for_precision(known(rows), precision)
    if not fits:
        assert found is None
        return
    assert found is not None
    assert found.threshold == min(fits)
    assert found.turns == len(of(found.threshold))
    assert found.precision == pytest.approx(np.mean(of(found.threshold)))
    assert found.coverage == pytest.approx(found.turns / len(rows))
    assert found.low < found.precision


@given(turns)
def test_the_best_precision_is_one_that_can_be_asked_for(rows: list[tuple[float, bool]]) -> None:
    best = abstain.best_precision(known(rows))
    assert (best is None) == (len(rows) < LEAST)
    if best is not None:
        assert abstain.for_precision(known(rows), min(1, best + 0.01)) is None


def drawn(temperature: float, count: int = 2000) -> list[Prediction]:
    """Turns read by a policy that would be right at a temperature."""
    rng = np.random.default_rng(0)
    said = rng.dirichlet(np.full(4, 0.7), count)
    true = scaled(said, temperature)
    gold = [SPACE.answers[rng.choice(4, p=row)] for row in true]
    return [
        Prediction(corpus="two", dialogue=str(i // 10), turn=i % 10, gold=g, predicted=("calm",), posterior=tuple(p))
        for i, (g, p) in enumerate(zip(gold, said.tolist(), strict=True))
    ]


def test_what_is_kept_on_other_turns_has_the_precision_that_was_asked_for() -> None:
    rows = drawn(2.0)
    found = abstain.calibrate(rows[:1000], SPACE)
    assert found.temperature == pytest.approx(2, rel=0.25)
    kept = abstain.for_precision(found, 0.7)
    assert kept is not None
    _, best, sure = abstain.believed(np.array([r.posterior for r in rows[1000:]]), SPACE, found.temperature)
    right = [SPACE.answers[b][0] == r.gold[0] for b, r in zip(best, rows[1000:], strict=True)]
    among = [r for r, c in zip(right, sure, strict=True) if c >= kept.threshold]
    assert np.mean(among) == pytest.approx(0.7, abs=0.07)
    assert np.mean(right) < 0.6


def test_confidences_are_sorted_and_say_how_often_the_answer_is_right() -> None:
    found = abstain.calibrate(drawn(2.0), SPACE)
    assert list(found.confidence) == sorted(found.confidence, reverse=True)
    assert np.mean(found.right) == pytest.approx(np.mean(found.confidence), abs=0.04)


def test_one_dialogue_alone_is_calibrated_too() -> None:
    assert len(abstain.calibrate(drawn(1.0, 10), SPACE).confidence) == 10


def test_a_threshold_of_ones_own_is_told_what_it_comes_to() -> None:
    half = known([(0.9, True)] * 3 + [(0.5, False)])
    found = abstain.kept_at(half, 0.6)
    assert found is not None
    assert (found.precision, found.turns, found.coverage) == (1, 3, 0.75)
    assert abstain.kept_at(half, 0.95) is None


def test_it_is_read_as_it_was_written_and_nothing_else_is(tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    abstain.write_calibration(file, {"two": known([(0.9, True)])})
    assert abstain.read_calibration(file) == {"two": known([(0.9, True)])}
    file.write_text('{"two": {"labels": []}}')
    with pytest.raises(CorruptArtifact, match=r"two\.temperature"):
        abstain.read_calibration(file)
