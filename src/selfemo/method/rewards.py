"""Smoothed IoU, posteriors over label sets, consensus and advantages: pure functions of arrays.

Shapes: ``N`` prompts, ``A`` allowed answers, ``G`` completions of a group, ``m`` labels. A set of emotions is a bit
mask (``uint64``); 0 is an answer that could not be parsed. A posterior ``(N, A)`` says how likely each allowed answer
is; rows sum to 1. Everything here is "defined here" (method.md) where the SELF-EMO abstract only names the idea.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

Masks = NDArray[np.uint64]
Floats = NDArray[np.float64]

LEAST, MOST = 0.5, 4.0
"""Least and most that a label's probability or its samples count for how rare the label is.

Three labelled turns of a label, which is what a rare one has in a few dialogues, tell its frequency to a factor of
about three either way (95 %), so a greater weight would be noise; and between the two a label that is less
likely than one in nine cannot outvote the others.
"""


def indicators(masks: ArrayLike, m: int) -> NDArray[np.float32]:
    """Masks ``(...)`` to indicator vectors ``y`` ``(..., m)``, ones and zeros."""
    bits = np.asarray(masks, dtype=np.uint64)[..., None] >> np.arange(m, dtype=np.uint64)
    return (bits & np.uint64(1)).astype(np.float32)


def smoothed_iou(a: ArrayLike, b: ArrayLike, smoothing: float = 0.1, affinity: Floats | None = None) -> Floats:
    """Smoothed IoU of sets of emotions, the filter and reward the SELF-EMO abstract names; formula defined here.

    ``sIoU(A, B) = (|A n B| + s) / (|A u B| + s)``. With an affinity ``S`` the counts give way to a soft
    overlap: ``I = (sum_a max_b S_ab + sum_b max_a S_ab) / 2``, ``U = |A| + |B| - I``.

    Args:
        a: Masks, any shape.
        b: Masks, a shape that broadcasts with ``a``.
        smoothing: ``s > 0``; towards 0 it is plain IoU.
        affinity: ``(m, m)``, symmetric, ones on the diagonal; None is the identity.

    Returns:
        Scores in (0, 1]; 0 where either set is empty (unparseable), since nothing was said.
    """
    x, y = np.asarray(a, dtype=np.uint64), np.asarray(b, dtype=np.uint64)
    size_x, size_y = np.bitwise_count(x).astype(np.float64), np.bitwise_count(y).astype(np.float64)
    if affinity is None:
        overlap = np.bitwise_count(x & y).astype(np.float64)
    else:
        (sets_x, best_x), (sets_y, best_y) = _with_best(x, affinity), _with_best(y, affinity)
        overlap = (np.einsum("...m,...m->...", sets_x, best_y) + np.einsum("...m,...m->...", sets_y, best_x)) / 2
    score = (overlap + smoothing) / (size_x + size_y - overlap + smoothing)
    return np.where((x == 0) | (y == 0), 0.0, score)


def _with_best(masks: Masks, affinity: Floats) -> tuple[Floats, Floats]:
    """Indicators of masks, and how close each label is to the closest in each: ``max_{b in B} S_ab``, ``(..., m)``.

    A pass over the labels for the masks that occur, each once: what it takes grows with their number, not with that of
    all sets there could be.
    """
    m = len(affinity)
    met, places = np.unique(masks, return_inverse=True)
    sets = indicators(met, m).astype(np.float64)
    best = np.zeros((len(met), m))
    for bit in range(m):
        np.maximum(best, sets[:, bit, None] * affinity[bit], out=best)
    return sets[places.reshape(masks.shape)], best[places.reshape(masks.shape)]


def iou_matrix(answers_A: Masks, smoothing: float = 0.1, affinity: Floats | None = None) -> Floats:
    """Smoothed IoU of each allowed answer with each: ``(A,)`` masks to ``(A, A)``, symmetric, ones on the diagonal."""
    return smoothed_iou(answers_A[:, None], answers_A[None], smoothing, affinity)


def posterior(scores_NA: ArrayLike) -> Floats:
    """Log-probabilities ``(..., A)`` of the allowed answers to how likely each is if one of them is the answer."""
    return np.asarray(softmax(np.asarray(scores_NA, dtype=np.float64), axis=-1))


def expected_agreement(posterior_NA: Floats, iou_AA: Floats) -> Floats:
    """Confidence ``c = sum_PQ pi(P) pi(Q) sIoU(P, Q)``: how far two answers of the policy agree (defined here).

    What the mean agreement of a group of samples estimates, without the noise.

    Args:
        posterior_NA: ``(N, A)``.
        iou_AA: Of :func:`iou_matrix`.

    Returns:
        ``(N,)`` in (0, 1]; 1 where the policy has no doubt.
    """
    return np.asarray(np.einsum("nb,nb->n", posterior_NA @ iou_AA, posterior_NA))


def marginals(posterior_NA: Floats, answers_A: Masks, m: int) -> Floats:
    """How likely each label is among those of the answer: ``(N, A)`` to ``(N, m)``."""
    return np.asarray(posterior_NA @ indicators(answers_A, m))


def label_shift_weights(marginals_Nm: Floats, known: ArrayLike, power: float) -> Floats:
    """What a label's probability counts, so that labels lead targets as often as they occur among labelled turns.

    Distribution alignment (ReMixMatch, Berthelot et al. 2020): a policy that says one label too often
    would learn from itself to say it more often still.

    Args:
        marginals_Nm: Of all turns of a round.
        known: ``(m,)`` how often each label occurs among labelled turns; one more is counted of each.
        power: 0 leaves probabilities as they are, 1 takes the whole ratio.

    Returns:
        ``(m,)`` in [:data:`LEAST`, :data:`MOST`]; ones if nothing is known.
    """
    known = np.asarray(known, dtype=np.float64)
    if not known.any():
        return np.ones(len(known))
    own = marginals_Nm.sum(axis=0) + 1
    ratio = (known + 1) / (known + 1).sum() * own.sum() / own
    return np.asarray(ratio.clip(LEAST, MOST) ** power)


def reweighted(posterior_NA: Floats, answers_A: Masks, label_weights: Floats) -> Floats:
    """A posterior in which each label's probability counts so much; a set of labels counts as its labels in the mean.

    Args:
        posterior_NA: ``(N, A)``.
        answers_A: Masks of the allowed answers.
        label_weights: ``(m,)`` of :func:`label_shift_weights`.

    Returns:
        ``(N, A)``; rows sum to 1.
    """
    labels_Am = indicators(answers_A, len(label_weights))
    weighed = posterior_NA * np.exp(labels_Am @ np.log(label_weights) / labels_Am.sum(axis=1))
    return np.asarray(weighed / weighed.sum(axis=1, keepdims=True))


def consensus(marginals_Nm: Floats) -> Masks:
    """Consensus ``C`` of each turn: labels at least as likely as not, or the likeliest if there are none.

    Args:
        marginals_Nm: ``(N, m)``.

    Returns:
        ``(N,)`` masks. Ties go to the lower bit.
    """
    bits = np.uint64(1) << np.arange(marginals_Nm.shape[1], dtype=np.uint64)
    voted = np.where(marginals_Nm >= 0.5, bits, np.uint64(0)).sum(axis=-1, dtype=np.uint64)
    return np.asarray(np.where(voted == 0, bits[marginals_Nm.argmax(axis=-1)], voted), dtype=np.uint64)


def combine(parts_NGP: Floats, weights: Sequence[float]) -> Floats:
    """The SELF-GRPO reward ``r = sum_p w_p r_p`` (SELF-EMO abstract: alignment and consistency).

    Args:
        parts_NGP: ``(N, G, P)``.
        weights: ``(P,)``.

    Returns:
        ``(N, G)``.
    """
    return sum(w * parts_NGP[..., p] for p, w in enumerate(weights))  # type: ignore[return-value]  # P is at least 1


def group_weight(confidence: Floats, gold: NDArray[np.bool_], low: float, high: float) -> Floats:
    """``w_g``: how much a group may move the policy (defined here).

    Args:
        confidence: Group confidence ``(N,)``.
        gold: Whether the target is gold ``(N,)``: those count fully.
        low: ``c_lo``, above chance; groups below count nothing.
        high: ``c_hi``; groups above count fully.

    Returns:
        ``(N,)`` in [0, 1].
    """
    scaled = np.clip((confidence - low) / max(high - low, 1e-9), 0.0, 1.0)
    return np.where(gold, 1.0, np.sqrt(scaled))


def label_balance(labels: Sequence[str], known: Mapping[str, int], power: float) -> Floats:
    """How much a group counts for the label that leads its target (defined here).

    One's own labels are more of the frequent than there are; the few known ones say how many there should be.

    Args:
        labels: ``(N,)``.
        known: How often each label occurs among labelled turns; one more is counted of each, so none is impossible.
        power: 0 is all alike; at 1 labels count in sum as they occur among the known.

    Returns:
        ``(N,)`` in proportion to ``(known / own) ** power``, where that lies in [:data:`LEAST`, :data:`MOST`], and at
        these bounds otherwise; the mean is 1. Ones if nothing is known.
    """
    if not any(known.values()):
        return np.ones(len(labels))
    own = Counter(labels)
    return bounded(np.array([((known.get(label, 0) + 1) / own[label]) ** power for label in labels]))


def bounded(weight: Floats) -> Floats:
    """Weights of mean 1: ``clip(scale * weight, LEAST, MOST)`` with the one scale that gives it.

    Args:
        weight: ``(N,)``, positive.

    Returns:
        ``(N,)``; ``weight / mean`` where that is within the bounds. The order stays.
    """
    weight = weight / weight.mean()
    if weight.min() >= LEAST and weight.max() <= MOST:
        return weight
    low, high = LEAST / weight.max(), MOST / weight.min()  # at these all are at the one bound, and at the other
    for _ in range(200):  # the mean grows with the scale: halving finds it
        middle = (low * high) ** 0.5
        low, high = (middle, high) if (middle * weight).clip(LEAST, MOST).mean() < 1 else (low, middle)
    return np.asarray((high * weight).clip(LEAST, MOST))


def advantages(rewards_NG: Floats, weight: Floats, sigma_min: float = 0.05) -> Floats:
    """``A_i = w_g (r_i - mean r) / max(std r, sigma_min)`` within each group (defined here).

    The floor keeps a group of near-equal rewards from turning noise into large advantages.

    Args:
        rewards_NG: ``(N, G)``.
        weight: ``w_g`` ``(N,)``.
        sigma_min: Floor under the population standard deviation.

    Returns:
        ``(N, G)``; rows sum to 0.
    """
    centred = rewards_NG - rewards_NG.mean(axis=1, keepdims=True)
    deviation = np.maximum(rewards_NG.std(axis=1, keepdims=True), sigma_min)
    return np.asarray(weight[:, None] * centred / deviation)


def constant_groups(rewards_NG: Floats) -> NDArray[np.bool_]:
    """Groups with no reward variance, which carry no gradient: ``(N, G)`` to ``(N,)``."""
    return np.asarray(np.ptp(rewards_NG, axis=1) < 1e-9)


def entropy(counts: ArrayLike) -> float:
    """Entropy in nats of counted things; 0 where there are none."""
    found = np.asarray(counts, dtype=np.float64)
    shares = found[found > 0] / max(found.sum(), 1)
    return abs(float((shares * np.log(shares)).sum()))
