from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfemo import config as configuration
from selfemo.config import Config
from selfemo.data.corpora.table import SPACES
from selfemo.data.dialogue import Utterance
from selfemo.data.records import Candidate, Prediction, Rollout
from selfemo.method import guard
from selfemo.method.flywheel.duplicates import NearDuplicates
from selfemo.method.flywheel.filtering import filter_rollouts
from selfemo.method.flywheel.reasons import Reason, judge_groups
from selfemo.method.flywheel.texts import distinct_n, shingles, text_reason

HISTORY = (Utterance(speaker="Mara", text="We won the cup at last!"),)
EVERYTHING = ("flywheel.calibration=0", "flywheel.share=1", "flywheel.quota=1", "flywheel.tau_low=0")
"""Nothing is turned away for being one label too many, or unsure."""
CONFIG = configuration.load(None, [*EVERYTHING, "flywheel.tau_low=0.3", "flywheel.quota=0.4"])


def understanding(
    labels: list[str | None], name: str = "u", text: str = "", gold: str | None = None, corpus: str = "sample"
) -> Rollout:
    predictions = tuple(Prediction(text=x or "?", labels=(x,) if x else None) for x in labels)
    history = (Utterance(speaker="Mara", text=text or f"line {name}"),)
    return Rollout(
        id=name,
        round=1,
        policy="p",
        corpus=corpus,
        dialogue="d",
        task="understanding",
        history=history,
        role="Mara",
        gold=(gold,) if gold else None,
        predictions=predictions,
        temperature=1,
        top_p=1,
        seed=1,
    )


def expression(*candidates: Candidate, name: str = "e") -> Rollout:
    return Rollout(
        id=name,
        round=1,
        policy="p",
        corpus="sample",
        dialogue="d",
        task="expression",
        history=HISTORY,
        role="Theo",
        candidates=candidates,
        temperature=1,
        top_p=1,
        seed=1,
    )


def candidate(
    reply: str = "That is wonderful news!", label: str = "joy", score: float = 1.0, sure: float = 1.0
) -> Candidate:
    readings = (Prediction(text=label, labels=(label,)),) * 4
    return Candidate(text="t", labels=(label,), reply=reply, readings=readings, score=score, confidence=sure)


@given(
    st.integers(2, 8).flatmap(lambda k: st.lists(st.lists(st.integers(0, 127), min_size=k, max_size=k), min_size=1)),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_every_prediction_has_exactly_one_reason_and_kept_means_all_hold(
    rows: list[list[int]], tau_reward: float, tau_low: float
) -> None:
    masks = np.array(rows, dtype=np.uint16)
    judged = judge_groups(masks, 7, tau_reward=tau_reward, tau_low=tau_low)
    assert judged.reasons.shape == masks.shape
    kept = judged.reasons == Reason.KEPT
    assert np.all(masks[kept] != 0)
    assert np.all(judged.scores[kept] >= tau_reward)
    assert np.all(np.broadcast_to(judged.confidence[:, None], masks.shape)[kept] >= tau_low)
    assert np.all((judged.reasons == Reason.UNPARSEABLE) == (masks == 0))
    constant = np.ptp(judged.scores, axis=1) < 1e-9
    assert not kept[constant].any()


def test_gold_targets_stand_before_the_consensus() -> None:
    masks = np.array([[1, 1, 2]], dtype=np.uint16)
    assert judge_groups(masks, 7).target[0] == 1
    assert judge_groups(masks, 7, target=np.array([2], dtype=np.uint16)).target[0] == 2


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("That is wonderful!", Reason.KEPT),
        ("No.", Reason.KEPT),
        ("   ", Reason.EMPTY),
        ("word " * 41, Reason.TOO_LONG),
        ("very very very very very very very nice", Reason.DEGENERATE_TEXT),
        ("I do not know I do not know", Reason.DEGENERATE_TEXT),
        ("noooooooo", Reason.DEGENERATE_TEXT),
        ("?!...", Reason.DEGENERATE_TEXT),
        ("1234 5678 a", Reason.DEGENERATE_TEXT),
    ],
)
def test_the_text_of_a_reply_alone_can_disqualify_it(reply: str, reason: Reason) -> None:
    assert text_reason(reply, 40) is reason


