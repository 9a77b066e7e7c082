"""What a round learnt from, and how training went, as figures: labels, reasons, rewards, voices, curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from selfemo.method.flywheel.reasons import Reason
from selfemo.report.evidence import FilterEvidence, Round
from selfemo.report.figure import SHARES, Figure, Panel, number, short, spec_of

CURVES = {
    "loss": "loss",
    "reward/understanding": "reward of understanding",
    "entropy/understanding": "entropy of what is read",
    "replay_loss": "loss of labelled dialogues played again",
    "reward/expression": "reward of expression",
    "rewards/align/mean": "alignment reward",
    "rewards/consistency/mean": "consistency reward",
    "group_confidence": "confidence of groups",
    "zero_variance": "groups without variance",
    "entropy": "entropy of tokens",
    "completions/mean_length": "length of completions",
    "grad_norm": "norm of the gradient",
}
"""Metrics of training steps that are drawn, and their titles."""
FEW = 12
"""Steps that have a dot each."""
BINS = 20
"""Of a histogram of rewards or confidences, from 0 to 1."""


def words_of(reason: str) -> str:
    """What became of a candidate, in words."""
    return reason.replace("_", " ")


REASONS = tuple(words_of(reason.name.lower()) for reason in Reason)
"""What becomes of candidates, in the order in which it is asked."""
COLOURED = (*REASONS[:2], *REASONS[:1:-1])
"""The same by the number of its colour, which is one in all figures of a run: the commonest have the clearest."""


def label_mix(kept: FilterEvidence, gold: Mapping[str, Counter[str]]) -> list[Figure]:
    """Label mix by corpus: of what was a candidate, of what was kept, and of gold where the corpus has it.

    Args:
        kept: Of the filter.
        gold: First gold labels of the round's corpus turns, by corpus; nobody learnt from them.
    """
    import altair as alt

    candidates: dict[str, Counter[str]] = {}
    after: dict[str, Counter[str]] = {}
    corpus_of = {rollout.id: rollout.corpus for rollout in kept.rollouts}
    for row in kept.outcomes.values():
        if row.target:
            candidates.setdefault(corpus_of.get(row.id, ""), Counter())[row.target[0]] += 1
    for sample in kept.samples:
        if sample.task == "understanding":
            after.setdefault(sample.corpus, Counter())[sample.target[0]] += 1
    figures = []
    for corpus in candidates:
        counts = {
            "candidates": candidates[corpus],
            "kept": after.get(corpus, Counter()),
            "gold": gold.get(corpus, Counter()),
        }
        counts = {name: found for name, found in counts.items() if found}
        names = sorted(set().union(*counts.values()), key=lambda n: (-candidates[corpus][n], n))
        points = [
            dict(label=n, what=what, share=short(found[n] / found.total()), turns=found[n])
            for what, found in counts.items()
            for n in names
        ]
        chart = (
            alt.Chart(alt.Data(values=points))
            .mark_bar()
            .encode(
                y=alt.Y("label:N", sort=names, title=None),
                yOffset=alt.YOffset("what:N", sort=list(counts)),
                x=alt.X("share:Q", title="share of turns", axis=alt.Axis(format="%", tickCount=5)),
                color=alt.Color(
                    "what:N",
                    scale=alt.Scale(domain=sorted(counts, key=lambda what: what != "kept")),
                    legend=alt.Legend(values=list(counts)),
                ),
                tooltip=["label:N", "what:N", alt.Tooltip("share:Q", format=".1%"), "turns:Q"],
            )
        )
        figures.append(
            Figure(
                f"mix-{corpus}",
                f"Label mix of understanding, {corpus}",
                "First labels of the targets of all corpus turns, of the samples that are kept (understanding of "
                "generated turns included), and of gold, which the policy never saw.",
                (Panel("", spec_of(chart.properties(height=13 * len(counts) * len(names)))),),
                ("label", *counts),
                tuple(
                    (n, *(f"{found[n]} ({found[n] / found.total():.1%})" for found in counts.values())) for n in names
                ),
            )
        )
    return figures


def reasons(rounds: Sequence[Round]) -> Figure | None:
    """What became of the candidates of each round, by reason; None where no filter ran."""
    import altair as alt

    points, rows = [], []
    for r in rounds:
        for task, found in (r.kept.told["reasons"] if r.kept else {}).items():
            total = sum(found.values())
            for reason, count in sorted(found.items(), key=lambda item: (item[0] != "kept", -item[1])):
                words = words_of(reason)
                points.append(dict(round=f"round {r.number}, {task}", reason=words, candidates=count))
                rows.append((str(r.number), task, words, str(count), f"{count / total:.1%}"))
    if not points:
        return None
    there = dict.fromkeys(str(p["reason"]) for p in points)
    others = [reason for reason in there if reason not in REASONS]  # of another version
    order = [*(reason for reason in REASONS if reason in there), *others]
    chart = (
        alt.Chart(alt.Data(values=points))
        .mark_bar()
        .encode(
            y=alt.Y("round:N", title=None, sort=None),
            x=alt.X("candidates:Q", title="candidates", stack="zero", axis=alt.Axis(tickMinStep=1, tickCount=8)),
            color=alt.Color("reason:N", scale=alt.Scale(domain=[*COLOURED, *others]), legend=alt.Legend(values=order)),
            order=alt.Order("rank:Q"),
            tooltip=["round:N", "reason:N", "candidates:Q"],
        )
        .transform_calculate(rank=f"indexof({order!r}, datum.reason)")
    )
    return Figure(
        "reasons",
        "Candidates by what became of them",
        "A candidate is a corpus turn to be understood, or a sampled reply. Each is kept, or rejected for exactly one "
        "reason, the first that applies.",
        (Panel("", spec_of(chart.properties(height=34 * len({p["round"] for p in points})))),),
        ("round", "task", "what became of it", "candidates", "share"),
        tuple(rows),
        wide=True,
    )


def distributions(kept: FilterEvidence) -> Figure | None:
    """Histograms of reward and confidence, kept and rejected apart; None where no record of the candidates is there."""
    import altair as alt

    flat = [
        (x, c, "kept" if reason == "kept" else "rejected")
        for row in kept.outcomes.values()
        for x, c, reason in zip(row.scores, row.confidences, row.reasons, strict=True)
    ]
    if not flat:
        return None
    panels, rows = [], []
    for index, title in ((0, "reward: expected smoothed IoU"), (1, "confidence of what is read")):
        points = []
        for what in ("kept", "rejected"):
            values = [row[index] for row in flat if row[2] == what]
            counts, edges = np.histogram(values, bins=BINS, range=(0, 1))
            for count, low, high in zip(counts, edges, edges[1:], strict=False):
                if count:
                    points.append(dict(low=short(low), high=short(high), candidates=int(count), what=what))
                    rows.append((title, f"{low:.2f} to {high:.2f}", what, str(count)))
        chart = (
            alt.Chart(alt.Data(values=points))
            .mark_bar(binSpacing=1)
            .encode(
                x=alt.X(
                    "low:Q", bin="binned", title=title, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(values=SHARES)
                ),
                x2="high:Q",
                y=alt.Y("candidates:Q", stack="zero"),
                color=alt.Color("what:N", scale=alt.Scale(domain=["kept", "rejected"])),
                tooltip=["what:N", "low:Q", "high:Q", "candidates:Q"],
            )
        )
        panels.append(Panel("", spec_of(chart.properties(height=200))))
    return Figure(
        "rewards",
        "Rewards and confidence",
        "Of all candidates of the round, replies that could not be read at 0.",
        tuple(panels),
        ("what", "between", "", "candidates"),
        tuple(rows),
        wide=True,
    )


def voices(kept: FilterEvidence) -> Figure | None:
    """How often each voice is right where gold is known, and what it counts; None where no turn was read."""
    import altair as alt

    found = kept.told.get("metrics", {})
    by_kind = {
        kind: {k.removeprefix(f"voice_{kind}/"): v for k, v in found.items() if k.startswith(f"voice_{kind}/")}
        for kind in ("accuracy", "weight")
    }
    names = sorted(set().union(*by_kind.values()))
    if not names:
        return None
    points = [
        dict(voice=name, accuracy=short(by_kind["accuracy"][name])) for name in names if name in by_kind["accuracy"]
    ]
    chart = (
        alt.Chart(alt.Data(values=points))
        .mark_bar()
        .encode(
            y=alt.Y("voice:N", title=None, sort="-x"),
            x=alt.X("accuracy:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(values=SHARES)),
            tooltip=["voice:N", alt.Tooltip("accuracy:Q", format=".3f")],
        )
    )
    again = int(found.get("seen_again", 0))
    told = f"{found['flipped']:.1%} of {again} targets seen before flipped." if again else "No target was seen before."
    return Figure(
        "voices",
        "Voices of the consensus",
        "The recogniser reads a turn; the responder, if it is asked, says how well each answer accounts for it; their "
        f"pool makes the target. Accuracy is of first labels, where hidden gold is known. {told}",
        (Panel("", spec_of(chart.properties(height=26 * len(points)))),) if points else (),
        ("voice", "accuracy", "weight"),
        tuple((n, number(by_kind["accuracy"].get(n)), number(by_kind["weight"].get(n))) for n in names),
    )


def training(history: Sequence[Mapping[str, float]]) -> Figure | None:
    """Curves of a training over its steps; None where nothing was logged."""
    import altair as alt

    present = {key: title for key, title in CURVES.items() if any(key in row for row in history)}
    if not present:
        return None
    panels = []
    for key, title in present.items():
        points = [dict(step=row["step"], value=short(row[key])) for row in history if key in row]
        few = len(points) <= FEW
        x = alt.X("step:O", axis=alt.Axis(labelAngle=0)) if few else alt.X("step:Q", axis=alt.Axis(format="d"))
        chart = (
            alt.Chart(alt.Data(values=points))
            .mark_line(point=few)
            .encode(x=x, y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)), tooltip=["step:O", "value:Q"])
        )
        panels.append(Panel(title, spec_of(chart.properties(height=140))))
    keys = list(present)
    return Figure(
        "training",
        "Training curves",
        "Metrics of the round's optimizer steps.",
        tuple(panels),
        ("step", *present.values()),
        tuple(
            (str(row["step"]), *(number(row.get(key), 4) for key in keys)) for row in history if set(keys) & set(row)
        ),
        wide=True,
    )
