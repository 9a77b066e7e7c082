"""Each prediction, and each reply's text, is kept or has one reason to be rejected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfemo.method.flywheel.reasons import Reason, reasons_of_groups
from selfemo.method.flywheel.texts import text_reason


@given(
    st.integers(2, 8).flatmap(lambda k: st.lists(st.lists(st.integers(0, 127), min_size=k, max_size=k), min_size=1)),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_every_prediction_has_exactly_one_reason_and_kept_means_all_hold(
    rows: list[list[int]], tau_reward: float, tau_low: float
) -> None:
    masks = np.array(rows, dtype=np.uint16)
    assessed = reasons_of_groups(masks, 7, tau_reward=tau_reward, tau_low=tau_low)
    assert assessed.reasons.shape == masks.shape
    kept = assessed.reasons == Reason.KEPT
    assert np.all(masks[kept] != 0)
    assert np.all(assessed.scores[kept] >= tau_reward)
    assert np.all(np.broadcast_to(assessed.confidence[:, None], masks.shape)[kept] >= tau_low)
    assert np.all((assessed.reasons == Reason.UNPARSEABLE) == (masks == 0))
    constant = np.ptp(assessed.scores, axis=1) < 1e-9
    assert not kept[constant].any()


def test_gold_targets_stand_before_the_consensus() -> None:
    masks = np.array([[1, 1, 2]], dtype=np.uint16)
    assert reasons_of_groups(masks, 7).target[0] == 1
    assert reasons_of_groups(masks, 7, target=np.array([2], dtype=np.uint16)).target[0] == 2


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
