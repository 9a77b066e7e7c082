"""Figures of labels from tallies by dialogue, and their bootstrap over dialogues (method.md, Evaluation).

A tally ``(..., 3, m)`` says of each of ``m`` labels how often it was named rightly, was due, and was named. Tallies of
dialogues add up, and sums of them take time that grows with the labels, where those of confusion matrices grow with
their square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfemo.method.rewards import Floats


@dataclass(frozen=True)
class Measures:
    """Metrics of tallies, one for each leading index.

    Attributes:
        accuracy: Share of turns whose primary label is right.
        weighted_f1: F1 weighted by gold support, the ERC convention.
        macro_f1: Plain mean of F1 over the labels of the space.
        f1: Per label ``(..., m)``.
    """

    accuracy: Floats
    weighted_f1: Floats
    macro_f1: Floats
    f1: Floats


def scores_of(matrix: NDArray[np.integer]) -> Measures:
    """Metrics of confusion matrices ``(..., m, m + 1)``: rows gold, columns predicted, the last unparseable."""
    return scores_of_tallies(tallies(matrix))


def tallies(matrix: NDArray[np.integer]) -> Floats:
    """Tallies of confusion matrices: of primary labels, one a turn."""
    counts = np.asarray(matrix, dtype=np.float64)
    m = counts.shape[-2]
    hits = np.diagonal(counts[..., :m], axis1=-2, axis2=-1)
    return np.stack([hits, counts.sum(-1), counts[..., :m].sum(-2)], axis=-2)


def scores_of_tallies(tallied: Floats) -> Measures:
    """Metrics of :func:`tallies`, or of sums of them."""
    hits, support, named = np.moveaxis(tallied, -2, 0)
    f1 = 2 * hits / np.maximum(support + named, 1)
    total = np.maximum(support.sum(-1), 1)
    return Measures(hits.sum(-1) / total, (f1 * support).sum(-1) / total, f1.mean(-1), f1)


def micro_f1(tallied: Floats) -> Floats:
    """F1 over all decisions alike: ``(..., 3, m)`` to ``(...)``; of some labels, with that part of the tally."""
    hits, due, named = np.moveaxis(tallied, -2, 0)
    return np.asarray(2 * hits.sum(-1) / np.maximum((due + named).sum(-1), 1))


def of_dialogues(rows: Floats, dialogues: Sequence[str]) -> Floats:
    """Sum rows of turns ``(N, ...)`` by dialogue, ``(D, ...)``, in the order in which dialogues first appear."""
    places = {name: place for place, name in enumerate(dict.fromkeys(dialogues))}
    found = np.zeros((len(places), *rows.shape[1:]))
    np.add.at(found, [places[name] for name in dialogues], rows)
    return found


def resample(dialogues: int, times: int, seed: int) -> NDArray[np.int64]:
    """How often each dialogue is drawn in each bootstrap resample: ``(times, dialogues)``, rows sum to dialogues."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(dialogues, np.full(dialogues, 1 / dialogues), size=times)


def bootstrap(counts: NDArray[np.int64], times: int, seed: int) -> Measures:
    """Measures of bootstrap resamples of confusion matrices ``(D, m, m + 1)``, leading shape ``(times,)``."""
    return scores_of_tallies(resampled(tallies(counts), times, seed))


def resampled(tallied: Floats, times: int, seed: int) -> Floats:
    """Sums of bootstrap resamples over dialogues: ``(D, n, m)`` to ``(times, n, m)``."""
    drawn = resample(len(tallied), times, seed).astype(np.float64)
    return (drawn @ tallied.reshape(len(tallied), -1)).reshape(times, *tallied.shape[1:])


def interval(values: Floats) -> tuple[float, float]:
    """The central 95 % of bootstrap values."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
