"""The filter's figures show a policy that says one thing, and the guard raises the alarm."""

from __future__ import annotations

import numpy as np
import pytest

from selfemo import config as configuration
from selfemo.config import Config
from selfemo.data.records import Rollout
from selfemo.method import guard
from selfemo.method.flywheel.filtering import filter_rollouts
from tests.spaces import SPACES
from tests.unit.flywheel.rollouts import EVERYTHING, candidate, expression, understanding

KNOWN = {"sample": dict.fromkeys(SPACES["sample"].labels, 30)}
"""Labelled turns of a warm-up: as many of each label."""


def collapsed(turns: int = 70, corpus: str = "sample") -> list[Rollout]:
    """A policy that has come to say "neutral" to every turn, but for one stray label in sixteen."""
    others = [label for label in SPACES[corpus].labels if label != "neutral"]
    strays = [others[i % len(others)] for i in range(turns)]
    return [understanding(["neutral"] * 15 + [stray], f"{corpus}{i}", corpus=corpus) for i, stray in enumerate(strays)]


@pytest.mark.parametrize("known", [{}, KNOWN], ids=["nothing known", "labels known"])
@pytest.mark.parametrize("settings", [[], ["flywheel.calibration=0"], ["flywheel.use_gold=true"]], ids=str)
def test_the_guard_sees_a_collapsed_policy_however_its_targets_are_made(
    settings: list[str], known: dict[str, dict[str, int]]
) -> None:
    run = configuration.load(None, settings)
    kept = filter_rollouts(collapsed(), SPACES, run, known)
    assert kept.metrics["predicted_entropy"] == 0
    assert "label entropy of the predictions 0.00" in guard.of_rollouts(kept.metrics, run.guard)


def test_the_shipped_settings_calibrate_targets_and_the_guard_judges_the_predictions() -> None:
    assert Config().flywheel.calibration == 0.5
    turns = [understanding(["neutral"] * 5 + ["anger"] * 3, f"turn {i}") for i in range(40)]
    turns += [understanding(["neutral"] * 5 + ["joy"] * 3, f"other turn {i}") for i in range(40)]
    kept = filter_rollouts(turns, SPACES, Config(), {"sample": {"neutral": 2, "anger": 80, "joy": 60}})
    assert kept.metrics["target_entropy"] == pytest.approx(np.log(2), abs=0.01)
    assert "label entropy of the predictions 0.00" in guard.of_rollouts(kept.metrics, Config().guard)
    varied = [understanding([SPACES["sample"].labels[i % 7]] * 8, f"turn {i}") for i in range(70)]
    kept = filter_rollouts(
        [*varied, expression(candidate(), candidate("So it is.", "fear", 0.2))], SPACES, Config(), KNOWN
    )
    assert kept.metrics["predicted_entropy"] == pytest.approx(np.log(7))


def test_a_collapse_on_one_corpus_is_not_hidden_by_another() -> None:
    names = SPACES["emorynlp"].labels
    varied = [understanding([names[i % 7]] * 5 + [names[i % 3]] * 3, f"v{i}", corpus="emorynlp") for i in range(70)]
    both = filter_rollouts(varied + collapsed(70, "meld"), SPACES, Config())
    assert both.metrics["predicted_entropy"] == 0
    few = filter_rollouts(varied + collapsed(5, "meld"), SPACES, Config())
    assert few.metrics["predicted_entropy"] > 1.5, "five turns of a corpus can be neutral by chance"
    assert {c: t.total() for c, t in few.labels["predicted"].items()} == {"emorynlp": 70, "meld": 5}


def test_label_spaces_of_two_corpora_are_not_mixed_by_bit() -> None:
    joyful = [
        understanding(["joyful"] * 6 + ["sad"] * 2, f"j{i}", f"bell {i} rings", corpus="emorynlp") for i in range(9)
    ]
    joy = [understanding(["surprise"] * 6 + ["joy"] * 2, f"s{i}", f"lamp {i} glows", corpus="meld") for i in range(9)]
    everything = configuration.load(None, EVERYTHING)
    kept = filter_rollouts(joyful + joy, SPACES, everything)
    assert len(kept.samples) == 18
    assert kept.metrics["kept_entropy"] == 0, "each corpus keeps one label; two names do not make two emotions"


def test_where_no_turn_was_read_nothing_is_said_of_predictions() -> None:
    assert "predicted_entropy" not in filter_rollouts([expression(candidate())], SPACES, Config()).metrics


def test_a_responder_that_means_one_emotion_whatever_it_replies_to_raises_the_alarm() -> None:
    varied = [understanding([SPACES["sample"].labels[i % 7]] * 8, f"turn {i}") for i in range(70)]
    words = ["boat", "tree", "lamp", "road", "cake", "wolf", "door", "rain", "coat", "fish"]
    glad = [expression(candidate(f"I saw a {w}!"), candidate(f"The {w}?", score=0.6), name=w) for w in words]
    assert "declared emotions 0.00" in guard.of_rollouts(
        filter_rollouts(varied + glad, SPACES, Config()).metrics, Config().guard
    )


def test_a_responder_that_says_one_thing_raises_the_alarm_though_the_filter_keeps_it_once() -> None:
    same = [
        expression(candidate(), candidate(label="fear", score=0.6), candidate(label="anger", score=0.5), name=f"e{i}")
        for i in range(20)
    ]
    kept = filter_rollouts(same, SPACES, Config())
    assert kept.metrics["distinct_2"] == 1, "what is kept is one reply, and is no duplicate of itself"
    assert "distinct-2 of sampled replies" in guard.of_rollouts(kept.metrics, Config().guard)