def test_a_confident_varied_group_becomes_a_sample_with_its_consensus() -> None:
    kept = filter_rollouts([understanding(["joy"] * 6 + ["fear", None], gold="joy")], CONFIG)
    assert kept.reasons["understanding"] == Counter(kept=6, low_reward=1, unparseable=1)
    (sample,) = kept.samples
    assert (sample.target, sample.gold, sample.parents) == (("joy",), False, ("u",))
    assert kept.metrics["pseudo_label_accuracy"] == 1


def test_noise_and_unanimity_are_rejected_each_for_its_reason() -> None:
    noise = understanding(["joy", "fear", "anger", "neutral", "sadness", "disgust", "surprise", "joy"], "noise")
    kept = filter_rollouts([noise, understanding(["joy"] * 8, "same")], CONFIG)
    assert kept.reasons["understanding"] == Counter(low_agreement=8, trivial=8)
    assert kept.samples == []
    assert kept.metrics["acceptance"] == 0


def test_where_cross_entropy_learns_unanimous_groups_are_kept_if_they_are_right() -> None:
    everything = configuration.load(None, [*EVERYTHING, "flywheel.unanimous=true", "flywheel.use_gold=true"])
    agreed = [understanding(["joy"] * 8, "right", gold="joy"), understanding(["joy"] * 8, "wrong", gold="fear")]
    kept = filter_rollouts([*agreed, expression(candidate(), candidate())], everything)
    assert kept.reasons["understanding"] == Counter(kept=8, low_reward=8)
    assert kept.reasons["expression"] == Counter(kept=2)


def test_calibrated_targets_follow_the_labelled_turns_where_the_policy_says_one_label_too_often() -> None:
    rollouts = [understanding(["neutral"] * 5 + ["anger"] * 3, f"turn {i}") for i in range(9)]
    calibrated = configuration.load(None, [*EVERYTHING, "flywheel.calibration=1"])
    told = {"sample": {"neutral": 3, "anger": 9}}
    assert filter_rollouts(rollouts, calibrated).before["understanding"] == Counter(neutral=9)
    assert filter_rollouts(rollouts, calibrated, told).before["understanding"] == Counter(anger=9)
    plain = configuration.load(None, EVERYTHING)
    assert filter_rollouts(rollouts, plain, told).before["understanding"] == Counter(neutral=9)


KNOWN = {"sample": dict.fromkeys(SPACES["sample"].labels, 30)}
"""Labelled turns of a warm-up: as many of each label."""


def collapsed(turns: int = 70, corpus: str = "sample") -> list[Rollout]:
    """A policy that has come to say "neutral" to every turn, but for one stray label in sixteen predictions."""
    others = [label for label in SPACES[corpus].labels if label != "neutral"]
    strays = [others[i % len(others)] for i in range(turns)]
    return [understanding(["neutral"] * 15 + [stray], f"{corpus}{i}", corpus=corpus) for i, stray in enumerate(strays)]


@pytest.mark.parametrize("known", [{}, KNOWN], ids=["nothing known", "labels known"])
@pytest.mark.parametrize("settings", [[], ["flywheel.calibration=0"], ["flywheel.use_gold=true"]], ids=str)
def test_the_guard_sees_a_collapsed_policy_however_its_targets_are_made(
    settings: list[str], known: dict[str, dict[str, int]]
) -> None:
    run = configuration.load(None, settings)
    kept = filter_rollouts(collapsed(), run, known)
    assert kept.metrics["predicted_entropy"] == 0
    assert "label entropy of the predictions 0.00" in guard.of_rollouts(kept.metrics, run.guard)


