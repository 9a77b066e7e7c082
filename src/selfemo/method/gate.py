"""Challenger against champion on the same held-out turns (method.md, Evaluation)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from selfemo.config import Config
from selfemo.config.sections import GateSettings
from selfemo.data.divide import LEAST_DIALOGUES, gate_is_open
from selfemo.data.labels import LabelSpace, Spaces
from selfemo.data.records import Prediction
from selfemo.errors import UserError
from selfemo.method.evaluation import confusion
from selfemo.method.rewards import Floats
from selfemo.method.sets import decisions, several
from selfemo.method.tallies import interval, micro_f1, resampled, scores_of_tallies, tallies

ALPHA = 0.025
"""Level of the one-sided test: how often a challenger that is no better may be promoted."""
DROP_ALPHA = 0.1
"""Level of the same test the other way round: how often a fall may be seen where there is none. It is larger, since a
fall that is not seen is served, and one that is none costs a round."""
PERMUTATIONS = 9_999
"""Assignments of names that are drawn where there are more: up to 13 dialogues all 2^D are counted."""
HEADERS = ("corpus", "figure", "gain [95 %]", "p, one-sided", "dialogues")
"""Of :meth:`Decision.cells`."""

WEIGHTED, MICRO = "weighted F1", "micro F1 of label sets"
"""What a gain is in: the field's figure of single labels, or where gold has sets, that of label decisions."""
MACRO, ACCURACY = "macro F1", "accuracy"
"""Other figures of single labels, which decide nothing: a person who compares two policies sees them."""

FIGURES: dict[str, Callable[[Floats], Floats]] = {
    WEIGHTED: lambda t: scores_of_tallies(t).weighted_f1,
    MICRO: micro_f1,
    MACRO: lambda t: scores_of_tallies(t).macro_f1,
    ACCURACY: lambda t: scores_of_tallies(t).accuracy,
}
"""How each is computed from tallies ``(..., 3, m)``."""


class NotComparable(UserError):
    """Champion and challenger were not scored on the same turns of the gate corpus: no comparison, now or later."""


@dataclass(frozen=True)
class Gain:
    """Gain on one corpus, and how sure it is.

    Attributes:
        gain: Of the challenger over the champion.
        low, high: Its 95 % interval, by bootstrap over dialogues.
        p: Of the paired permutation test, one-sided: chance of such a gain if the two were alike.
        dialogues: That both were scored on.
        figure: What the gain is in, of :data:`FIGURES`.
        p_drop: Of the same test the other way round, where the gain is below 0: chance of such a fall. Else 1.
    """

    gain: float
    low: float
    high: float
    p: float
    dialogues: int
    figure: str = WEIGHTED
    p_drop: float = 1.0

    def fell(self, settings: GateSettings) -> bool:
        """Whether it is a fall that keeps the champion: larger than ``gate.max_drop``, and beyond chance.

        Args:
            settings: Section ``gate``; an open gate asks for no test.
        """
        return self.gain < -settings.max_drop and (gate_is_open(settings.min_gain) or self.p_drop <= DROP_ALPHA)

    def fall(self, of: str) -> str:
        """In words, if it is one, of a corpus."""
        return f"{self.figure} on {of} fell by {-self.gain:.3f} (p of a fall {self.p_drop:.4f})"

    def chances(self) -> str:
        """p, and that of a fall where it is one."""
        return f"{self.p:.4f}" + (f" (of a fall {self.p_drop:.4f})" if self.gain < 0 else "")

    def __str__(self) -> str:
        """In a line, as reasons and reports show it."""
        spread = f"{self.gain:+.3f} [{self.low:+.3f}, {self.high:+.3f}] in {self.figure}"
        return f"{spread}, p {self.p:.4f}, {self.dialogues} dialogues"


@dataclass(frozen=True)
class Decision:
    """Whether the challenger is promoted, and the evidence.

    Attributes:
        promoted: Whether it is.
        reason: In words.
        gains: By corpus, the gate corpus first.
    """

    promoted: bool
    reason: str
    gains: dict[str, Gain] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Decision:
        """The inverse of :meth:`to_dict`; also of a decision's manifest, which holds the same keys among others."""
        gains = {corpus: Gain(**gain) for corpus, gain in data.get("gains", {}).items()}
        return cls(data["promoted"], data["reason"], gains)

    def cells(self) -> list[tuple[str, ...]]:
        """The evidence as text, a row a corpus, in the order of :data:`HEADERS`."""
        return [
            (corpus, g.figure, f"{g.gain:+.3f} [{g.low:+.3f}, {g.high:+.3f}]", g.chances(), str(g.dialogues))
            for corpus, g in self.gains.items()
        ]


