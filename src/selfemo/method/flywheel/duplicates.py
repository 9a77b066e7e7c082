"""Near-duplicates among what a round would learn, all of them (method.md, The flywheel). Defined here.

Texts are compared as sets of word shingles, by Jaccard similarity. An inverted index names those to compare with: a
near-duplicate shares so many of a text's shingles that it has one of any few of them, so the lists of the rarest few
hold every near-duplicate (prefix filtering, Bayardo et al. 2007), where MinHash LSH has most.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Set

from selfemo.data.records import Sample
from selfemo.data.scripts import length
from selfemo.method.flywheel.texts import shingles, words_alone

SHORT = 5
"""A turn of fewer words ("Oh my God.") is common speech: what it means depends on what was said before it."""


class NearDuplicates:
    """Sets of shingles that were met, and whether another is a near-duplicate of one of them.

    Args:
        threshold: Least Jaccard similarity of near-duplicates, above 0.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._sets: list[Set[str]] = []
        self._with: dict[str, list[int]] = defaultdict(list)

    def near(self, found: Set[str]) -> bool:
        """Whether a set that was added is similar enough; exact, whatever their number."""
        lists = sorted((self._with.get(shingle, []) for shingle in found), key=len)
        few = lists[: len(found) - math.ceil(self.threshold * len(found)) + 1]
        others = (self._sets[i] for i in {i for numbers in few for i in numbers})
        return any(len(found & other) >= self.threshold * len(found | other) for other in others)

    def add(self, found: Set[str]) -> None:
        """Remember a set."""
        for shingle in found:
            self._with[shingle].append(len(self._sets))
        self._sets.append(found)


def learnt(sample: Sample) -> Set[str]:
    """What a sample teaches, as shingles: of its reply, or of the turn that is to be understood.

    Neighbours in a dialogue share their history, so it is no part of it. But a short turn is a duplicate only where the
    turn before it is the same too: it stands as one shingle with that.
    """
    if sample.reply is not None:
        return shingles(sample.reply)
    turn = sample.history[-1].text
    if length(turn) >= SHORT:
        return shingles(turn)
    before = sample.history[-2].text if len(sample.history) > 1 else ""
    return {f"{words_alone(before)} / {words_alone(turn)}"}