def test_the_shipped_settings_calibrate_targets_and_the_guard_judges_the_predictions() -> None:
    assert Config().flywheel.calibration == 1
    turns = [understanding(["neutral"] * 5 + ["anger"] * 3, f"turn {i}") for i in range(40)]
    turns += [understanding(["neutral"] * 6 + ["joy"] * 2, f"other turn {i}") for i in range(40)]
    kept = filter_rollouts(turns, Config(), {"sample": {"neutral": 10, "anger": 40, "joy": 30}})
    assert kept.metrics["target_entropy"] == pytest.approx(np.log(2), abs=0.01)
    assert "label entropy of the predictions 0.00" in guard.of_rollouts(kept.metrics, Config().guard)
    varied = [understanding([SPACES["sample"].labels[i % 7]] * 8, f"turn {i}") for i in range(70)]
    kept = filter_rollouts([*varied, expression(candidate(), candidate("So it is.", "fear", 0.2))], Config(), KNOWN)
    assert kept.metrics["predicted_entropy"] == pytest.approx(np.log(7))


def test_a_collapse_on_one_corpus_is_not_hidden_by_another() -> None:
    names = SPACES["emorynlp"].labels
    varied = [understanding([names[i % 7]] * 5 + [names[i % 3]] * 3, f"v{i}", corpus="emorynlp") for i in range(70)]
    both = filter_rollouts(varied + collapsed(70, "meld"), Config())
    assert both.metrics["predicted_entropy"] == 0
    few = filter_rollouts(varied + collapsed(5, "meld"), Config())
    assert few.metrics["predicted_entropy"] > 1.5, "five turns of a corpus can be neutral by chance"
    assert {c: t.total() for c, t in few.labels["predicted"].items()} == {"emorynlp": 70, "meld": 5}


def test_label_spaces_of_two_corpora_are_not_mixed_by_bit() -> None:
    joyful = [
        understanding(["joyful"] * 6 + ["sad"] * 2, f"j{i}", f"bell {i} rings", corpus="emorynlp") for i in range(9)
    ]
    joy = [understanding(["surprise"] * 6 + ["joy"] * 2, f"s{i}", f"lamp {i} glows", corpus="meld") for i in range(9)]
    everything = configuration.load(None, EVERYTHING)
    kept = filter_rollouts(joyful + joy, everything)
    assert len(kept.samples) == 18
    assert kept.metrics["kept_entropy"] == 0, "each corpus keeps one label; two names do not make two emotions"


def test_a_policy_that_nobody_can_parse_has_said_one_thing() -> None:
    mute = filter_rollouts([understanding([None] * 8, f"{i}") for i in range(9)], Config())
    assert mute.metrics["predicted_entropy"] == 0
    assert "predicted_entropy" not in filter_rollouts([expression(candidate())], Config()).metrics


def test_a_responder_that_means_one_emotion_whatever_it_replies_to_raises_the_alarm() -> None:
    varied = [understanding([SPACES["sample"].labels[i % 7]] * 8, f"turn {i}") for i in range(70)]
    words = ["boat", "tree", "lamp", "road", "cake", "wolf", "door", "rain", "coat", "fish"]
    glad = [expression(candidate(f"I saw a {w}!"), candidate(f"The {w}?", score=0.6), name=w) for w in words]
    assert "declared emotions 0.00" in guard.of_rollouts(
        filter_rollouts(varied + glad, Config()).metrics, Config().guard
    )


def test_a_responder_that_says_one_thing_raises_the_alarm_though_the_filter_keeps_it_once() -> None:
    same = [
        expression(candidate(), candidate(label="fear", score=0.6), candidate(label="anger", score=0.5), name=f"e{i}")
        for i in range(20)
    ]
    kept = filter_rollouts(same, Config())
    assert kept.metrics["distinct_2"] == 1, "what is kept is one reply, and is no duplicate of itself"
    assert "distinct-2 of sampled replies" in guard.of_rollouts(kept.metrics, Config().guard)


def test_gold_is_a_target_only_where_the_run_says_so() -> None:
    rollout = understanding(["joy"] * 6 + ["fear"] * 2, gold="fear")
    semi = configuration.load(None, [*EVERYTHING, "flywheel.use_gold=true", "flywheel.quota=0.4"])
    assert filter_rollouts([rollout], CONFIG).samples[0].target == ("joy",)
    (sample,) = filter_rollouts([rollout], semi).samples
    assert (sample.target, sample.gold) == (("fear",), True)


