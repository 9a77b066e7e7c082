"""What each voice reads in a round's corpus turns, and the one reading they come to (method.md, Both roles)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfemo.data.labels import LabelSpace
from selfemo.data.records import Rollout
from selfemo.method.player import likeliest
from selfemo.method.rewards import Floats
from selfemo.method.voices import BELIEFS, RECOGNISER, RESPONDER, WORDS, fit_weights, pool

POOL = "pool"
"""What the voices come to, by the side of their names."""


@dataclass(frozen=True)
class Readings:
    """What is read in ``N`` turns of one label space.

    Attributes:
        voices: Posteriors ``(N, A)`` by voice, and their pool.
        weights: What each voice counts in it.
    """

    voices: dict[str, Floats]
    weights: dict[str, float]

    @property
    def pooled_NA(self) -> Floats:
        """What targets are made of."""
        return self.voices[POOL]

    @property
    def other_NA(self) -> Floats:
        """What the other role says than the one that learns: the responder, or the recogniser if it was not asked."""
        return self.voices.get(RESPONDER, self.voices[RECOGNISER])

    def right(self, rollouts: Sequence[Rollout], space: LabelSpace) -> dict[str, list[bool]]:
        """By voice, whether the first label of its likeliest answer is gold's, of the turns whose gold is known."""
        return {
            name: [
                likeliest(chances_A, space)[0] == r.gold[0]
                for r, chances_A in zip(rollouts, chances_NA, strict=True)
                if r.gold
            ]
            for name, chances_NA in self.voices.items()
        }


def read(rollouts: Sequence[Rollout], held_out: Sequence[Rollout], space: LabelSpace) -> Readings:
    """Ask every voice.

    Args:
        rollouts: Of corpus turns, one at least; all asked alike.
        held_out: Of turns whose gold says what each voice counts; may be none.
        space: Their labels.
    """
    voices = _voices(rollouts)
    labelled = [r for r in held_out if r.gold]
    weights = {name: BELIEFS[name] for name in voices}
    if labelled:
        weights = fit_weights(_voices(labelled), gold_of(labelled, space))
    return Readings({**voices, POOL: pool(voices, weights)}, weights)


def gold_of(rollouts: Sequence[Rollout], space: LabelSpace) -> NDArray[np.int64]:
    """Index of each turn's gold among the allowed answers: the set, or its first label where that set is none."""
    index = {int(mask): i for i, mask in reversed(list(enumerate(space.answer_masks)))}
    found = [index.get(space.mask(r.gold), space.index[r.gold[0]]) for r in rollouts if r.gold]
    return np.array(found, dtype=np.int64)


def _voices(rollouts: Sequence[Rollout]) -> dict[str, Floats]:
    """What each voice says of the turns ``(N, A)``; the recogniser's views are one voice, their mean."""
    others = [name for name in (RESPONDER, WORDS) if name in rollouts[0].posteriors]
    views = [[p for name, p in r.posteriors.items() if name not in others] for r in rollouts]
    found = {RECOGNISER: np.array([np.mean(v, axis=0) for v in views])}
    return found | {name: np.array([r.posteriors[name] for r in rollouts]) for name in others}
