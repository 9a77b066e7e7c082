"""Answers chosen for the expected weighted F1, not the likeliest: what a policy knows, apart from how it decides.

A policy that says rare labels less often has a lower F1 though it may know no less. Imported by `rounds.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from subjects import SPACES

from selfemo.data.records import Prediction
from selfemo.method.probabilities import cross_scaled, of_primary
from selfemo.method.rewards import Floats

STEPS = (-0.8, -0.4, -0.2, -0.1, -0.05, 0.05, 0.1, 0.2, 0.4, 0.8)
"""By how much the logarithm of what a label counts is changed at a time."""


def for_weighted_f1(rows: Sequence[Prediction]) -> list[Prediction]:
    """The same turns, each answered by one label, so that the weighted F1 that the probabilities expect is greatest.

    Expected counts take the place of gold's, so no label of these turns is used but for the one temperature of each
    half, which is fitted on the other (:func:`cross_scaled`). What each label counts is found by coordinate ascent.
    """
    space = SPACES[rows[0].corpus]
    chances_Nm = of_primary(np.array([r.posterior for r in rows]), space)
    gold_N = np.array([space.index[r.gold[0]] for r in rows])
    believed_Nm = cross_scaled(chances_Nm, gold_N, [r.dialogue for r in rows])
    logs_Nm, counts_m = np.log(np.maximum(believed_Nm, 1e-9)), np.zeros(len(space))
    best = expected(believed_Nm, (logs_Nm + counts_m).argmax(axis=1))
    found = True
    while found:
        found = False
        for label in range(len(space)):
            for step in STEPS:
                tried_m = counts_m + step * (np.arange(len(space)) == label)
                value = expected(believed_Nm, (logs_Nm + tried_m).argmax(axis=1))
                if value > best + 1e-9:
                    best, counts_m, found = value, tried_m, True
    chosen = (logs_Nm + counts_m).argmax(axis=1)
    return [r.model_copy(update={"predicted": (space.labels[c],)}) for r, c in zip(rows, chosen, strict=True)]


def expected(believed_Nm: Floats, chosen_N: np.ndarray) -> float:
    """Weighted F1 of some answers, were every turn every label by its probability."""
    m = believed_Nm.shape[1]
    real, named = believed_Nm.sum(axis=0), np.bincount(chosen_N, minlength=m)
    right = np.bincount(chosen_N, weights=believed_Nm[np.arange(len(chosen_N)), chosen_N], minlength=m)
    return float((real * 2 * right / np.maximum(real + named, 1e-9)).sum() / real.sum())