@pytest.mark.parametrize("score", [1.0, 0.4])
def test_one_candidate_is_no_group_without_variance(score: float) -> None:
    kept = filter_rollouts([expression(candidate(score=score))], Config())
    assert kept.reasons["expression"] == Counter(kept=1)
    assert [s.task for s in kept.samples] == ["expression", "understanding"]
    assert filter_rollouts([expression(candidate(score=0.2))], Config()).reasons["expression"] == Counter(low_reward=1)


def test_a_kept_reply_teaches_both_tasks() -> None:
    kept = filter_rollouts([expression(candidate(), candidate("Go away.", "anger", 0.05))], CONFIG)
    assert kept.reasons["expression"] == Counter(kept=1, low_reward=1)
    express, understand = sorted(kept.samples, key=lambda s: s.task)
    assert express.reply == "That is wonderful news!"
    assert understand.history[-1].text == "That is wonderful news!"
    assert understand.target == express.target == ("joy",)


def test_replies_are_rejected_each_for_its_reason() -> None:
    bad = Candidate(text="?", labels=None, reply=None)
    kept = filter_rollouts(
        [expression(candidate(), bad, candidate(reply=" "), candidate(sure=0.1), candidate(reply="so " * 50))], CONFIG
    )
    assert kept.reasons["expression"] == Counter(kept=1, unparseable=1, empty=1, low_agreement=1, too_long=1)
    same = filter_rollouts([expression(candidate(), candidate())], CONFIG)
    assert same.reasons["expression"] == Counter(trivial=2)


def test_near_duplicates_of_a_more_confident_sample_go() -> None:
    words = "I told you a hundred times that the green boat belongs to my old uncle from the north coast"
    first = understanding(["joy"] * 7 + ["fear"], "a", words + " today")
    second = understanding(["joy"] * 6 + ["fear"] * 2, "b", words + " here")
    other = understanding(["fear"] * 6 + ["joy"] * 2, "c", "There is somebody in the cellar, I can hear steps")
    kept = filter_rollouts([second, first, other], configuration.load(None, [*EVERYTHING, "flywheel.tau_low=0.3"]))
    assert [s.parents for s in kept.samples] == [("a",), ("c",)]
    assert kept.reasons["understanding"]["duplicate"] == 6


def turn(name: str, *texts: str, label: str = "joy", corpus: str = "sample") -> Rollout:
    """Predictions of the last of some turns."""
    history = tuple(Utterance(speaker=f"speaker {i % 2}", text=text) for i, text in enumerate(texts))
    other = next(x for x in SPACES[corpus].labels if x != label)
    found = understanding([label] * 7 + [other], name, corpus=corpus)
    return found.model_copy(update={"history": history})


LONG = "You have to see this with your own eyes, all of you, right now!"
SAME = "I can not believe it at all."


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        (
            turn("a", "Where were you all night long?", "I slept.", "You did?"),
            turn("b", "Where were you all night long?", "I slept.", "You did?", "I did.", label="anger"),
            True,
        ),
        (turn("a", LONG, "No."), turn("b", LONG, "No.", "Why?"), True),
        (turn("a", "We won!", SAME), turn("b", "He died.", SAME), False),
        (turn("a", "We won!", "Oh my God!"), turn("b", "He died.", "Oh my God!", label="fear"), True),
        (turn("a", "We won!", "Oh my God!"), turn("b", "Hey.", "We won!", "Oh my God."), False),
        (turn("a", "Why?", "..."), turn("b", "He died.", "?!", label="sadness"), True),
        (turn("a", "Hello."), turn("b", "Hello!"), False),
        (turn("a", SAME), turn("b", SAME, label="joyful", corpus="emorynlp"), True),
    ],
    ids=[
        "neighbours",
        "neighbours after a long turn",
        "the same turn elsewhere",
        "a short turn elsewhere",
        "a short turn after the same",
        "no words",
        "a dialogue's first",
        "another corpus has other labels",
    ],
)
def test_duplicates_are_told_by_the_turn_that_is_learnt(first: Rollout, second: Rollout, both: bool) -> None:
    kept = filter_rollouts([first, second], configuration.load(None, EVERYTHING))
    assert [s.parents[0] for s in kept.samples] == ["a", "b"][: 1 + both]


