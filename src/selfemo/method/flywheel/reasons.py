"""The array filter: which candidates are kept, and the one reason why each of the rest is not.

Filtering by smoothed IoU is the SELF-EMO abstract's; thresholds, order and reasons are defined here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from selfemo.method.rewards import Floats, Masks, agreement, confidence, consensus, constant_groups, smoothed_iou


class Reason(IntEnum):
    """Why a candidate was rejected; each has exactly one reason, the first that applies in this order."""

    KEPT = 0
    """It becomes, or stands behind, a training sample."""
    UNPARSEABLE = 1
    """Its text is not of the form asked for."""
    EMPTY = 2
    """It names no emotion, or says nothing."""
    TOO_LONG = 3
    """Its reply has more words than ``flywheel.max_words``."""
    DEGENERATE_TEXT = 4
    """Its reply repeats itself, or is hardly made of words."""
    LOW_AGREEMENT = 5
    """Its group agrees too little (``flywheel.tau_low``)."""
    TRIVIAL = 6
    """All of its group score alike: a policy gradient learns nothing from that."""
    LOW_REWARD = 7
    """Its smoothed IoU with the target is below ``flywheel.tau_reward``."""
    DUPLICATE = 8
    """A more confident kept sample has nearly the same words."""
    UNSURE = 9
    """Its sample is not of the most confident share of its label (``flywheel.share``)."""
    OVER_QUOTA = 10
    """There is no room for its sample: its label leads too many, or the round has enough."""


@dataclass(frozen=True)
class Assessed:
    """What the array filter says about ``N`` groups of ``K`` candidates.

    Attributes:
        reasons: ``(N, K)`` codes of :class:`Reason`.
        scores: ``(N, K)`` smoothed IoU with the target.
        confidence: ``(N,)``.
        target: ``(N,)`` masks.
    """

    reasons: NDArray[np.uint8]
    scores: Floats
    confidence: Floats
    target: Masks


def reasons_of_groups(
    masks: Masks,
    m: int,
    *,
    target: Masks | None = None,
    early: NDArray[np.uint8] | None = None,
    smoothing: float = 0.1,
    tau_reward: float = 0.3,
    tau_low: float = 0.3,
    unanimous: bool = False,
    affinity: Floats | None = None,
    votes: Floats | None = None,
) -> Assessed:
    """Score and filter groups of understanding predictions, as arrays.

    Args:
        masks: ``(N, K)``; 0 is unparseable.
        m: Number of labels.
        target: ``(N,)`` masks, 0 where there is none; the consensus stands in.
        early: ``(N, K)`` reasons already known from the text, or None.
        smoothing: ``s``.
        tau_reward: Least score of a kept candidate.
        tau_low: Least confidence of a kept group.
        unanimous: Keep groups whose scores have no variance.
        affinity: Label affinity, or None.
        votes: What each label's votes count in the consensus, or None.
    """
    voted = consensus(masks, m, votes)
    target = voted if target is None else np.where(target == 0, voted, target)
    sure = confidence(agreement(masks, m, smoothing))
    scores = smoothed_iou(masks, target[:, None], smoothing, affinity)
    reasons = reasons_of(masks == 0, early, scores, sure[:, None], tau_reward, tau_low, unanimous)
    return Assessed(reasons, scores, sure, target)


def reasons_of(
    unparseable: NDArray[np.bool_],
    early: NDArray[np.uint8] | None,
    scores: Floats,
    sure: Floats,
    tau_reward: float,
    tau_low: float,
    unanimous: bool,
) -> NDArray[np.uint8]:
    """The first reason that applies to each candidate ``(N, K)``; ``sure`` broadcasts over candidates.

    Without variance in its scores a group is trivial, unless ``unanimous`` groups are kept. One candidate is no group:
    it says nothing about the variance of the rollouts that training will sample.
    """
    reasons = np.full(scores.shape, Reason.KEPT, dtype=np.uint8)
    reasons[scores < tau_reward] = Reason.LOW_REWARD
    if not unanimous and scores.shape[1] > 1:
        reasons[constant_groups(scores)] = Reason.TRIVIAL
    reasons[np.broadcast_to(sure < tau_low, scores.shape)] = Reason.LOW_AGREEMENT
    reasons[unparseable] = Reason.UNPARSEABLE
    return reasons if early is None else np.where(early != Reason.KEPT, early, reasons).astype(np.uint8)
