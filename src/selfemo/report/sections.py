"""One round's section of the page, and what the page says of all rounds: figures, tables, and the sentences on top."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfemo.method.probabilities import COVERAGES
from selfemo.report import data_charts, run_charts, score_charts
from selfemo.report.evidence import Round, Scores
from selfemo.report.figure import Figure, number, with_interval
from selfemo.report.loop import LoopStage, outcome, stages
from selfemo.shown import duration

PROBABILITIES = {
    "calibration_error": "calibration error",
    "scaled_calibration_error": "scaled",
    "brier": "Brier",
    "scaled_brier": "scaled",
    "temperature": "temperature",
}
"""Of an evaluation's metrics, and their columns."""
SETS = {
    "sets_micro_f1": "micro F1 [95 %]",
    "sets_macro_f1": "macro F1 [95 %]",
    "subset_accuracy": "subset accuracy",
    "mean_smoothed_iou": "mean smoothed IoU",
    "label_ranking_average_precision": "ranking precision",
    "vote_cross_entropy": "cross-entropy with votes",
}
"""The same, of sets of labels."""


@dataclass(frozen=True)
class RoundSection:
    """What the page shows of one round.

    Attributes:
        round: The round; ``outcome`` what became of it, ``reason`` why.
        stages: Of the loop's picture.
        gate_rows: What the gate saw.
        groups: Figures, with a title and a note each.
        sets, probabilities: Tables of label sets and of probabilities, under their headers.
        rejected: Task, reason and text of examples.
    """

    round: Round
    outcome: str
    reason: str
    stages: Sequence[LoopStage]
    gate_rows: Sequence[tuple[str, ...]]
    groups: Sequence[tuple[str, str, Sequence[Figure]]]
    sets: Sequence[tuple[str, ...]]
    probabilities: Sequence[tuple[str, ...]]
    rejected: Sequence[tuple[str, str, str]]
    sets_headers: tuple[str, ...] = ("", "corpus", "turns of several", *SETS.values())
    probability_headers: tuple[str, ...] = (
        "",
        "corpus",
        *PROBABILITIES.values(),
        *(f"surest {s:.0%}" for s in COVERAGES),
    )

    @property
    def place(self) -> str:
        """Prefix of its charts' names."""
        return f"r{self.round.number}"

    @property
    def figures(self) -> list[Figure]:
        """All of its figures."""
        return [figure for _, _, figures in self.groups for figure in figures]


def section_of(round: Round, trained_by: Mapping[str, int]) -> RoundSection:
    """Put a round's section together.

    Args:
        round: The round.
        trained_by: Number of the round that trained a policy, by its URI.
    """
    read: list[Figure] = []
    for corpus in round.after.corpora:
        read += [score_charts.confusion(round, corpus), score_charts.by_label(round, corpus)]
        read += score_charts.calibration(round, corpus)
    kept = round.kept
    learnt = [f for f in (data_charts.reasons([round]), data_charts.distributions(kept)) if f] if kept else []
    if kept:
        learnt += [*data_charts.label_mix(kept, _gold(round)), *filter(None, [data_charts.voices(kept)])]
    curves = data_charts.training(round.history)
    against = "Before is the champion that it was held against, on the same held-out turns." if round.before else ""
    if kept and not round.before:
        against = "Nothing was trained in this round: these are the champion's figures, of before."
    scores = score_charts.pairs(round)
    return RoundSection(
        round=round,
        outcome=outcome(round.row),
        reason=f"{round.decision.reason[:1].upper()}{round.decision.reason[1:]}.",
        stages=stages(round, trained_by),
        gate_rows=round.decision.cells(),
        groups=(
            ("How well it reads", against, read),
            ("What it learnt from", "", learnt),
            ("How training went", "", [curves] if curves else []),
        ),
        sets=[row for name, found in scores for row in _sets(name, found)],
        probabilities=[row for name, found in scores for row in _probabilities(name, found)],
        rejected=_rejected(round),
    )


def over(rounds: Sequence[Round]) -> list[Figure]:
    """Figures that have all rounds in them."""
    found = [run_charts.over_rounds(rounds), run_charts.gains(rounds), data_charts.reasons(rounds)]
    return [figure for figure in found if figure]


