"""Challenger against champion on the same held-out turns (method.md, Evaluation)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from selfemo.config import Config
from selfemo.data.corpora.table import SPACES
from selfemo.data.records import Scored
from selfemo.errors import UserError
from selfemo.method.evaluation import confusion, interval, resample, scores_of


@dataclass(frozen=True)
class Decision:
    """Whether the challenger is promoted, and the evidence.

    Attributes:
        promoted: The verdict.
        reason: In words.
        gains: By corpus: gain in weighted F1 with its 95 % interval ``(gain, low, high)``.
    """

    promoted: bool
    reason: str
    gains: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def paired_gain(champion: Sequence[Scored], challenger: Sequence[Scored], config: Config) -> tuple[float, float, float]:
    """Gain in weighted F1 on one corpus, by bootstrap over the dialogues both were scored on.

    Returns:
        Gain, and the bounds of its 95 % interval. Each resample draws the same dialogues for both.

    Raises:
        UserError: If the two were not scored on the same turns.
    """
    if [(r.dialogue, r.turn, r.gold) for r in champion] != [(r.dialogue, r.turn, r.gold) for r in challenger]:
        raise UserError(
            "champion and challenger were scored on different turns", where="gate", fix="evaluate both on one corpus"
        )
    space = SPACES[champion[0].corpus]
    old, new = confusion(champion, space), confusion(challenger, space)
    gain = float(scores_of(new.sum(0)).weighted_f1 - scores_of(old.sum(0)).weighted_f1)
    drawn = resample(len(old), config.evaluation.bootstrap, config.seed)
    sums = [scores_of(np.einsum("bd,dij->bij", drawn, counts)).weighted_f1 for counts in (old, new)]
    low, high = interval(sums[1] - sums[0])
    return gain, low, high


def decide(champion: Sequence[Scored], challenger: Sequence[Scored], config: Config) -> Decision:
    """Promote the challenger if it is better beyond chance and no corpus falls.

    Args:
        champion: Its held-out predictions, all corpora, the gate corpus first; empty if there is no champion.
        challenger: The same of the challenger.
        config: Sections ``gate`` and ``evaluation``.
    """
    if not champion:
        return Decision(True, "there was no champion")
    corpora = list(dict.fromkeys(r.corpus for r in challenger))
    gains = {
        c: paired_gain([r for r in champion if r.corpus == c], [r for r in challenger if r.corpus == c], config)
        for c in corpora
    }
    gain, low, _ = gains[corpora[0]]
    worst = min(corpora, key=lambda c: gains[c][0])
    if gains[worst][0] < -config.gate.max_drop:
        return Decision(False, f"weighted F1 on {worst} fell by {-gains[worst][0]:.3f}", gains)
    if low <= config.gate.min_gain:
        return Decision(
            False, f"gain {gain:+.3f}, its lower bound {low:+.3f} is not above {config.gate.min_gain:g}", gains
        )
    return Decision(True, f"gain {gain:+.3f}, its lower bound {low:+.3f} is above {config.gate.min_gain:g}", gains)
