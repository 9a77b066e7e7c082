"""Sets of labels against scikit-learn, soft labels against their definition, and the gate where gold has sets."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, label_ranking_average_precision_score, log_loss

from selfemo import config as configuration
from selfemo.data.labels import LabelSpace
from selfemo.data.records import Prediction
from selfemo.errors import UserError
from selfemo.method import gate
from selfemo.method.evaluation import summarise
from selfemo.method.rewards import indicators, marginals, smoothed_iou
from selfemo.method.sets import decisions, masks_of, shared, summarise_sets, vote_cross_entropy
from selfemo.method.tallies import micro_f1
from tests.spaces import SPACES

SPACE = LabelSpace(
    "four",
    ("calm", "joy", "anger", "fear"),
    neutral="calm",
    sets=(("joy", "fear"), ("anger", "fear"), ("fear", "anger")),
)
CONFIG = configuration.load(None, ["evaluation.bootstrap=100"])
answers = st.sampled_from(SPACE.answers)


def row(gold: tuple[str, ...], named: tuple[str, ...], place: int = 0, **more: object) -> Prediction:
    sure = np.array([0.7 if answer == named else 0.05 for answer in SPACE.answers])
    return Prediction.model_validate(
        dict(corpus="four", dialogue=str(place // 3), turn=place % 3, gold=gold, predicted=named)
        | dict(posterior=tuple(sure / sure.sum()))
        | more
    )


pairs = st.lists(st.tuples(answers, answers), min_size=1, max_size=30)


@given(pairs)
def test_figures_of_sets_are_scikit_learns(drawn: list[tuple[tuple[str, ...], tuple[str, ...]]]) -> None:
    rows = [row(gold, named, place) for place, (gold, named) in enumerate(drawn)]
    found = summarise_sets(rows, SPACE, CONFIG)
    gold, named = (indicators(masks_of(sets, SPACE), 4).astype(int) for sets in zip(*drawn, strict=True))
    known = dict(zero_division=0)
    assert found["sets_micro_f1"] == pytest.approx(f1_score(gold, named, average="micro", **known))
    assert found["sets_macro_f1"] == pytest.approx(f1_score(gold, named, average="macro", **known))
    assert list(found["sets_f1"].values()) == pytest.approx(f1_score(gold, named, average=None, **known))
    assert found["subset_accuracy"] == pytest.approx(accuracy_score(gold, named))
    chances = marginals(np.array([r.posterior for r in rows]), SPACE.answer_masks, 4)
    assert found["label_ranking_average_precision"] == pytest.approx(
        label_ranking_average_precision_score(gold, chances)
    )
    assert list(found["support"].values()) == gold.sum(0).tolist()
    assert found["turns_of_several"] == sum(len(g) > 1 for g, _ in drawn)
    asked, said = (masks_of(sets, SPACE) for sets in zip(*drawn, strict=True))
    assert found["mean_smoothed_iou"] == pytest.approx(smoothed_iou(asked, said, smoothing=0.1).mean())
    low, high = found["sets_micro_f1_interval"]
    assert 0 <= low <= high <= 1
    assert "vote_cross_entropy" not in found


@given(pairs)
def test_decisions_add_up_over_dialogues(drawn: list[tuple[tuple[str, ...], tuple[str, ...]]]) -> None:
    rows = [row(gold, named, place) for place, (gold, named) in enumerate(drawn)]
    tallied = decisions(rows, SPACE)
    assert len(tallied) == len({r.dialogue for r in rows})
    assert (
        tallied.sum(0).tolist() == decisions([r.model_copy(update={"dialogue": "0"}) for r in rows], SPACE)[0].tolist()
    )


def test_the_neutral_label_is_left_out_of_the_convention_that_leaves_it_out() -> None:
    rows = [row(("calm",), ("calm",)), row(("joy",), ("calm",), 1), row(("joy",), ("joy",), 2)]
    found = summarise(rows, SPACE, CONFIG)
    labels = ["joy", "anger", "fear"]
    golds, named = [r.gold[0] for r in rows], [r.predicted[0] for r in rows]
    assert found["micro_f1_emotions"] == pytest.approx(f1_score(golds, named, labels=labels, average="micro"))
    assert "micro_f1_emotions" not in summarise(rows, LabelSpace("x", SPACE.labels, sets=SPACE.sets), CONFIG)


def test_a_close_miss_counts_by_the_affinity_of_its_labels() -> None:
    close = LabelSpace("four", SPACE.labels, sets=SPACE.sets, affinity={"anger~fear": 0.5})
    rows = [row(("anger",), ("fear",))]
    far, near = (summarise_sets(rows, space, CONFIG)["mean_smoothed_iou"] for space in (SPACE, close))
    assert far < near < 1


@given(st.lists(st.lists(st.floats(0, 5), min_size=4, max_size=4).filter(any), min_size=1, max_size=8), st.data())
def test_cross_entropy_with_votes_is_least_where_probabilities_are_the_votes(
    votes: list[list[float]], data: st.DataObject
) -> None:
    shares = [dict(zip(SPACE.labels, one, strict=True)) for one in votes]
    truth = np.array(votes) / np.sum(votes, axis=1, keepdims=True)
    other = np.array([data.draw(st.permutations(list(one))) for one in truth])
    assert vote_cross_entropy(truth, shares, SPACE) <= vote_cross_entropy(other, shares, SPACE) + 1e-9


def test_votes_of_one_annotator_are_scored_as_log_loss() -> None:
    rows = [row((label,), (label,), i, votes={label: 3}) for i, label in enumerate(("joy", "anger"))]
    found = summarise_sets([*rows, row(("calm",), ("calm",), 2)], SPACE, CONFIG)
    chances = shared(np.array([r.posterior for r in rows]), SPACE)
    assert chances.sum(axis=1) == pytest.approx([1, 1])
    assert found["voted_turns"] == 2
    assert found["vote_cross_entropy"] == pytest.approx(log_loss([1, 2], chances, labels=range(4)))


def test_a_set_shares_its_probability_among_its_labels() -> None:
    sure = np.zeros((1, len(SPACE.answers)))
    sure[0, 4] = 1
    assert shared(sure, SPACE)[0].tolist() == [0, 0.5, 0, 0.5]
    votes = [{"joy": 1.0, "fear": 1.0}]
    assert vote_cross_entropy(shared(sure, SPACE), votes, SPACE) == pytest.approx(math.log(2))


def compared(better: bool, gold: tuple[str, ...], count: int = 36) -> list[Prediction]:
    """Turns whose first label is right in any case; of the second the better policy is right as well."""
    return [row(gold, gold if better or i % 2 else gold[:1], i) for i in range(count)]


def test_where_gold_has_sets_the_gate_decides_on_label_decisions() -> None:
    settings = configuration.load(None, ["corpora=[{name: four, path: x}]"])
    gold = ("joy", "fear")
    decision = gate.check(compared(False, gold), compared(True, gold), {"four": SPACE}, settings)
    found = decision.gains["four"]
    assert decision.promoted  # in single labels the two are alike
    assert (found.figure, found.dialogues) == (gate.MICRO, 12)
    old, new = (micro_f1(decisions(compared(better, gold), SPACE).sum(0)) for better in (False, True))
    assert found.gain == pytest.approx(new - old)
    assert f"in {gate.MICRO}" in decision.reason
    back = gate.check(compared(True, gold), compared(False, gold), {"four": SPACE}, settings)
    assert back.reason.startswith(f"{gate.MICRO} on four fell by")


def test_where_gold_is_single_labels_the_fields_figure_decides() -> None:
    settings = configuration.load(None, ["corpora=[{name: four, path: x}]"])
    rows = compared(True, ("joy",))
    assert gate.check(rows, rows, {"four": SPACE}, settings).gains["four"].figure == gate.WEIGHTED


def test_an_older_decision_was_in_weighted_f1() -> None:
    gains = {"meld": {"gain": 0.1, "low": 0.0, "high": 0.2, "p": 0.01, "dialogues": 9}}
    decision = gate.Decision.from_dict({"promoted": True, "reason": "r", "gains": gains})
    assert decision.cells() == [("meld", "weighted F1", "+0.100 [+0.000, +0.200]", "0.0100", "9")]


def test_scores_with_other_labels_cannot_be_compared() -> None:
    settings = configuration.load(None, ["corpora=[{name: four, path: x}]"])
    rows = compared(True, ("joy", "fear"))
    for spaces in ({"four": LabelSpace("four", ("calm", "joy"))}, SPACES):
        with pytest.raises(UserError, match="different labels of four"):
            gate.check(rows, rows, spaces, settings)
