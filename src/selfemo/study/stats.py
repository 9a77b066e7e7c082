"""What the runs of a study come to: means over seeds, and differences between variants with intervals.

Resamples are of seeds and of dialogues, the same for every variant, so differences are paired (docs/method.md,
Evaluation). A seed stands for a warm-up and all that follows from it: what few of them came to may not come again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfemo.method.rewards import Floats
from selfemo.method.tallies import interval, resample, scores_of

MEASURES = ("accuracy", "weighted_f1", "macro_f1")
RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with the central 95 % of its bootstrap."""

    value: float
    low: float
    high: float

    @property
    def sure(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


class Variants:
    """Bootstrapped measures of variants, computed once for each run.

    Args:
        records: Of :func:`selfemo.study.execute.execute`, all of one corpus and budget.
        seed: Of the resamples.
    """

    def __init__(self, records: Sequence[Mapping[str, Any]], seed: int = 0) -> None:
        self.records = {(r["variant"], int(r["seed"])): r for r in records}
        sizes = {int(r["scores"]["dialogues"]) for r in records}
        if len(sizes) != 1:
            raise ValueError(f"runs were scored on different dialogues: {sorted(sizes)}")
        self._drawn, self._seed = resample(sizes.pop(), RESAMPLES, seed), seed
        self._known: dict[tuple[str, int], tuple[Mapping[str, float], Mapping[str, Floats]]] = {}

    def seeds(self, *variants: str) -> list[int]:
        """Seeds that all of some variants have."""
        return sorted(set.intersection(*({s for a, s in self.records if a == variant} for variant in variants)))

    def mean(self, variant: str, measure: str) -> Estimate:
        """Mean of a measure over a variant's seeds."""
        return self._mean([(1.0, variant)], measure)

    def gain(self, variant: str, over: str, measure: str) -> Estimate:
        """Mean difference of a measure between two variants, over the seeds that both have."""
        return self._mean([(1.0, variant), (-1.0, over)], measure)

    def _mean(self, terms: Sequence[tuple[float, str]], measure: str) -> Estimate:
        seeds = self.seeds(*(variant for _, variant in terms))
        scores = [[(factor, self._scores(variant, seed)) for factor, variant in terms] for seed in seeds]
        point = sum(factor * at[measure] for mine in scores for factor, (at, _) in mine) / len(seeds)
        drawn_SB = np.array([sum(factor * of[measure] for factor, (_, of) in mine) for mine in scores])
        # Of another stream than the dialogues are drawn from, or the two would go together.
        picked_BS = resample(len(seeds), RESAMPLES, self._seed + 1)
        return Estimate(point, *interval((picked_BS * drawn_SB.T).sum(1) / len(seeds)))

    def _scores(self, variant: str, seed: int) -> tuple[Mapping[str, float], Mapping[str, Floats]]:
        key = (variant, seed)
        if key not in self._known:
            matrix = dense(self.records[key])
            point, drawn = scores_of(matrix.sum(0)), scores_of(np.einsum("bd,dij->bij", self._drawn, matrix))
            self._known[key] = (
                {m: float(getattr(point, m)) for m in MEASURES},
                {m: getattr(drawn, m) for m in MEASURES},
            )
        return self._known[key]


def dense(record: Mapping[str, Any]) -> NDArray[np.int64]:
    """Confusion matrices by dialogue ``(D, m, m + 1)`` from a record's counts."""
    m = len(record["labels"])
    matrix = np.zeros((int(record["scores"]["dialogues"]), m, m + 1), dtype=np.int64)
    for dialogue, gold, predicted, count in record["counts"]:
        matrix[dialogue, gold, predicted] = count
    return matrix
