"""Whether what is served is still like what the policy was judged on: its labels, its confidence, its words.

Each measure counts turns in a few boxes, here and there, and compares the shares by the population stability index,
which credit scoring has used for long; by convention 0.1 is a little and 0.25 much. Turns of one dialogue are alike, so
whether that is chance is asked by moving whole dialogues between the two sides (a permutation test, scipy). Few turns
give large indices by chance alone; both, the index and the test, have to say so. Defined here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfemo.data.labels import LabelSpace
from selfemo.data.scripts import words
from selfemo.method.drifted import BOUND, CHANCE, FEWEST

Counts = NDArray[np.float64]
"""``(D, K)``: of each dialogue, how many of its turns or words fall into each box."""

BOXES = 10
"""Of confidence, each as wide."""
WORDS, SPREAD = 100, 3
"""The reference's most frequent words have a box each, if they are in as many dialogues; all others share one."""
_EMPTY = 0.5
"""Added to each box: none is empty for sure."""
_DRAWS = 999
_MOST = 5


@dataclass(frozen=True)
class Read:
    """A turn as it was read.

    Attributes:
        dialogue: Names its dialogue.
        chances: How likely the policy holds each label.
        text: What was said; empty where that is not known.
    """

    dialogue: str
    chances: dict[str, float]
    text: str = ""


@dataclass(frozen=True)
class Measure:
    """One comparison.

    Attributes:
        name: ``labels``, ``confidence`` or ``words``.
        reference, served: Dialogues of each side.
        psi: Population stability index.
        chance: How often as much comes of moving dialogues between the sides alone.
        decided: Whether there are dialogues enough to say anything.
        moved: Boxes whose shares differ most: name, share of the reference, share of what is served.
        bound: Index above which it has drifted.
    """

    name: str
    reference: int
    served: int
    psi: float
    chance: float
    decided: bool
    moved: tuple[tuple[str, float, float], ...]
    bound: float

    @property
    def drifted(self) -> bool:
        """Whether what is served is another thing."""
        return self.decided and self.psi > self.bound and self.chance < CHANCE


def psi(reference_K: Counts, served_K: Counts) -> float:
    """Population stability index of two counts of the same boxes: 0 if their shares are the same."""
    shares = [(counts + _EMPTY) / (counts + _EMPTY).sum() for counts in (reference_K, served_K)]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def compare(
    reference: Sequence[Read], served: Sequence[Read], space: LabelSpace, bound: float = BOUND, seed: int = 0
) -> list[Measure]:
    """What is served against the reference, by each measure that both sides know.

    Args:
        reference: Turns that the policy was judged on.
        served: Turns that it read since.
        space: Its labels.
        bound: Index above which a measure has drifted.
        seed: Of the permutations.
    """
    labels = [*space.labels]
    edges = [f"{low / BOXES:.1f} to {(low + 1) / BOXES:.1f}" for low in range(BOXES)]
    found = [
        _measure("labels", labels, lambda row: [_first(row, space)], reference, served, bound, seed),
        _measure("confidence", edges, lambda row: [_box(row)], reference, served, bound, seed),
    ]
    if any(row.text for row in reference) and any(row.text for row in served):
        known = _frequent(reference)
        number = {word: i for i, word in enumerate(known)}
        boxes = [*known, "any other word"]
        found.append(
            _measure(
                "words",
                boxes,
                lambda row: [number.get(word, len(known)) for word in words(row.text)],
                [row for row in reference if row.text],
                [row for row in served if row.text],
                bound,
                seed,
            )
        )
    return found


def _measure(
    name: str,
    boxes: Sequence[str],
    boxes_of: Callable[[Read], list[int]],
    reference: Sequence[Read],
    served: Sequence[Read],
    bound: float,
    seed: int,
) -> Measure:
    sides = [_counts(rows, boxes_of, len(boxes)) for rows in (reference, served)]
    before, after = (side.sum(0) for side in sides)
    decided = min(map(len, sides)) >= FEWEST
    chance = _chance(sides[0], sides[1], seed) if decided else 1.0
    shares = [total / max(1.0, total.sum()) for total in (before, after)]
    order = np.argsort(-np.abs(shares[1] - shares[0]), kind="stable")[:_MOST]
    moved = tuple((boxes[i], float(shares[0][i]), float(shares[1][i])) for i in order if shares[0][i] != shares[1][i])
    return Measure(name, len(sides[0]), len(sides[1]), psi(before, after), chance, decided, moved, bound)


def _counts(rows: Sequence[Read], boxes_of: Callable[[Read], list[int]], boxes: int) -> Counts:
    dialogues = {name: number for number, name in enumerate(dict.fromkeys(row.dialogue for row in rows))}
    counts_DK = np.zeros((len(dialogues), boxes))
    for row in rows:
        for box in boxes_of(row):
            counts_DK[dialogues[row.dialogue], box] += 1
    return counts_DK


def _chance(reference_DK: Counts, served_DK: Counts, seed: int) -> float:
    from scipy.stats import permutation_test

    all_DK = np.concatenate([reference_DK, served_DK])

    def statistic(here: NDArray[np.int64], there: NDArray[np.int64]) -> float:
        return psi(all_DK[here].sum(0), all_DK[there].sum(0))

    places = np.arange(len(all_DK))
    sides = (places[: len(reference_DK)], places[len(reference_DK) :])
    done = permutation_test(
        sides, statistic, n_resamples=_DRAWS, alternative="greater", rng=np.random.default_rng(seed)
    )
    return float(done.pvalue)


def _first(row: Read, space: LabelSpace) -> int:
    return max(range(len(space)), key=lambda i: row.chances.get(space.labels[i], 0.0))


def _box(row: Read) -> int:
    return min(BOXES - 1, int(BOXES * max(row.chances.values(), default=0.0)))


def _frequent(rows: Sequence[Read]) -> list[str]:
    """The most frequent words; one that few dialogues have may be somebody's name."""
    often: Counter[str] = Counter()
    spread: dict[str, set[str]] = {}
    for row in rows:
        for word in words(row.text):
            often[word] += 1
            if len(spread.setdefault(word, set())) < SPREAD:
                spread[word].add(row.dialogue)
    kept = [word for word in often if len(spread[word]) >= SPREAD]
    return sorted(kept, key=lambda word: (-often[word], word))[:WORDS]
