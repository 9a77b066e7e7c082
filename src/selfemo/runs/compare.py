"""Two policies side by side: which is better, by what the gate goes by, and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from selfemo.config import Config
from selfemo.data.labels import LabelSpace
from selfemo.data.records import Prediction
from selfemo.method import gate
from selfemo.method.evaluation import confusion
from selfemo.method.gate import Gain, NotComparable
from selfemo.method.sets import several
from selfemo.method.tallies import interval, resampled, scores_of_tallies, tallies
from selfemo.runs.sides import Side

WITHOUT_TEST = {
    "mean_iou": "mean IoU of sets",
    "calibration_error": "calibration error",
    "scaled_calibration_error": "calibration error, scaled",
    "brier": "Brier score",
    "label_entropy": "entropy of labels",
}
"""Figures of an evaluation that are shown side by side as they are, and their names."""


@dataclass(frozen=True)
class ComparedFigure:
    """A figure of both.

    Attributes:
        name: Of the figure.
        first, second: Its values.
        gain: Of the second over the first, with interval and p in the direction of its sign; None for a figure that no
            paired test is made of.
    """

    name: str
    first: float | None
    second: float | None
    gain: Gain | None = None


@dataclass(frozen=True)
class ComparedLabel:
    """F1 of a label, primary labels alone.

    Attributes:
        label: Its name.
        support: Turns that have it.
        first, second: F1.
        low, high: 95 % interval of the second's over the first's, by paired bootstrap over dialogues.
    """

    label: str
    support: int
    first: float
    second: float
    low: float
    high: float


@dataclass(frozen=True)
class ComparedTurn:
    """A turn that the two read differently."""

    dialogue: str
    turn: int
    gold: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]

    @property
    def became(self) -> str:
        """In a word, by the primary label: ``better``, ``worse`` or ``other``."""
        before, after = (bool(read) and read[0] == self.gold[0] for read in (self.first, self.second))
        return "other" if before == after else "better" if after else "worse"


@dataclass(frozen=True)
class OnCorpus:
    """The two on one corpus.

    Attributes:
        corpus: Its name.
        turns, dialogues: That both were scored on, with the same gold.
        only_first, only_second: Turns that one of them alone was scored on.
        figures: What the gate goes by is the first.
        labels: In the order of the space.
        changed: Turns that the two read differently.
        why_not: Why they cannot be compared here; empty if they can.
    """

    corpus: str
    turns: int = 0
    dialogues: int = 0
    only_first: int = 0
    only_second: int = 0
    figures: tuple[ComparedFigure, ...] = ()
    labels: tuple[ComparedLabel, ...] = ()
    changed: tuple[ComparedTurn, ...] = ()
    why_not: str = ""

    @property
    def better(self) -> str:
        """``first`` or ``second``, beyond chance as the gate has it; ``neither``; empty if they cannot be compared."""
        found = self.figures[0].gain if self.figures else None
        if found is None:
            return ""
        return "neither" if found.p > gate.ALPHA else "second" if found.gain > 0 else "first"


def on_each_corpus(first: Side, second: Side, config: Config) -> Iterator[OnCorpus]:
    """Compare two policies on every corpus that either was scored on, the first's gate corpus first.

    Args:
        first: A policy.
        second: Another.
        config: Section ``evaluation``, and the seed, of the resamples.
    """
    for corpus in dict.fromkeys(row.corpus for row in (*first.predictions, *second.predictions)):
        yield _on(corpus, first, second, config)


def _on(corpus: str, first: Side, second: Side, config: Config) -> OnCorpus:
    ours = {(r.dialogue, r.turn, r.gold): r for r in first.predictions if r.corpus == corpus}
    theirs = {(r.dialogue, r.turn, r.gold): r for r in second.predictions if r.corpus == corpus}
    both = [key for key in ours if key in theirs]
    rows, others = [ours[key] for key in both], [theirs[key] for key in both]
    alone = OnCorpus(corpus, only_first=len(ours) - len(both), only_second=len(theirs) - len(both))
    if not both:
        return replace(alone, why_not="no held-out turn is in both evaluations with the same gold")
    space = first.spaces.get(corpus)
    if space is None or space != second.spaces.get(corpus):
        return replace(alone, why_not="the two were scored with different labels")
    try:
        tested = tuple(_tested(rows, others, space, config))
    except NotComparable as error:
        return replace(alone, why_not=error.message)
    whole = not alone.only_first and not alone.only_second  # else the evaluations' own figures are of other turns
    plain = tuple(_plain(first.figures, second.figures, corpus)) if whole else ()
    return replace(
        alone,
        turns=len(both),
        dialogues=len({row.dialogue for row in rows}),
        figures=tested + plain,
        labels=tuple(_labels(rows, others, space, config)),
        changed=tuple(
            ComparedTurn(a.dialogue, a.turn, a.gold, a.predicted, b.predicted)
            for a, b in zip(rows, others, strict=True)
            if a.predicted != b.predicted
        ),
    )


def _tested(
    rows: Sequence[Prediction], others: Sequence[Prediction], space: LabelSpace, config: Config
) -> Iterator[ComparedFigure]:
    """The figures of the gate: the one that it decides by, then the others."""
    deciding = gate.MICRO if several(rows) else gate.WEIGHTED
    for figure in dict.fromkeys((deciding, gate.WEIGHTED, gate.ACCURACY, gate.MACRO)):
        gain = gate.paired_gain(rows, others, space, config, figure)
        if gain.gain < 0:  # the test is one-sided: it is asked whether the first is better
            gain = replace(gain, p=gain.p_drop)
        values = [float(gate.FIGURES[figure](gate.tallies_of(of, space, figure).sum(0))) for of in (rows, others)]
        yield ComparedFigure(figure, values[0], values[1], gain)


EXPRESSION = {
    "own": "expression, own reading",
    "judge": "expression, judge",
    "own_kappa": "expression beyond chance, own reading",
    "judge_kappa": "expression beyond chance, judge",
    "most_frequent": "share of the most frequent reply",
}
"""Figures of replies."""


def _plain(first: Mapping[str, Any], second: Mapping[str, Any], corpus: str) -> Iterator[ComparedFigure]:
    for key, name in WITHOUT_TEST.items():
        values = [figures.get(corpus, {}).get(key) for figures in (first, second)]
        if None not in values:
            yield ComparedFigure(name, *values)
    for key, name in EXPRESSION.items():
        values = [figures.get("expression", {}).get(key) for figures in (first, second)]
        if None not in values:
            yield ComparedFigure(name, *values)


def _labels(
    rows: Sequence[Prediction], others: Sequence[Prediction], space: LabelSpace, config: Config
) -> Iterator[ComparedLabel]:
    old, new = (tallies(confusion(of, space)) for of in (rows, others))
    before, after = (scores_of_tallies(of.sum(0)).f1 for of in (old, new))
    drawn = [scores_of_tallies(resampled(of, config.evaluation.bootstrap, config.seed)).f1 for of in (old, new)]
    for n, label in enumerate(space.labels):
        low, high = interval(drawn[1][:, n] - drawn[0][:, n])
        yield ComparedLabel(label, int(old[:, 1, n].sum()), float(before[n]), float(after[n]), low, high)
