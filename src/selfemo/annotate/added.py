"""What is said of a turn: its emotions, the probability of each label, the confidence, and whether to abstain."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selfemo.annotate.belief import Belief
from selfemo.data.labels import LabelSpace
from selfemo.method.abstain import believed
from selfemo.method.rewards import marginals

DIGITS = 6
"""Of a probability: weights in bfloat16 know no more."""
NUMBER = np.dtype("<f4")
"""How posteriors are kept between reading and writing."""


def names(space: LabelSpace, prefix: str) -> list[str]:
    """What is added: ``emotions``, ``p_LABEL`` for each label, ``confidence`` and ``abstain``."""
    return [f"{prefix}{n}" for n in ("emotions", *(f"p_{label}" for label in space.labels), "confidence", "abstain")]


@dataclass
class ReadingLookup:
    """Looks up what was read in turns.

    Attributes:
        space: The labels.
        belief: How it is calibrated, and when to abstain.
        names: Of what is added, in order.
        kept, abstained: Turns so far.
    """

    space: LabelSpace
    belief: Belief
    names: Sequence[str]
    file: int
    kept: int = 0
    abstained: int = 0

    @classmethod
    @contextmanager
    def opened(cls, path: Path, space: LabelSpace, belief: Belief, prefix: str) -> Iterator[ReadingLookup]:
        """With a file of posteriors, one after the other in the order of the turns."""
        with path.open("rb") as file:
            yield cls(space, belief, names(space, prefix), file.fileno())

    def of(self, turns: Sequence[int]) -> list[Mapping[str, Any]]:
        """What is said of some turns, by name."""
        if not turns:
            return []
        width = len(self.space.answers) * NUMBER.itemsize
        data = b"".join(os.pread(self.file, width, turn * width) for turn in turns)
        raw_NA = np.frombuffer(data, NUMBER).reshape(len(turns), -1).astype(np.float64).round(DIGITS)
        calm_NA, best, confidence = believed(raw_NA, self.space, self.belief.temperature)
        chances_Nm = marginals(calm_NA, self.space.answer_masks, len(self.space)).round(DIGITS)
        confidence = confidence.round(DIGITS)
        abstain = confidence < self.belief.threshold
        self.abstained += int(abstain.sum())
        self.kept += int((~abstain).sum())
        rows = zip(best.tolist(), chances_Nm.tolist(), confidence.tolist(), abstain.tolist(), strict=True)
        return [
            dict(zip(self.names, (list(self.space.answers[b]), *chances, c, a), strict=True))
            for b, chances, c, a in rows
        ]
