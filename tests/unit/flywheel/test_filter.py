"""What the filter keeps of rollouts, what target it gives to what it keeps, and how it counts the rest."""

from __future__ import annotations

from collections import Counter

import pytest

from selfemo import config as configuration
from selfemo.config import Config
from selfemo.data.records import Candidate
from selfemo.method.flywheel.filtering import filter_rollouts
from tests.spaces import SPACES
from tests.unit.flywheel.rollouts import CONFIG, EVERYTHING, candidate, expression, reading, understanding


def test_a_turn_that_is_read_with_confidence_becomes_a_sample_with_its_consensus() -> None:
    kept = filter_rollouts([understanding(["joy"] * 7 + ["fear"], gold="joy")], SPACES, CONFIG)
    assert kept.reasons["understanding"] == Counter(kept=1)
    (sample,) = kept.samples
    assert (sample.target, sample.gold, sample.parents) == (("joy",), False, ("u",))
    assert sample.posterior == reading(["joy"] * 7 + ["fear"])
    differ = 14 / 64  # of all pairs of answers
    assert sample.confidence == pytest.approx(1 - differ * (1 - 0.1 / 2.1), abs=1e-4)
    assert kept.metrics["pseudo_label_accuracy"] == 1


def test_noise_is_rejected_and_what_is_beyond_doubt_is_kept() -> None:
    noise = understanding(["joy", "fear", "anger", "neutral", "sadness", "disgust", "surprise", "joy"], "noise")
    kept = filter_rollouts([noise, understanding(["joy"] * 8, "sure")], SPACES, CONFIG)
    assert kept.reasons["understanding"] == Counter(low_agreement=1, kept=1)
    assert [s.parents for s in kept.samples] == [("sure",)]
    assert kept.metrics["acceptance"] == 0.5


def test_a_target_that_is_far_from_what_was_read_is_rejected_unless_it_is_gold() -> None:
    turns = [understanding(["neutral"] * 5 + ["anger"] * 3, gold="anger")]
    strict = [*EVERYTHING, "flywheel.calibration=1", "flywheel.tau_reward=0.5"]
    told = {"sample": {"neutral": 3, "anger": 9}}
    retargeted = filter_rollouts(turns, SPACES, configuration.load(None, strict), told)
    assert retargeted.before["understanding"] == Counter(anger=1)
    assert retargeted.reasons["understanding"] == Counter(low_reward=1)
    gold = filter_rollouts(turns, SPACES, configuration.load(None, [*strict, "flywheel.use_gold=true"]))
    assert gold.reasons["understanding"] == Counter(kept=1)


def test_the_views_of_a_turn_count_alike() -> None:
    views = {"24": reading(["joy"] * 3 + ["fear"]), "1": reading(["fear"] * 4)}
    kept = filter_rollouts([understanding(["joy"]).model_copy(update={"posteriors": views})], SPACES, CONFIG)
    (sample,) = kept.samples
    assert sample.target == ("fear",)
    assert sample.posterior == pytest.approx(reading(["joy"] * 3 + ["fear"] * 5))


def test_calibrated_targets_follow_the_labelled_turns_where_the_policy_says_one_label_too_often() -> None:
    rollouts = [understanding(["neutral"] * 5 + ["anger"] * 3, f"turn {i}") for i in range(9)]
    calibrated = configuration.load(None, [*EVERYTHING, "flywheel.calibration=1"])
    told = {"sample": {"neutral": 3, "anger": 9}}
    assert filter_rollouts(rollouts, SPACES, calibrated).before["understanding"] == Counter(neutral=9)
    assert filter_rollouts(rollouts, SPACES, calibrated, told).before["understanding"] == Counter(anger=9)
    plain = configuration.load(None, EVERYTHING)
    assert filter_rollouts(rollouts, SPACES, plain, told).before["understanding"] == Counter(neutral=9)


def test_gold_is_a_target_only_where_the_run_says_so() -> None:
    rollout = understanding(["joy"] * 6 + ["fear"] * 2, gold="fear")
    semi = configuration.load(None, [*EVERYTHING, "flywheel.use_gold=true", "flywheel.quota=0.4"])
    assert filter_rollouts([rollout], SPACES, CONFIG).samples[0].target == ("joy",)
    (sample,) = filter_rollouts([rollout], SPACES, semi).samples
    assert (sample.target, sample.gold) == (("fear",), True)


