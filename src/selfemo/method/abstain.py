"""When a policy had better abstain: a temperature, and the confidence from which on it is right often enough.

Shapes: ``N`` turns, ``A`` allowed answers, ``m`` labels. An answer counts as right if its first label is gold's first,
as accuracy has it. The confidence of an answer is the calibrated probability of its first label. Selective
classification (Geifman and El-Yaniv 2017) with the plain share of right answers on held-out turns, no bound on it;
defined here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from selfemo.data.labels import LabelSpace
from selfemo.data.records import Prediction, Record
from selfemo.errors import CorruptArtifact
from selfemo.method.probabilities import TEMPERATURES, Ints, of_primary, scaled
from selfemo.method.rewards import Floats

CALIBRATION = "calibration.json"
"""File of an evaluation: what is known of each corpus's confidences."""
LEAST = 20
"""Held-out turns that a threshold has to rest on: of fewer, one answer is more than 5 % of the precision."""


class Calibration(Record):
    """How sure a policy was of held-out turns, and whether it was right: any target precision can be looked up.

    Attributes:
        labels: Of the space that was read.
        temperature: That makes the probabilities of all these turns likeliest.
        confidence: Of each turn's answer, the surest first. Each half of the dialogues is scaled by the temperature of
            the other, so that none is judged by its own.
        right: Whether that answer was right: 1 or 0.
    """

    schema_version: Literal["selfemo.calibration/1"] = "selfemo.calibration/1"
    labels: tuple[str, ...]
    temperature: float
    confidence: tuple[float, ...]
    right: tuple[int, ...]


class OperatingPoint(Record):
    """What a threshold comes to on held-out turns.

    Attributes:
        threshold: Least confidence of what is kept.
        precision: Share of right answers among what is kept.
        low: Lower end of its 95 % interval (Wilson 1927).
        coverage: Share of the turns that is kept.
        turns: How many that are.
    """

    threshold: float
    precision: float
    low: float
    coverage: float
    turns: int


_FILE = TypeAdapter(dict[str, Calibration])


def believed(posterior_NA: Floats, space: LabelSpace, temperature: float) -> tuple[Floats, Ints, Floats]:
    """Calibrated posteriors ``(N, A)``, the likeliest answer of each ``(N,)``, and its confidence ``(N,)``."""
    calm_NA = scaled(posterior_NA, temperature)
    best = posterior_NA.argmax(axis=1)
    first = np.array([space.index[answer[0]] for answer in space.answers])[best]
    return calm_NA, best, of_primary(calm_NA, space)[np.arange(len(best)), first]


def calibrate(rows: Sequence[Prediction], space: LabelSpace) -> Calibration:
    """What the held-out turns of a corpus say of a policy's confidence.

    Args:
        rows: With posteriors; at least one.
        space: Their labels.
    """
    posterior_NA = np.array([row.posterior for row in rows], dtype=np.float64)
    gold = np.array([space.index[row.gold[0]] for row in rows])
    places = {name: place for place, name in enumerate(dict.fromkeys(row.dialogue for row in rows))}
    half = np.array([places[row.dialogue] % 2 for row in rows])
    confidence, right = np.zeros(len(rows)), np.zeros(len(rows), dtype=int)
    for mine in (half == 0, half == 1):
        if mine.any():
            other = ~mine if not mine.all() else mine
            _, best, confidence[mine] = believed(
                posterior_NA[mine], space, _fitted(posterior_NA[other], gold[other], space)
            )
            right[mine] = [space.index[space.answers[a][0]] == g for a, g in zip(best, gold[mine], strict=True)]
    confidence = confidence.round(6)
    order = np.argsort(-confidence, kind="stable")
    return Calibration(
        labels=space.labels,
        temperature=_fitted(posterior_NA, gold, space),
        confidence=tuple(confidence[order].tolist()),
        right=tuple(right[order].tolist()),
    )


def _fitted(posterior_NA: Floats, gold_N: Ints, space: LabelSpace) -> float:
    """The temperature of the answers at which gold's first labels are likeliest (Guo et al. 2017)."""
    rows = np.arange(len(gold_N))

    def loss(temperature: float) -> float:
        chances_Nm = of_primary(scaled(posterior_NA, temperature), space)
        return float(-np.log(np.maximum(chances_Nm[rows, gold_N], 1e-12)).mean())

    return float(min(TEMPERATURES, key=loss))


def kept_at(known: Calibration, threshold: float) -> OperatingPoint | None:
    """What a threshold comes to; None if it keeps nothing."""
    count = int((np.array(known.confidence) >= threshold).sum())
    if not count:
        return None
    right = sum(known.right[:count])
    return OperatingPoint(
        threshold=threshold,
        precision=right / count,
        low=_wilson(right, count),
        coverage=count / len(known.confidence),
        turns=count,
    )


def for_precision(known: Calibration, precision: float) -> OperatingPoint | None:
    """The threshold that keeps most turns at a precision or a better one; None if none of :data:`LEAST` turns does."""
    confidence = np.array(known.confidence)
    counts = np.arange(1, len(confidence) + 1)
    shares = np.cumsum(known.right) / counts
    ends = np.append(confidence[1:] < confidence[:-1], True)  # equal confidences are kept or left together
    fits = np.flatnonzero(ends & (shares >= precision) & (counts >= LEAST))
    return kept_at(known, float(confidence[fits[-1]])) if len(fits) else None


def best_precision(known: Calibration) -> float | None:
    """The best precision that any threshold has on :data:`LEAST` turns or more; None of fewer turns."""
    counts = np.arange(1, len(known.right) + 1)
    shares = np.cumsum(known.right) / counts
    return float(shares[LEAST - 1 :].max()) if len(shares) >= LEAST else None


def _wilson(right: int, count: int, z: float = 1.959964) -> float:
    share, spread = right / count, z * z / count
    root = (share * (1 - share) / count + spread / (4 * count)) ** 0.5
    return float(max(0.0, (share + spread / 2 - z * root) / (1 + spread)))


def write_calibration(path: Path, known: Mapping[str, Calibration]) -> None:
    """Write calibrations by corpus; :func:`read_calibration` reads them back."""
    path.write_bytes(_FILE.dump_json(dict(known)))


def read_calibration(path: Path) -> dict[str, Calibration]:
    """Calibrations by corpus.

    Raises:
        CorruptArtifact: If the file holds none.
    """
    try:
        return _FILE.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise CorruptArtifact(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where=str(path)) from None
