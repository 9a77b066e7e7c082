"""Sets of labels scored as sets: every label of every turn is a decision of its own (method.md, Evaluation).

Shapes: ``N`` turns, ``D`` dialogues, ``m`` labels, ``A`` allowed answers. What scikit-learn computes, it computes here,
or is what the tests hold this against. Single labels are scored as the field does, in
:mod:`selfemo.method.evaluation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfemo.config import Config
from selfemo.data.labels import LabelSpace
from selfemo.data.records import Prediction
from selfemo.method.affinity import affinity_of
from selfemo.method.rewards import Floats, Masks, indicators, marginals, smoothed_iou
from selfemo.method.tallies import interval, micro_f1, of_dialogues, resampled, scores_of_tallies

LEAST_CHANCE = 1e-6
"""Least probability that a cross-entropy takes: posteriors are kept with six digits."""


def several(rows: Sequence[Prediction]) -> bool:
    """Whether gold has more than one label on a turn: then sets are what the gate decides on."""
    return any(len(row.gold) > 1 for row in rows)


def masks_of(sets: Sequence[Sequence[str]], space: LabelSpace) -> Masks:
    """``(N,)`` bit masks of sets of labels."""
    return np.array([space.mask(one) for one in sets], dtype=np.uint64)


def decisions(rows: Sequence[Prediction], space: LabelSpace) -> Floats:
    """Label decisions by dialogue: how often each label was named rightly, was due, and was named, ``(D, 3, m)``."""
    m = len(space)
    gold, named = (indicators(masks_of(sets, space), m) for sets in zip(*((r.gold, r.predicted) for r in rows)))
    return of_dialogues(np.stack([gold * named, gold, named], axis=1), [r.dialogue for r in rows])


def shared(posterior_NA: Floats, space: LabelSpace) -> Floats:
    """A posterior over answers as one over labels, ``(N, A)`` to ``(N, m)``: the labels of a set share its probability.

    Rows sum to 1, as shares of votes do.
    """
    labels_Am = indicators(space.answer_masks, len(space)).astype(np.float64)
    return np.asarray(posterior_NA @ (labels_Am / labels_Am.sum(axis=1, keepdims=True)))


def vote_cross_entropy(chances_Nm: Floats, votes: Sequence[Mapping[str, float]], space: LabelSpace) -> float:
    """Mean cross-entropy of probabilities and annotators' votes, in nats: ``-sum_l v_l log p_l`` (soft labels).

    Args:
        chances_Nm: Of :func:`shared`; rows of turns that have votes.
        votes: Of each turn, in proportion.
        space: The labels.
    """
    weights_Nm = np.array([[one.get(label, 0.0) for label in space.labels] for one in votes])
    shares_Nm = weights_Nm / weights_Nm.sum(axis=1, keepdims=True)
    return float(-(shares_Nm * np.log(np.maximum(chances_Nm, LEAST_CHANCE))).sum(axis=1).mean())


def ranking_precision(gold_Nm: NDArray[np.floating], chances_Nm: Floats) -> float:
    """Label ranking average precision (Tsoumakas et al. 2010): 1 if due labels are likelier than all that are not."""
    from sklearn.metrics import label_ranking_average_precision_score

    if gold_Nm.shape[1] == 1:
        return 1.0  # one label is ranked first
    return float(label_ranking_average_precision_score(gold_Nm, chances_Nm))


def summarise_sets(rows: Sequence[Prediction], space: LabelSpace, config: Config) -> dict[str, Any]:
    """Figures of one corpus's sets.

    Args:
        rows: Its held-out turns.
        space: Its labels.
        config: Sections ``evaluation`` and ``rewards``.

    Returns:
        ``turns_of_several`` labels; ``sets_micro_f1`` and ``sets_macro_f1`` over label decisions with their 95 %
        intervals; ``subset_accuracy``, the share of turns whose set is gold's; ``mean_smoothed_iou``, as the filter and
        the reward have it; ``label_ranking_average_precision`` of the probabilities; ``sets_f1`` and ``support`` (turns
        that have it) by label; and where turns have votes ``voted_turns`` and ``vote_cross_entropy``.
    """
    m = len(space)
    gold, named = masks_of([r.gold for r in rows], space), masks_of([r.predicted for r in rows], space)
    tallied = decisions(rows, space)
    point, drawn = tallied.sum(0), resampled(tallied, config.evaluation.bootstrap, config.seed)
    scores, of_drawn = scores_of_tallies(point), scores_of_tallies(drawn)
    posterior_NA = np.array([r.posterior for r in rows])
    close = smoothed_iou(named, gold, config.rewards.smoothing, affinity_of(config, space))
    found: dict[str, Any] = {
        "turns_of_several": sum(len(r.gold) > 1 for r in rows),
        "sets_micro_f1": float(micro_f1(point)),
        "sets_micro_f1_interval": interval(micro_f1(drawn)),
        "sets_macro_f1": float(scores.macro_f1),
        "sets_macro_f1_interval": interval(of_drawn.macro_f1),
        "subset_accuracy": float((gold == named).mean()),
        "mean_smoothed_iou": float(close.mean()),
        "label_ranking_average_precision": ranking_precision(
            indicators(gold, m), marginals(posterior_NA, space.answer_masks, m)
        ),
        "sets_f1": {label: float(v) for label, v in zip(space.labels, scores.f1, strict=True)},
        "support": {label: int(n) for label, n in zip(space.labels, point[1], strict=True)},
    }
    voted = [i for i, row in enumerate(rows) if row.votes]
    if voted:
        chances_Nm = shared(posterior_NA[voted], space)
        found["voted_turns"] = len(voted)
        found["vote_cross_entropy"] = vote_cross_entropy(chances_Nm, [rows[i].votes or {} for i in voted], space)
    return found
