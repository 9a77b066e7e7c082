"""The reward maths, against plain definitions with sets and loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from selfemo.data.labels import MELD
from selfemo.method import rewards

M = 7
masks = st.integers(0, (1 << M) - 1)
nonempty = st.integers(1, (1 << M) - 1)
smoothing = st.floats(0.01, 2)


def groups(element: st.SearchStrategy[int] = masks, least: int = 2) -> st.SearchStrategy[np.ndarray]:
    return (
        st.integers(least, 8)
        .flatmap(lambda k: st.lists(st.lists(element, min_size=k, max_size=k), min_size=1, max_size=5))
        .map(lambda rows: np.array(rows, dtype=np.uint16))
    )


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
    matrix = MELD.affinity({"anger~disgust": close, "joy~surprise": close / 2})
    assert matrix is not None
    x, y = sets(a), sets(b)
    overlap = sum(max(matrix[i, j] for j in y) for i in x) + sum(max(matrix[i, j] for i in x) for j in y)
    overlap /= 2
    expected = (overlap + s) / (len(x) + len(y) - overlap + s)
    score = rewards.smoothed_iou(a, b, s, matrix)
    assert score == pytest.approx(expected)
    assert score >= rewards.smoothed_iou(a, b, s) - 1e-12


@given(groups(), smoothing)
def test_agreement_is_its_leave_one_out_definition(group: np.ndarray, s: float) -> None:
    closed = rewards.agreement(group, M, s)
    y = rewards.indicators(group, M)
    for n, k in np.ndindex(*group.shape):
        others = (y[n].sum(0) - y[n, k]) / (group.shape[1] - 1)
        expected = (np.minimum(y[n, k], others).sum() + s) / (np.maximum(y[n, k], others).sum() + s)
        assert closed[n, k] == pytest.approx(expected if group[n, k] else 0, abs=1e-6)


@given(nonempty, st.integers(2, 8))
def test_a_unanimous_group_agrees_fully(mask: int, k: int) -> None:
    group = np.full((1, k), mask, dtype=np.uint16)
    assert rewards.agreement(group, M) == pytest.approx(1)
    assert rewards.confidence(rewards.agreement(group, M)) == pytest.approx(1)
    assert rewards.consensus(group, M)[0] == mask


@given(groups(), st.randoms())
def test_the_order_of_a_group_does_not_matter(group: np.ndarray, random: object) -> None:
    order = list(range(group.shape[1]))
    random.shuffle(order)  # type: ignore[attr-defined]  # hypothesis' own random
    assert np.allclose(rewards.agreement(group, M)[:, order], rewards.agreement(group[:, order], M))
    assert np.array_equal(rewards.consensus(group, M), rewards.consensus(group[:, order], M))


def test_chance_agreement_is_what_the_thresholds_assume() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, M, (4000, 8)), rng.integers(0, M, (4000, 8))
    both = rng.random((4000, 8)) < 0.5
    group = np.where(both, (1 << one) | (1 << two), 1 << one).astype(np.uint16)
    assert rewards.confidence(rewards.agreement(group, M, 0.1)).mean() == pytest.approx(0.15, abs=0.03)
    assert rewards.confidence(rewards.agreement(group, M, 1.0)).mean() == pytest.approx(0.37, abs=0.05)


@example(np.ones((1, 2), dtype=np.uint16), [0] * M)
@given(groups(), st.lists(st.integers(0, 50), min_size=M, max_size=M))
def test_calibrated_votes_lean_to_labels_that_are_said_less_often_than_they_occur(
    group: np.ndarray, known: list[int]
) -> None:
    votes = rewards.calibration(group, M, known, 1.0)
    assert (votes > 0).all()
    assert np.array_equal(votes, np.ones(M)) or any(known)
    assert np.allclose(rewards.calibration(group, M, known, 0.0), 1)
    own = rewards.indicators(group, M).mean(axis=1).sum(axis=0) + 1
    ratio = (np.array(known) + 1) / own * own.sum() / (np.array(known) + 1).sum()
    assert not any(known) or np.allclose(votes, ratio.clip(rewards.LEAST, rewards.MOST))


def test_one_stray_vote_does_not_become_the_target_however_rare_its_label_is() -> None:
    group = np.array([[1] * 95 + [2]] * 300 + [[1] * 96] * 300, dtype=np.uint16)
    votes = rewards.calibration(group, 2, [200, 60], 1.0)
    assert votes[1] == rewards.MOST  # the ratio itself is 34
    assert np.all(rewards.consensus(group, 2, votes) == 1)
    even = np.array([[1] * 15 + [2 << i % 6] for i in range(70)], dtype=np.uint16)
    assert np.all(rewards.consensus(even, 7, rewards.calibration(even, 7, [30] * 7, 1.0)) == 1)


def test_a_label_said_too_often_needs_more_votes() -> None:
    group = np.array([[1] * 5 + [2] * 3] * 4, dtype=np.uint16)
    assert rewards.consensus(group, 2).tolist() == [1] * 4
    assert rewards.consensus(group, 2, rewards.calibration(group, 2, [3, 9], 1.0)).tolist() == [2] * 4
    assert rewards.consensus(group, 2, rewards.calibration(group, 2, [9, 3], 1.0)).tolist() == [1] * 4


@given(groups())
def test_consensus_is_what_half_name_or_the_top_label(group: np.ndarray) -> None:
    for row, voted in zip(group, rewards.consensus(group, M), strict=True):
        shares = [np.mean([label in sets(int(m)) for m in row]) for label in range(M)]
        expected = {label for label in range(M) if shares[label] >= 0.5}
        if not expected and max(shares) > 0:
            expected = {int(np.argmax(shares))}
        assert sets(int(voted)) == expected


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
