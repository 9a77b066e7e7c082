"""Each turn, and each reply's text, is kept or has one reason to be rejected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from selfemo.data.labels import LabelSpace
from selfemo.method.flywheel.reasons import Reason, reasons_of_replies, reasons_of_turns
from selfemo.method.flywheel.texts import distinct_n, most_frequent, text_reason
from tests.spaces import SPACES
from tests.unit.flywheel.rollouts import reading

CHINESE = LabelSpace("zh", ("高兴", "生气", "中性", "害怕"))

ANSWERS = SPACES["sample"].answer_masks
chances = st.lists(st.floats(0.001, 1), min_size=len(ANSWERS), max_size=len(ANSWERS))


@given(st.lists(chances, min_size=1, max_size=5), st.floats(0, 1), st.floats(0, 1))
def test_every_turn_has_exactly_one_reason_and_kept_means_all_hold(
    rows: list[list[float]], tau_reward: float, tau_low: float
) -> None:
    read = np.array(rows) / np.sum(rows, axis=1, keepdims=True)
    assessed = reasons_of_turns(read, ANSWERS, 7, tau_reward=tau_reward, tau_low=tau_low)
    assert assessed.reasons.shape == (len(rows),)
    kept = assessed.reasons == Reason.KEPT
    assert np.array_equal(kept, (assessed.scores >= tau_reward) & (assessed.confidence >= tau_low))
    assert np.all((assessed.reasons == Reason.LOW_AGREEMENT) == (assessed.confidence < tau_low))


def test_gold_targets_stand_before_the_consensus() -> None:
    read = np.array([reading(["neutral"] * 2 + ["joy"])])
    assert reasons_of_turns(read, ANSWERS, 7).target[0] == 1
    assert reasons_of_turns(read, ANSWERS, 7, target=np.array([2], dtype=np.uint64)).target[0] == 2


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.sampled_from(Reason), st.sampled_from([1, 2])),
        min_size=1,
        max_size=6,
    )
)
def test_every_reply_has_exactly_one_reason_and_kept_means_all_hold(
    rows: list[tuple[float, float, Reason, int]],
) -> None:
    x, sure = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    early = np.array([r[2] for r in rows], dtype=np.uint8)
    declared = np.array([r[3] for r in rows], dtype=np.uint64)
    reasons = reasons_of_replies(early, declared, x, sure, 0.3, 0.3)
    kept = reasons == Reason.KEPT
    assert np.all((x[kept] >= 0.3) & (sure[kept] >= 0.3) & (early[kept] == Reason.KEPT))
    assert np.all(reasons[early != Reason.KEPT] == early[early != Reason.KEPT])
    for meant in (1, 2):
        group = declared == meant
        if group.sum() > 1 and np.ptp(x[group]) < 1e-9 and np.all(early[group] == Reason.KEPT):
            assert not kept[group].any()


def test_replies_are_compared_with_those_that_declare_the_same() -> None:
    """As training compares them: another declaration that is read as well says nothing about this one's group."""
    answers, sure = np.zeros(4, dtype=np.uint8), np.ones(4)

    def reasons(declared: list[int], scores: list[float], early: NDArray[np.uint8] = answers) -> list[int]:
        masks = np.array(declared, dtype=np.uint64)
        return list(reasons_of_replies(early, masks, np.array(scores), sure, 0.3, 0.3))

    kept, trivial, degenerate = Reason.KEPT, Reason.TRIVIAL, Reason.DEGENERATE_TEXT
    assert reasons([1, 1, 2, 2], [0.8] * 4) == [trivial] * 4
    assert reasons([1, 2, 4, 8], [0.8] * 4) == [kept] * 4
    assert reasons([1, 1, 1, 2], [0.8, 0.8, 0.8, 0.5]) == [trivial, trivial, trivial, kept]
    early = np.array([0, degenerate, 0, 0], dtype=np.uint8)
    assert reasons([1, 1, 2, 2], [0.8] * 4, early) == [kept, degenerate, trivial, trivial]


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
        ("Neutral.", Reason.DEGENERATE_TEXT),  # names what it means
        ("Neutral, joy!", Reason.DEGENERATE_TEXT),
        ("No fear.", Reason.KEPT),
        ("What a surprise!", Reason.KEPT),
    ],
)
def test_the_text_of_a_reply_alone_can_disqualify_it(reply: str, reason: Reason) -> None:
    assert text_reason(reply, 40, SPACES["sample"]) is reason


def test_a_stock_reply_of_one_word_is_seen_by_its_share() -> None:
    said = ["No."] * 8 + ["What a day that was!", "no"]
    assert distinct_n(said, 2) == 1  # it has no pair of words
    assert most_frequent(said) == pytest.approx(0.9)
    assert most_frequent([]) == 0


@pytest.mark.parametrize("reply", ["中性。", "高兴", "害怕！"])
def test_a_reply_that_only_names_emotions_expresses_none(reply: str) -> None:
    assert text_reason(reply, 40, CHINESE) is Reason.DEGENERATE_TEXT


@pytest.mark.parametrize("reply", ["高中生", "真高兴！", "不高兴", "我怕", "生病"])
def test_a_word_that_shares_a_sign_with_an_emotion_is_a_reply(reply: str) -> None:
    assert text_reason(reply, 40, CHINESE) is Reason.KEPT


@pytest.mark.parametrize(("reply", "reason"), [("No way!", Reason.KEPT), ("No emotion.", Reason.DEGENERATE_TEXT)])
def test_an_emotion_of_several_words_is_named_by_all_of_them(reply: str, reason: Reason) -> None:
    assert text_reason(reply, 40, LabelSpace("several", ("no emotion", "fear of loss"))) is reason