def summary(rounds: Sequence[Round]) -> str:
    """The run in two sentences."""
    played = [r for r in rounds if r.kept]
    if not played:
        return "No round of self-play has been decided: what there is, is the policy that the loop starts from."
    accepted, total = (
        sum(n)
        for n in zip(
            *((r.row.accepted or 0, (r.row.accepted or 0) + (r.row.rejected or 0)) for r in played), strict=True
        )
    )
    better = [r.number for r in played if outcome(r.row) == "promoted"]
    stopped = [r.number for r in played if r.row.stopped]
    rounds_of = (
        f"{len(played)} round{'s' if len(played) > 1 else ''} of self-play kept {accepted} of {total} candidates."
    )
    if len(stopped) == len(played):
        return f"{rounds_of} The collapse guard stopped {'each of them' if len(stopped) > 1 else 'it'}."
    if better:
        which = " and ".join(
            [", ".join(map(str, better[:-1])), str(better[-1])] if len(better) > 1 else [str(better[0])]
        )
        return (
            f"{rounds_of} The policy of round {which} was better than the champion beyond chance, and took its place."
        )
    return f"{rounds_of} No challenger was better than the champion beyond chance, so the champion stays."


def tiles(rounds: Sequence[Round]) -> list[tuple[str, str, str]]:
    """The run in a few numbers: name, value, and what to say beside it."""
    if not rounds:
        return []
    champions = [r for r in rounds if outcome(r.row) == "promoted"]
    last = rounds[-1]
    shown = [] if champions else [("Champion", "an earlier run's", "no round of this run took its place")]
    if champions:
        row = champions[-1].row
        low, high = row.weighted_f1_interval
        name = f"round {row.round}" if row.round else "round 0, the warm-up"
        shown += [
            ("Champion", name, "the last that was promoted"),
            ("Its weighted F1", f"{row.weighted_f1:.3f}", f"95 %: {low:.3f} to {high:.3f}"),
        ]
    gain = last.decision.gains.get(last.after.corpora[0])
    if gain:
        note = f"in {gain.figure}, p\u00a0{gain.p:.4f}: {outcome(last.row)}"
        shown.append(("Last challenger's gain", f"{gain.gain:+.3f}", note))
    played = [r for r in rounds if r.row.accepted is not None]
    if played:
        accepted = sum(r.row.accepted or 0 for r in played)
        total = accepted + sum(r.row.rejected or 0 for r in played)
        shown.append(("Candidates kept", f"{accepted}", f"of {total} ({accepted / max(1, total):.0%})"))
    seconds, on_gpu = (
        sum(values) for values in zip(*((r.row.seconds, r.row.accelerator_seconds) for r in rounds), strict=True)
    )
    shown.append(("Time of all steps", duration(seconds), f"{on_gpu / 3600:.1f} GPU hours" if on_gpu else "no GPU"))
    return shown


def _gold(round: Round) -> dict[str, Counter[str]]:
    """First gold labels of the round's corpus turns, by corpus."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for rollout in round.kept.rollouts if round.kept else ():
        if rollout.gold:
            found[rollout.corpus][rollout.gold[0]] += 1
    return found


def _sets(name: str, scores: Scores) -> list[tuple[str, ...]]:
    return [
        (name, corpus, str(values["turns_of_several"]), *(with_interval(values, key) for key in SETS))
        for corpus, values in scores.metrics.items()
        if "sets_micro_f1" in values  # what is under "expression" is no corpus, and older versions had none
    ]


def _probabilities(name: str, scores: Scores) -> list[tuple[str, ...]]:
    return [
        (
            name,
            corpus,
            *(number(values[key]) for key in PROBABILITIES),
            *map(number, values["accuracy_of_surest"].values()),
        )
        for corpus, values in scores.metrics.items()
        if "accuracy_of_surest" in values
    ]


def _rejected(round: Round) -> list[tuple[str, str, str]]:
    found = round.kept.told.get("rejected_examples", {}) if round.kept else {}
    return [
        (task, data_charts.words_of(reason), text)
        for task, reasons in sorted(found.items())
        for reason, texts in sorted(reasons.items())
        for text in texts
    ]
