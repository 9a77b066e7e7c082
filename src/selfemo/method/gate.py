"""Challenger against champion on the same held-out turns (method.md, Evaluation)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfemo.config import Config
from selfemo.data.corpora.table import SPACES
from selfemo.data.records import Scored
from selfemo.errors import UserError
from selfemo.method.evaluation import confusion, interval, resample, scores_of

LEVEL = 0.025
"""Chance, at most, that a challenger which is no better is promoted: one side of 5 %."""
RESAMPLES = 9999
"""Permutations of a test with too many dialogues to go through all; up to 13 dialogues, all of them are."""


@dataclass(frozen=True)
class Gain:
    """What a challenger has more than the champion on one corpus, in weighted F1.

    Attributes:
        gain: Challenger's less champion's.
        low, high: 95 % interval, bootstrap over dialogues.
        p: Of a gain as large by chance: one-sided paired permutation test over dialogues.
        dialogues: Both were scored on.
    """

    gain: float
    low: float
    high: float
    p: float
    dialogues: int


@dataclass(frozen=True)
class Decision:
    """Whether the challenger is promoted, and the evidence.

    Attributes:
        promoted: Whether it is.
        reason: In words.
        gains: By corpus.
    """

    promoted: bool
    reason: str
    gains: dict[str, Gain] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def paired_gain(champion: Sequence[Scored], challenger: Sequence[Scored], config: Config) -> Gain:
    """Gain on one corpus, from the dialogues both were scored on.

    Turns of a dialogue hang together, so dialogues are what is resampled, and what is swapped between the two.

    Raises:
        UserError: If the two were not scored on the same turns.
    """
    if [(r.dialogue, r.turn, r.gold) for r in champion] != [(r.dialogue, r.turn, r.gold) for r in challenger]:
        raise UserError(
            "champion and challenger were scored on different turns", where="gate", fix="evaluate both on one corpus"
        )
    space = SPACES[champion[0].corpus]
    old, new = confusion(champion, space), confusion(challenger, space)
    gain = _weighted_f1(new.sum(0)) - _weighted_f1(old.sum(0))
    drawn = resample(len(old), config.evaluation.bootstrap, config.seed)
    sums = [_weighted_f1(np.einsum("bd,dij->bij", drawn, counts)) for counts in (old, new)]
    low, high = interval(sums[1] - sums[0])
    return Gain(float(gain), low, high, permutation_p(old, new, config.seed), len(old))


def permutation_p(old: NDArray[np.int64], new: NDArray[np.int64], seed: int) -> float:
    """How often a gain as large would come about if it were chance which of the two gave which answers to a dialogue.

    A paired permutation test, exact in its level for any number of dialogues; Good (2005), "Permutation, Parametric
    and Bootstrap Tests of Hypotheses".

    Args:
        old: Confusion by dialogue of the champion ``(D, m, m + 1)``.
        new: The same of the challenger.
        seed: Of the permutations, where they are drawn.

    Returns:
        One-sided p; at least ``2 ** -D``.
    """
    from scipy.stats import permutation_test

    both = np.concatenate([old, new]).astype(np.float64)
    flat = both.reshape(len(both), -1)

    def gain(first: NDArray[np.int64], second: NDArray[np.int64], axis: int) -> NDArray[np.float64]:
        """Of indices into both, ``(..., D)``, to the gain of the second over the first ``(...)``."""
        values = []
        for chosen in (second, first):
            rows = np.moveaxis(chosen, axis, -1)
            counts = np.zeros((*rows.shape[:-1], len(both)))
            np.put_along_axis(counts, rows, 1.0, axis=-1)
            values.append(_weighted_f1((counts @ flat).reshape(*rows.shape[:-1], *both.shape[1:])))
        return np.asarray(values[0] - values[1])

    size = len(old)
    test = permutation_test(
        (np.arange(size), np.arange(size, 2 * size)),
        gain,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=1000,
        alternative="greater",
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)


def decide(champion: Sequence[Scored], challenger: Sequence[Scored], config: Config) -> Decision:
    """Promote the challenger if it is better beyond chance and no corpus falls.

    Args:
        champion: Its held-out predictions, all corpora in any order; empty if there is no champion.
        challenger: The same of the challenger.
        config: Sections ``corpora`` (the first is the gate corpus), ``gate`` and ``evaluation``.

    Raises:
        UserError: If the two were scored on different turns, or not on the gate corpus.
    """
    if not champion:
        return Decision(True, "there was no champion")
    corpora = list(dict.fromkeys(r.corpus for r in challenger))
    corpus, rule = config.corpora[0].name, config.gate
    if corpus not in corpora:
        raise UserError(
            f"no turn of the gate corpus {corpus} was scored", where="gate", fix="score both on the corpora of this run"
        )
    gains = {
        c: paired_gain([r for r in champion if r.corpus == c], [r for r in challenger if r.corpus == c], config)
        for c in corpora
    }
    found = gains[corpus]
    worst = min(corpora, key=lambda c: gains[c].gain)
    if gains[worst].gain < -rule.max_drop:
        return Decision(False, f"weighted F1 on {worst} fell by {-gains[worst].gain:.3f}", gains)
    if rule.open:
        return Decision(True, f"gain {found.gain:+.3f}; the gate is open (min_gain {rule.min_gain:g})", gains)
    if found.dialogues < rule.min_dialogues:
        needed = f"{found.dialogues} dialogues of {corpus} are too few to tell: the gate needs {rule.min_dialogues}"
        return Decision(False, needed, gains)
    if rule.min_gain < 0:  # not worse by more than this: there is no permutation test of that
        above = found.low > rule.min_gain
        bound = f"its lower bound {found.low:+.3f} is {'' if above else 'not '}above {rule.min_gain:g}"
        return Decision(above, f"gain {found.gain:+.3f}, {bound}", gains)
    if found.gain <= rule.min_gain:
        return Decision(False, f"gain {found.gain:+.3f} is not above {rule.min_gain:g}", gains)
    sure = found.p <= LEVEL
    chance = f"p = {found.p:.3f}, {'at most' if sure else 'above'} {LEVEL:g}"
    return Decision(sure, f"gain {found.gain:+.3f} on {corpus}, {chance}", gains)


def _weighted_f1(matrix: NDArray[Any]) -> Any:
    return scores_of(matrix).weighted_f1