def p_value(
    champion: Floats, challenger: Floats, seed: int, times: int = PERMUTATIONS, figure: str = WEIGHTED
) -> float:
    """How likely a gain as large as this one is if champion and challenger are alike.

    A paired permutation test over dialogues (Edgington 1969; Good 2005): if the two are alike, it is chance which of
    the two tallies of a dialogue bears which name. Turns of one dialogue are not independent, so a dialogue is swapped
    as a whole. Exact where there are at most ``times`` assignments of names; else so many are drawn, and the one at
    hand is counted among them.

    Args:
        champion: Tallies ``(D, 3, m)`` by dialogue (:mod:`selfemo.method.tallies`): of label decisions for
            :data:`MICRO`, of primary labels for the others.
        challenger: The same of the challenger on the same dialogues.
        seed: Of the assignments that are drawn.
        times: Most assignments.
        figure: What the gain is in.

    Returns:
        The one-sided p value; at least ``2 ** -D``.
    """
    from scipy.stats import permutation_test

    if len(champion) == 1:  # scipy wants two: one more without a turn changes no p
        champion, challenger = (np.concatenate([c, np.zeros_like(c)]) for c in (champion, challenger))
    dialogues, shape = len(champion), champion.shape[1:]
    change = (challenger - champion).reshape(dialogues, -1)
    first, second, scored = champion.sum(0), challenger.sum(0), FIGURES[figure]

    def gain(_: Floats, swapped: Floats, axis: int) -> Floats:  # (..., D) to (...): 1 where names are swapped
        moved = (swapped @ change).reshape(*swapped.shape[:-1], *shape)
        return np.asarray(scored(second - moved) - scored(first + moved))

    found = permutation_test(
        (np.ones(dialogues), np.zeros(dialogues)),
        gain,
        permutation_type="samples",
        vectorized=True,
        axis=-1,
        n_resamples=times,
        batch=1000,
        alternative="greater",
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def paired_gain(
    champion: Sequence[Prediction],
    challenger: Sequence[Prediction],
    space: LabelSpace | None,
    config: Config,
    figure: str | None = None,
) -> Gain:
    """Gain on one corpus, over the dialogues both were scored on.

    Args:
        champion: Its predictions there.
        challenger: The same of the challenger.
        space: The labels of the corpus; None if they are not known.
        config: Section ``evaluation``, and the seed.
        figure: What the gain is in, of :data:`FIGURES`; None is what the gate decides by: of sets where gold has any,
            else of single labels.

    Raises:
        NotComparable: If the two were not scored on the same turns, with the same labels.
    """
    if [(r.dialogue, r.turn, r.gold) for r in champion] != [(r.dialogue, r.turn, r.gold) for r in challenger]:
        raise NotComparable(
            "champion and challenger were scored on different turns", where="gate", fix="evaluate both on one corpus"
        )
    named = {label for row in (*champion, *challenger) for label in (*row.gold, *row.predicted)}
    if space is None or not named <= set(space.labels):
        raise NotComparable(
            f"champion and challenger were scored with different labels of {champion[0].corpus}",
            where="gate",
            fix="evaluate both with one label space",
        )
    figure = figure or (MICRO if several(champion) else WEIGHTED)
    scored = FIGURES[figure]
    old, new = (tallies_of(rows, space, figure) for rows in (champion, challenger))
    before, after = (scored(resampled(t, config.evaluation.bootstrap, config.seed)) for t in (old, new))
    gain, (low, high) = float(scored(new.sum(0)) - scored(old.sum(0))), interval(after - before)
    p, p_drop = p_value(old, new, config.seed, figure=figure), 1.0
    if gain < 0:
        p_drop = p_value(new, old, config.seed, figure=figure)
    return Gain(gain, low, high, p, len(old), figure, p_drop)


def tallies_of(rows: Sequence[Prediction], space: LabelSpace, figure: str) -> Floats:
    """Tallies ``(D, 3, m)`` of predictions by dialogue, as a figure wants them.

    Args:
        rows: Of one corpus.
        space: Its labels.
        figure: Of :data:`FIGURES`.
    """
    return decisions(rows, space) if figure == MICRO else tallies(confusion(rows, space))


def check(champion: Sequence[Prediction], challenger: Sequence[Prediction], spaces: Spaces, config: Config) -> Decision:
    """Promote the challenger if it is better beyond chance on the gate corpus, and worse beyond chance on none.

    Args:
        champion: Its held-out predictions, all corpora; empty if there is no champion.
        challenger: The same of the challenger.
        spaces: The labels that the challenger was scored with.
        config: Its first corpus is the gate corpus; sections ``gate`` and ``evaluation``.

    Raises:
        NotComparable: If the two were not scored on the same turns, or not on the gate corpus.
    """
    if not champion:
        return Decision(True, "there was no champion")
    name, settings = config.corpora[0].name, config.gate
    corpora = dict.fromkeys([name, *(r.corpus for r in champion), *(r.corpus for r in challenger)])
    if all(r.corpus != name for r in (*champion, *challenger)):
        raise NotComparable(
            f"no turn of {name}, the gate corpus, was scored", where="gate", fix="evaluate both on the gate corpus"
        )
    gains = {
        c: paired_gain(
            [r for r in champion if r.corpus == c], [r for r in challenger if r.corpus == c], spaces.get(c), config
        )
        for c in corpora
    }
    found = gains[name]
    fallen = [c for c in gains if gains[c].fell(settings)]
    if fallen:
        worst = min(fallen, key=lambda c: gains[c].gain)
        return Decision(False, gains[worst].fall(worst), gains)
    if gate_is_open(settings.min_gain):
        return Decision(True, f"gain on {name} {found}; the gate is open", gains)
    few = min(gains, key=lambda c: gains[c].dialogues)
    if gains[few].dialogues < LEAST_DIALOGUES:
        said = f"{gains[few].dialogues} dialogues of {few} decide nothing: it takes at least {LEAST_DIALOGUES}"
        return Decision(False, said, gains)
    if found.p > ALPHA:
        return Decision(False, f"gain on {name} {found}: it may be chance (p above {ALPHA:g})", gains)
    if found.gain <= settings.min_gain:
        return Decision(False, f"gain on {name} {found}: not above {settings.min_gain:g}", gains)
    chance = [f"{g.fall(c)}, which may be chance" for c, g in gains.items() if g.gain < -settings.max_drop]
    return Decision(True, "; ".join([f"gain on {name} {found}", *chance]), gains)


def with_corrections(
    decision: Decision, champion: Sequence[Prediction], challenger: Sequence[Prediction], spaces: Spaces, config: Config
) -> Decision:
    """A decision, and what corrected conversations say to it: a drop there keeps the champion.

    A gain there promotes nobody: people correct what the served policy got wrong, so whatever errs otherwise gains.

    Args:
        decision: Of :func:`check`.
        champion: Its predictions on corrected conversations that nobody has learnt from; empty if there are none.
        challenger: The same of the challenger.
        spaces: As for :func:`check`.
        config: As for :func:`check`.

    Raises:
        NotComparable: If the two were not scored on the same turns.
    """
    said = []
    for corpus in dict.fromkeys(r.corpus for r in (*champion, *challenger)):
        old, new = ([r for r in rows if r.corpus == corpus] for rows in (champion, challenger))
        found = paired_gain(old, new, spaces.get(corpus), config)
        decision = replace(decision, gains={**decision.gains, f"{corpus}, corrected": found})
        if found.dialogues < LEAST_DIALOGUES:
            said.append(f"{found.dialogues} corrected dialogues of {corpus} decide nothing: it takes {LEAST_DIALOGUES}")
        elif found.fell(config.gate) and decision.promoted:
            reason = f"{found.fall(f'corrected turns of {corpus}')}; else: {decision.reason}"
            decision = replace(decision, promoted=False, reason=reason)
        elif found.gain < -config.gate.max_drop and decision.promoted:
            said.append(f"{found.fall(f'corrected turns of {corpus}')}, which may be chance")
    return replace(decision, reason="; ".join([decision.reason, *said]))