@pytest.mark.parametrize("score", [1.0, 0.4])
def test_one_candidate_is_no_group_without_variance(score: float) -> None:
    kept = filter_rollouts([expression(candidate(score=score))], SPACES, Config())
    assert kept.reasons["expression"] == Counter(kept=1)
    assert [s.task for s in kept.samples] == ["expression", "understanding"]
    assert filter_rollouts([expression(candidate(score=0.2))], SPACES, Config()).reasons["expression"] == Counter(
        low_reward=1
    )


def test_a_kept_reply_teaches_both_tasks() -> None:
    kept = filter_rollouts([expression(candidate(), candidate("Go away.", "anger", 0.05))], SPACES, CONFIG)
    assert kept.reasons["expression"] == Counter(kept=1, low_reward=1)
    express, understand = sorted(kept.samples, key=lambda s: s.task)
    assert express.reply == "That is wonderful news!"
    assert understand.history[-1].text == "That is wonderful news!"
    assert understand.target == express.target == ("joy",)


def test_what_is_expressed_again_is_what_the_policy_meant_first_not_what_is_read_best() -> None:
    """The neutral reply has the best score here, and is not the target."""
    said = [
        candidate("Well.", "fear", 0.1),
        candidate("Go away.", "anger", 0.5),
        candidate("All right.", "neutral", 1.0),
        candidate("How dare you say that to me?", "anger", 0.7),
        candidate("Get out of my kitchen!", "anger", 0.6),
    ]
    kept = filter_rollouts([expression(*said)], SPACES, CONFIG)
    assert kept.reasons["expression"] == Counter(kept=4, low_reward=1)
    assert {(s.task, s.target) for s in kept.samples} == {("expression", ("anger",)), ("understanding", ("anger",))}
    express, understand = sorted(kept.samples, key=lambda s: s.task)
    assert express.reply == understand.history[-1].text == "How dare you say that to me?"


def test_a_target_has_its_labels_in_the_order_of_the_first_reply_that_declares_them() -> None:
    """The first label leads it, whichever of the replies is read best."""
    said = candidate("You came!", score=0.5), candidate("You came back to us!", score=0.9)
    orders = ("joy", "surprise"), ("surprise", "joy")
    both = [c.model_copy(update={"labels": labels}) for c, labels in zip(said, orders, strict=True)]
    kept = filter_rollouts([expression(*both)], SPACES, CONFIG)
    assert [s.target for s in kept.samples] == [("joy", "surprise")] * 2
    assert kept.samples[0].reply == "You came back to us!"


def test_replies_are_rejected_each_for_its_reason() -> None:
    bad = Candidate(text="?", labels=None, reply=None)
    kept = filter_rollouts(
        [expression(candidate(), bad, candidate(reply=" "), candidate(sure=0.1), candidate(reply="so " * 50))],
        SPACES,
        CONFIG,
    )
    assert kept.reasons["expression"] == Counter(kept=1, unparseable=1, empty=1, low_agreement=1, too_long=1)
    same = filter_rollouts([expression(candidate(), candidate())], SPACES, CONFIG)
    assert same.reasons["expression"] == Counter(trivial=2)


def test_counts_add_up_whatever_happens() -> None:
    rollouts = [understanding(["joy"] * 6 + ["fear", "anger"], str(i)) for i in range(6)]
    rollouts += [
        expression(candidate(f"reply {i} it is"), candidate("x y z w", "fear", 0.2), name=f"e{i}") for i in range(6)
    ]
    kept = filter_rollouts(rollouts, SPACES, CONFIG)
    assert sum(kept.reasons["understanding"].values()) == 6
    assert sum(kept.reasons["expression"].values()) == 12
    assert kept.metrics["accepted"] + kept.metrics["rejected"] == kept.metrics["candidates"] == 18


def test_nothing_in_nothing_out() -> None:
    kept = filter_rollouts([], SPACES, CONFIG)
    assert kept.samples == []
    assert kept.metrics["candidates"] == 0