def test_a_reply_is_a_duplicate_of_another_whatever_it_replies_to() -> None:
    sure, less = candidate("I do not know."), candidate("I do not know!", sure=0.9)
    said = [
        expression(sure, candidate("So what?", "fear", 0.1), name="a"),
        expression(less, candidate("Who cares?", "fear", 0.1), name="b"),
    ]
    said[1] = said[1].model_copy(update={"history": (Utterance(speaker="Mara", text="Where is my hat?"),)})
    kept = filter_rollouts(said, configuration.load(None, EVERYTHING))
    assert kept.reasons["expression"] == Counter(kept=1, duplicate=1, low_reward=2)


@given(
    st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=9).map(frozenset), max_size=25),
    st.sampled_from([0.05, 0.5, 2 / 3, 0.8, 1.0]),
)
def test_the_index_finds_every_near_duplicate_and_no_other(sets: list[frozenset[str]], threshold: float) -> None:
    index, kept = NearDuplicates(threshold), list[frozenset[str]]()
    for one in sets:
        near = any(len(one & other) >= threshold * len(one | other) for other in kept)
        assert index.near(one) == near
        if not near:
            index.add(one)
            kept.append(one)


def test_one_label_cannot_fill_the_training_set() -> None:
    words = ["boat", "tree", "lamp", "road", "cake", "wolf", "door", "rain", "coat", "fish"]
    rollouts = [understanding(["joy"] * 6 + ["fear"] * 2, w, f"The {w} is {w[::-1]} for {w}") for w in words]
    kept = filter_rollouts(rollouts, CONFIG)
    assert len(kept.samples) == 4  # quota 0.4 of ten
    assert kept.reasons["understanding"]["over_quota"] == 36
    few = filter_rollouts(
        rollouts, configuration.load(None, [*EVERYTHING, "flywheel.tau_low=0.3", "flywheel.samples=2"])
    )
    assert len(few.samples) == 2


def test_counts_add_up_whatever_happens() -> None:
    rollouts = [understanding(["joy"] * 5 + [None, "fear", "anger"], str(i)) for i in range(6)]
    rollouts += [
        expression(candidate(f"reply {i} it is"), candidate("x y z w", "fear", 0.2), name=f"e{i}") for i in range(6)
    ]
    kept = filter_rollouts(rollouts, CONFIG)
    assert sum(kept.reasons["understanding"].values()) == 48
    assert sum(kept.reasons["expression"].values()) == 12
    assert kept.metrics["accepted"] + kept.metrics["rejected"] == kept.metrics["candidates"] == 60


def test_nothing_in_nothing_out() -> None:
    kept = filter_rollouts([], CONFIG)
    assert kept.samples == []
    assert kept.metrics["candidates"] == 0


def test_shingles_and_distinct_n() -> None:
    assert shingles("One two three, four") == {"one two three", "two three four"}
    assert shingles("Hi") == {"hi"}
    assert distinct_n(["a b c", "a b"], 2) == pytest.approx(2 / 3)
    assert distinct_n([], 2) == 0


def test_the_surest_share_of_each_label_is_kept_and_the_rest_said_to_be_unsure() -> None:
    sure, split = ["joy"] * 3 + ["fear"], ["joy"] * 2 + ["fear", "anger"]
    rare, rarer = ["fear"] * 3 + ["joy"], ["fear"] * 2 + ["joy", "anger"]
    texts = ("We won!", "The bus is late again", "Who took my umbrella then", "Three letters came for you")
    rollouts = [understanding(r, str(i), texts[i]) for i, r in enumerate((sure, split, rare, rarer))]
    half = configuration.load(None, [*EVERYTHING, "flywheel.share=0.5"])
    result = filter_rollouts(rollouts, half)
    assert [s.parents[0] for s in result.samples] == ["0", "2"]
    assert result.reasons["understanding"]["unsure"] == 4  # the two that agree, of each of the two others
    whole = filter_rollouts(rollouts, configuration.load(None, EVERYTHING))
    assert len(whole.samples) == 4
    assert whole.metrics["eligible"] == result.metrics["eligible"]
