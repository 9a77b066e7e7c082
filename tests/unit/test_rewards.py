"""The reward maths, against plain definitions with sets and loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from selfemo.method import rewards
from tests.spaces import MELD, SPACES

M = 7
nonempty = st.integers(1, (1 << M) - 1)
smoothing = st.floats(0.01, 2)


ANSWERS = SPACES["sample"].answer_masks


def chances(count: int) -> st.SearchStrategy[list[float]]:
    """How likely each of some things is."""
    return st.lists(st.floats(0.001, 1), min_size=count, max_size=count).map(lambda w: [x / sum(w) for x in w])


def posteriors() -> st.SearchStrategy[np.ndarray]:
    return st.lists(chances(len(ANSWERS)), min_size=1, max_size=5).map(np.array)


def sets(mask: int) -> set[int]:
    return {i for i in range(M) if mask >> i & 1}


@given(nonempty, nonempty, smoothing)
def test_smoothed_iou_is_its_definition(a: int, b: int, s: float) -> None:
    x, y = sets(a), sets(b)
    assert rewards.smoothed_iou(a, b, s) == pytest.approx((len(x & y) + s) / (len(x | y) + s))


@given(nonempty, nonempty, smoothing)
def test_smoothed_iou_is_symmetric_and_one_only_for_equal_sets(a: int, b: int, s: float) -> None:
    score = rewards.smoothed_iou(a, b, s)
    assert score == rewards.smoothed_iou(b, a, s)
    assert 0 < score <= 1
    assert (score == 1) == (a == b)


@given(nonempty, st.data())
def test_naming_more_wrong_labels_scores_less(a: int, data: st.DataObject) -> None:
    wrong = sorted(set(range(M)) - sets(a))
    if len(wrong) < 2:
        return
    count = data.draw(st.integers(2, len(wrong)))
    more, fewer = sum(1 << i for i in wrong[:count]), sum(1 << i for i in wrong[: count - 1])
    assert rewards.smoothed_iou(a, more) < rewards.smoothed_iou(a, fewer)


@given(nonempty)
def test_an_unparseable_prediction_scores_nothing(a: int) -> None:
    assert rewards.smoothed_iou(a, 0) == 0
    assert rewards.smoothed_iou(0, a) == 0


@given(nonempty, nonempty, smoothing)
def test_identity_affinity_changes_nothing(a: int, b: int, s: float) -> None:
    assert rewards.smoothed_iou(a, b, s, np.eye(M)) == pytest.approx(rewards.smoothed_iou(a, b, s))


@given(nonempty, nonempty, smoothing, st.floats(0, 1))
def test_affinity_is_its_definition_and_never_lowers_a_score(a: int, b: int, s: float, close: float) -> None:
    matrix = MELD.affinity_matrix({"anger~disgust": close, "joy~surprise": close / 2})
    assert matrix is not None
    x, y = sets(a), sets(b)
    overlap = sum(max(matrix[i, j] for j in y) for i in x) + sum(max(matrix[i, j] for i in x) for j in y)
    overlap /= 2
    expected = (overlap + s) / (len(x) + len(y) - overlap + s)
    score = rewards.smoothed_iou(a, b, s, matrix)
    assert score == pytest.approx(expected)
    assert score >= rewards.smoothed_iou(a, b, s) - 1e-12


@given(posteriors(), smoothing)
def test_confidence_is_the_expected_smoothed_iou_of_two_answers(read: np.ndarray, s: float) -> None:
    between = rewards.iou_matrix(ANSWERS, s)
    for row, sure in zip(read, rewards.expected_agreement(read, between), strict=True):
        pairs = itertools.product(zip(row, ANSWERS, strict=True), repeat=2)
        expected = sum(p * q * rewards.smoothed_iou(a, b, s) for (p, a), (q, b) in pairs)
        assert sure == pytest.approx(expected)
        assert 0 < sure <= 1 + 1e-9


def test_without_doubt_confidence_is_full_and_by_chance_it_is_what_the_thresholds_assume() -> None:
    between = rewards.iou_matrix(MELD.answer_masks, 0.1)
    assert rewards.expected_agreement(np.eye(M), between) == pytest.approx(np.ones(M))
    assert rewards.expected_agreement(np.full((1, M), 1 / M), between)[0] == pytest.approx(0.18, abs=0.005)


@given(st.lists(st.floats(-300, 0), min_size=2, max_size=9), st.floats(-50, 50))
def test_a_posterior_is_what_remains_if_one_of_the_answers_is_given(scores: list[float], shift: float) -> None:
    read = rewards.posterior(scores)
    assert read.sum() == pytest.approx(1)
    assert rewards.posterior(np.array(scores) + shift) == pytest.approx(read)
    best = int(np.argmax(scores))
    assert np.log(np.maximum(read, 1e-300) / read[best]) == pytest.approx(np.array(scores) - scores[best], abs=1e-6)


@example(np.ones((1, M)) / M, [0] * M)
@given(st.lists(chances(M), min_size=1, max_size=5).map(np.array), st.lists(st.integers(0, 50), min_size=M, max_size=M))
def test_calibrated_votes_lean_to_labels_that_are_said_less_often_than_they_occur(
    named: np.ndarray, known: list[int]
) -> None:
    votes = rewards.label_shift_weights(named, known, 1.0)
    assert (votes > 0).all()
    assert np.array_equal(votes, np.ones(M)) or any(known)
    assert np.allclose(rewards.label_shift_weights(named, known, 0.0), 1)
    own = named.sum(axis=0) + 1
    ratio = (np.array(known) + 1) / own * own.sum() / (np.array(known) + 1).sum()
    assert not any(known) or np.allclose(votes, ratio.clip(rewards.LEAST, rewards.MOST))


def test_a_stray_chance_does_not_become_the_target_however_rare_its_label_is() -> None:
    named = np.array([[0.99, 0.01]] * 300 + [[1.0, 0.0]] * 300)
    votes = rewards.label_shift_weights(named, [200, 60], 1.0)
    assert votes[1] == rewards.MOST  # the ratio itself is more
    assert np.all(agreed(named, votes) == 1)
    even = np.array([[15 / 16] + [(i % 6 == j) / 16 for j in range(6)] for i in range(70)])
    assert np.all(agreed(even, rewards.label_shift_weights(even, [30] * 7, 1.0)) == 1)


def agreed(named: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """The consensus of turns whose answers are single labels, each counting so much."""
    singles = (1 << np.arange(named.shape[1])).astype(np.uint64)
    return rewards.consensus(rewards.reweighted(named / named.sum(1, keepdims=True), singles, votes))


@given(posteriors())
def test_what_counts_all_labels_alike_changes_nothing(read: np.ndarray) -> None:
    assert rewards.reweighted(read, ANSWERS, np.full(M, 2.0)) == pytest.approx(read)


def test_a_set_counts_as_its_labels_in_the_mean() -> None:
    answers = np.array([0b01, 0b10, 0b11], dtype=np.uint64)
    found = rewards.reweighted(np.full((1, 3), 1 / 3), answers, np.array([4.0, 1.0]))
    assert found[0] == pytest.approx(np.array([4, 1, 2]) / 7)


def test_a_label_said_too_often_needs_more_votes() -> None:
    named = np.array([[5 / 8, 3 / 8]] * 4)
    assert rewards.consensus(named).tolist() == [1] * 4
    assert agreed(named, rewards.label_shift_weights(named, [3, 9], 1.0)).tolist() == [2] * 4
    assert agreed(named, rewards.label_shift_weights(named, [9, 3], 1.0)).tolist() == [1] * 4


@given(posteriors())
def test_consensus_is_what_is_as_likely_as_not_or_the_likeliest_label(read: np.ndarray) -> None:
    named = rewards.marginals(read, ANSWERS, M)
    for row, of_labels, found in zip(read, named, rewards.consensus(named), strict=True):
        shares = [sum(p for p, a in zip(row, ANSWERS, strict=True) if label in sets(int(a))) for label in range(M)]
        assert of_labels == pytest.approx(shares)
        expected = {label for label in range(M) if of_labels[label] >= 0.5} or {int(np.argmax(of_labels))}
        assert sets(int(found)) == expected


@given(st.lists(st.lists(st.floats(0, 2), min_size=4, max_size=4), min_size=1, max_size=4), st.floats(0.01, 1))
def test_advantages_are_centred_and_bounded_by_the_floor(rows: list[list[float]], floor: float) -> None:
    values = np.array(rows)
    result = rewards.advantages(values, np.ones(len(values)), floor)
    assert result.sum(axis=1) == pytest.approx(0, abs=1e-6)
    spread = np.abs(values - values.mean(axis=1, keepdims=True))
    assert np.all(np.abs(result) <= spread / floor + 1e-9)


def test_the_floor_keeps_near_equal_rewards_from_becoming_large_advantages() -> None:
    values = np.array([[1.0] * 7 + [0.99]])
    assert np.abs(rewards.advantages(values, np.ones(1))).max() < 0.2  # stock GRPO gives -2.41


def test_an_uncertain_group_moves_the_policy_less_and_gold_counts_fully() -> None:
    c = np.array([0.1, 0.3, 0.45, 0.9, 0.1])
    weight = rewards.group_weight(c, np.array([False] * 4 + [True]), low=0.2, high=0.7)
    assert weight[0] == 0
    assert 0 < weight[1] < weight[2] < weight[3] == 1
    assert weight[4] == 1


def test_constant_groups_and_the_combined_reward() -> None:
    values = np.array([[1.0, 1.0], [1.0, 0.5]])
    assert rewards.constant_groups(values).tolist() == [True, False]
    assert rewards.combine(np.stack([values] * 3, axis=-1), (1, 0.25, 0.1))[1].tolist() == [1.35, 0.675]


def test_entropy_of_counts_is_greatest_when_even_and_zero_where_there_is_one_kind_or_nothing() -> None:
    assert rewards.entropy([5, 5, 0]) == pytest.approx(np.log(2))
    assert rewards.entropy([5, 1]) < np.log(2)
    assert rewards.entropy([7]) == rewards.entropy([]) == 0


COUNTED = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=60)
KNOWN = st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 10**6))


@given(COUNTED, KNOWN, st.floats(0, 1))
def test_balance_is_bounded_keeps_the_mean_and_lifts_labels_that_are_said_less_often_than_they_occur(
    labels: list[str], known: dict[str, int], power: float
) -> None:
    weight = rewards.label_balance(labels, known, power)
    assert weight.mean() == pytest.approx(1)
    assert np.all((weight >= rewards.LEAST - 1e-9) & (weight <= rewards.MOST + 1e-9))
    ratio = [(known.get(label, 0) + 1) / labels.count(label) for label in labels]
    order = np.argsort(ratio)
    assert not any(known.values()) or np.all(np.diff(weight[order]) >= -1e-9)


@given(COUNTED, st.floats(0, 1))
def test_with_nothing_known_all_groups_count_alike(labels: list[str], power: float) -> None:
    assert rewards.label_balance(labels, {}, power).tolist() == [1.0] * len(labels)
    assert rewards.label_balance(labels, {"a": 0}, power).tolist() == [1.0] * len(labels)


def test_a_lone_label_does_not_outweigh_all_others() -> None:
    weight = rewards.label_balance(["neutral"] * 99 + ["fear"], {"neutral": 50, "fear": 50}, 1.0)
    assert weight[-1] == rewards.MOST
    assert weight[0] == pytest.approx(96 / 99)
    assert rewards.label_balance(["fear"] * 3, {"joy": 9}, 1.0).tolist() == [1.0] * 3


def test_at_full_balance_labels_count_in_sum_as_they_occur_among_known_ones() -> None:
    labels = list("aaaab")
    weight = rewards.label_balance(labels, {"a": 5, "b": 1}, 1.0)
    assert weight[:4].sum() == pytest.approx(3 * weight[4])  # 5 + 1 to 1 + 1
    assert rewards.label_balance(labels, {"a": 5}, 0.0).tolist() == [1.0] * 5
