"""How far a policy's probabilities can be believed: calibration error, Brier score, and the surest answers' accuracy.

Shapes: ``N`` turns, ``m`` labels. What is judged is the likeliest primary label: where sets of several labels are
allowed, it can differ from the first label of the likeliest answer, which accuracy judges.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from selfemo.data.labels import LabelSpace
from selfemo.method.rewards import Floats

BINS = 15
"""Of the calibration error, as Guo et al. (2017) have them."""
COVERAGES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Shares of the turns, the surest first, whose accuracy is told."""
TEMPERATURES = np.geomspace(0.25, 8, 161)
"""What a temperature is chosen from: 2 % from one to the next."""

Ints = NDArray[np.int64]


def of_primary(posterior_NA: Floats, space: LabelSpace) -> Floats:
    """How likely each label is to be an answer's first: ``(N, A)`` to ``(N, m)``."""
    first = np.array([space.index[answer[0]] for answer in space.answers])
    return np.asarray(posterior_NA @ np.eye(len(space))[first])


def calibration_error(chances_Nm: Floats, gold_N: Ints) -> float:
    """Expected calibration error: how far confidence and accuracy lie apart, over bins (Guo et al. 2017)."""
    turns, confidence, right = reliability(chances_Nm, gold_N)
    return float((turns * np.abs(right - confidence)).sum() / len(gold_N))


def reliability(chances_Nm: Floats, gold_N: Ints) -> tuple[Ints, Floats, Floats]:
    """What a reliability diagram shows (Guo et al. 2017), by bin of confidence, :data:`BINS` of equal width.

    Returns:
        ``(BINS,)`` each: turns, their mean confidence, and their accuracy; both are 0 where there is no turn.
    """
    confidence, right = chances_Nm.max(axis=1), chances_Nm.argmax(axis=1) == gold_N
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    turns = np.bincount(bins, minlength=BINS)
    sums = (np.bincount(bins, weights=values, minlength=BINS) for values in (confidence, right))
    confidence, accuracy = (total / np.maximum(turns, 1) for total in sums)
    return turns, confidence, accuracy


def brier(chances_Nm: Floats, gold_N: Ints) -> float:
    """Brier score: mean squared distance of the probabilities from what was the case, 0 to 2 (Brier 1950)."""
    return float(((chances_Nm - np.eye(chances_Nm.shape[1])[gold_N]) ** 2).sum(axis=1).mean())


def risk_coverage(chances_Nm: Floats, gold_N: Ints) -> dict[str, float]:
    """Accuracy of the surest share of the turns, by :data:`COVERAGES`: if people are asked about the rest."""
    right = _surest_first(chances_Nm, gold_N)
    return {f"{share:g}": float(right[: max(1, round(share * len(right)))].mean()) for share in COVERAGES}


def risk_curve(chances_Nm: Floats, gold_N: Ints, points: int = 60) -> list[tuple[float, float]]:
    """Share of wrong answers among the surest turns, by how many are answered (risk and coverage, El-Yaniv 2010).

    Args:
        chances_Nm: Of the policy; one turn at least.
        gold_N: Index of the primary gold label.
        points: Of the curve, at most.

    Returns:
        Coverage and risk of each point, from few turns to all.
    """
    wrong = ~_surest_first(chances_Nm, gold_N)
    answered = np.unique(np.linspace(1, len(wrong), points).round().astype(int))
    return [(float(n / len(wrong)), float(wrong[:n].mean())) for n in answered]


def _surest_first(chances_Nm: Floats, gold_N: Ints) -> NDArray[np.bool_]:
    """Whether each turn's likeliest label is gold's, the turns of most confidence first."""
    surest = np.argsort(-chances_Nm.max(axis=1), kind="stable")
    return np.asarray((chances_Nm.argmax(axis=1) == gold_N)[surest])


def scaled(chances_Nm: Floats, temperature: float) -> Floats:
    """Probabilities at another temperature: ``p ** (1 / T)``, normalised."""
    weights = np.maximum(chances_Nm, 1e-12) ** (1 / temperature)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def fitted_temperature(chances_Nm: Floats, gold_N: Ints) -> float:
    """The temperature at which what was the case is likeliest (temperature scaling, Guo et al. 2017)."""
    rows = np.arange(len(gold_N))
    losses = [-np.log(scaled(chances_Nm, t)[rows, gold_N]).mean() for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def cross_scaled(chances_Nm: Floats, gold_N: Ints, dialogues_N: Sequence[str]) -> Floats:
    """Scaled probabilities of which none was fitted on its own dialogue: each half by the temperature of the other.

    Args:
        chances_Nm: Of the policy.
        gold_N: Index of the primary gold label.
        dialogues_N: The dialogue of each turn; every other one is of the first half.
    """
    places = {name: place for place, name in enumerate(dict.fromkeys(dialogues_N))}
    half = np.array([places[name] % 2 for name in dialogues_N])
    found = chances_Nm.copy()
    for mine in (0, 1):
        other = half != mine
        if other.any():
            found[half == mine] = scaled(chances_Nm[half == mine], fitted_temperature(chances_Nm[other], gold_N[other]))
    return found
