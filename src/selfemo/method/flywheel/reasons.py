"""The array filter: which candidates are kept, and the one reason why each of the rest is not.

A candidate is a corpus turn that is to be understood, or a sampled reply. Filtering by smoothed IoU is the SELF-EMO
abstract's; thresholds, order and reasons are defined here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from selfemo.method.rewards import (
    Floats,
    Masks,
    consensus,
    constant_groups,
    expected_agreement,
    iou_matrix,
    marginals,
    smoothed_iou,
)


class Reason(IntEnum):
    """Why a candidate was rejected; each has exactly one reason, the first that applies in this order."""

    KEPT = 0
    """It becomes a training sample; of replies: it is fit to, and a kept one of its turn does."""
    UNPARSEABLE = 1
    """Its text is not of the form asked for."""
    EMPTY = 2
    """It names no emotion, or says nothing."""
    TOO_LONG = 3
    """Its reply has more words than ``flywheel.max_words``."""
    DEGENERATE_TEXT = 4
    """Its reply repeats itself, or is hardly made of words."""
    LOW_AGREEMENT = 5
    """What is read in it is in too much doubt (``flywheel.tau_low``)."""
    TRIVIAL = 6
    """All replies of its turn that declare the same are read equally well: no policy gradient comes of that."""
    LOW_REWARD = 7
    """The expected smoothed IoU of what is read in it and the target is below ``flywheel.tau_reward``."""
    DUPLICATE = 8
    """A more confident kept sample has nearly the same words."""
    UNSURE = 9
    """Its sample is not of the most confident share of its label (``flywheel.share``)."""
    OVER_QUOTA = 10
    """There is no room for its sample: its label leads too many, or the round has enough."""


@dataclass(frozen=True)
class Assessed:
    """What the array filter says about ``N`` corpus turns.

    Attributes:
        reasons: ``(N,)`` codes of :class:`Reason`.
        scores: ``(N,)`` expected smoothed IoU of what is read and the target.
        confidence: ``(N,)``.
        marginals: ``(N, m)`` how likely each label is.
        target: ``(N,)`` masks.
    """

    reasons: NDArray[np.uint8]
    scores: Floats
    confidence: Floats
    marginals: Floats
    target: Masks


def reasons_of_turns(
    posterior_NA: Floats,
    answers_A: Masks,
    m: int,
    *,
    target: Masks | None = None,
    smoothing: float = 0.1,
    tau_reward: float = 0.3,
    tau_low: float = 0.3,
    affinity: Floats | None = None,
    reweighted_NA: Floats | None = None,
) -> Assessed:
    """Score and filter corpus turns, as arrays.

    Args:
        posterior_NA: What is read in each turn.
        answers_A: Masks of the allowed answers.
        m: Number of labels.
        target: ``(N,)`` masks of what is known of a turn, which is kept then; 0 where nothing is, and the consensus
            stands in.
        smoothing: ``s``.
        tau_reward: Least score of a turn that is kept.
        tau_low: Least confidence of one.
        affinity: Label affinity, or None.
        reweighted_NA: What the consensus is made of, if not of what is read: scores and confidence still are.
    """
    labels_Nm = marginals(posterior_NA if reweighted_NA is None else reweighted_NA, answers_A, m)
    found = consensus(labels_Nm)
    known = np.zeros(len(found), dtype=bool) if target is None else target != 0
    target = found if target is None else np.where(known, target, found)
    confidence = expected_agreement(posterior_NA, iou_matrix(answers_A, smoothing, affinity))
    scores = (posterior_NA * smoothed_iou(answers_A[None], target[:, None], smoothing, affinity)).sum(axis=1)
    reasons = np.full(len(scores), Reason.KEPT, dtype=np.uint8)
    reasons[scores < tau_reward] = Reason.LOW_REWARD
    reasons[confidence < tau_low] = Reason.LOW_AGREEMENT
    reasons[known] = Reason.KEPT
    return Assessed(reasons, scores, confidence, labels_Nm, target)


def reasons_of_replies(
    early: NDArray[np.uint8],
    declared: Masks,
    scores: Floats,
    confidence: Floats,
    tau_reward: float,
    tau_low: float,
) -> NDArray[np.uint8]:
    """The first reason that applies to each reply of one turn ``(J,)``.

    Those that declare the same are a group, as training will sample one; without variance in its scores, which are
    those before repeated replies share a reward, it is trivial.
    One reply is no group: it says nothing about the variance of the rollouts that training will sample.

    Args:
        early: ``(J,)`` reasons already known from the text.
        declared: ``(J,)`` masks of what each means to express.
        scores: ``(J,)`` expression scores ``x_j``.
        confidence: ``(J,)`` confidence of what is read in each.
        tau_reward: Least score of a reply that is kept.
        tau_low: Least confidence of one.
    """
    reasons = np.full(len(scores), Reason.KEPT, dtype=np.uint8)
    reasons[scores < tau_reward] = Reason.LOW_REWARD
    rewarded = np.where(early == Reason.KEPT, scores, 0.0)  # training gives the others nothing
    for meant in np.unique(declared):
        alike = declared == meant
        if alike.sum() > 1 and constant_groups(rewarded[alike][None])[0]:
            reasons[alike] = Reason.TRIVIAL
    reasons[confidence < tau_low] = Reason.LOW_AGREEMENT
    return np.where(early != Reason.KEPT, early, reasons).astype(np.uint8)
