"""One round's evaluation in detail, beside that of the champion it was held against, as figures."""

from __future__ import annotations

from typing import Any

import numpy as np

from selfemo.method.probabilities import of_primary, reliability, risk_curve
from selfemo.report.evidence import Round, Scores
from selfemo.report.figure import SHARES, Figure, Panel, number, short, spec_of

FEW = 12
"""Labels of a confusion matrix that has room for counts in its cells."""


def pairs(round: Round) -> list[tuple[str, Scores]]:
    """The evaluations that a round's figures compare: before, if there was a champion, and after."""
    after = (f"after round {round.number}", round.after)
    return [("before: the champion", round.before), after] if round.before else [after]


def confusion(round: Round, corpus: str) -> Figure:
    """Confusion matrices of one corpus, before and after: shares of each gold label's turns, with counts."""
    import altair as alt

    panels, rows = [], []
    headers: tuple[str, ...] = ()
    for name, scores in pairs(round):
        if corpus not in scores.metrics:
            continue
        values = scores.metrics[corpus]
        labels, counts = values["labels"], np.array(values["confusion"])
        columns = [*labels, "none"] if counts[:, -1].any() else labels
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        cells = [
            dict(gold=gold, predicted=predicted, turns=int(counts[i, j]), share=short(shares[i, j]))
            for i, gold in enumerate(labels)
            for j, predicted in enumerate(columns)
            if counts[i, j]
        ]
        base = alt.Chart(alt.Data(values=cells)).encode(
            x=alt.X(
                "predicted:N",
                sort=None,
                scale=alt.Scale(domain=columns),
                title="predicted",
                axis=alt.Axis(labelAngle=-40),
            ),
            y=alt.Y("gold:N", sort=None, scale=alt.Scale(domain=labels), title="gold"),
            tooltip=["gold:N", "predicted:N", "turns:Q", alt.Tooltip("share:Q", format=".0%")],
        )
        chart = base.mark_rect().encode(
            fillOpacity=alt.FillOpacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0, 1]), legend=None)
        )
        if len(labels) <= FEW:
            for which, style in (("datum.share > 0.55", "inverse"), ("datum.share <= 0.55", "text")):
                chart += base.transform_filter(which).mark_text(style=style).encode(text="turns:Q")
        height = 34 * len(labels) if len(labels) <= FEW else 16 * len(labels)
        panels.append(Panel(name, spec_of(chart.properties(height=height))))
        headers = ("", "gold", *(f"as {c}" for c in [*labels, "none"]))
        rows += [(name, gold, *map(str, counts[i])) for i, gold in enumerate(labels)]
    return Figure(
        f"confusion-{corpus}",
        f"Confusion matrix, {corpus}",
        "How many turns of each gold label were read as what; the darker a cell, the larger its share of the row. "
        "Right readings are on the diagonal.",
        tuple(panels),
        headers,
        tuple(rows),
        wide=True,
    )


def by_label(round: Round, corpus: str) -> Figure:
    """F1 of each label, before and after, and in sets."""
    import altair as alt

    points, rows = [], []
    support = round.after.metrics[corpus].get("support", {})
    order = sorted(round.after.metrics[corpus]["f1"], key=lambda label: -support.get(label, 0))
    for name, scores in pairs(round):
        values = scores.metrics.get(corpus, {})
        for label in order:
            if label in values.get("f1", {}):
                single, several = values["f1"][label], values.get("sets_f1", {}).get(label)
                size = 60 if scores is round.after else 190
                points.append(dict(label=label, f1=short(single), which=name, turns=support.get(label, 0), size=size))
                rows.append((name, label, str(support.get(label, "-")), number(single), number(several)))
    aside = alt.Axis(labelPadding=12)  # a dot at 0 leaves its label to be read
    base = alt.Chart(alt.Data(values=points)).encode(y=alt.Y("label:N", sort=order, title=None, axis=aside))
    names = [name for name, _ in pairs(round)]
    span = base.mark_line(opacity=0.35).encode(x="f1:Q", detail="label:N")
    dots = base.mark_point(size=90).encode(
        x=alt.X("f1:Q", title="F1", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(values=SHARES)),
        color=alt.Color("which:N", scale=alt.Scale(domain=names)),
        shape=alt.Shape("which:N", scale=alt.Scale(domain=names)),
        size=alt.Size("size:Q", scale=None),  # what did not change is seen around what came after
        tooltip=["label:N", "which:N", alt.Tooltip("f1:Q", format=".3f"), "turns:Q"],
    )
    return Figure(
        f"labels-{corpus}",
        f"F1 by label, {corpus}",
        "How well each label is found as a turn's first, the commonest label on top; labels with few turns move by "
        "chance.",
        (Panel("", spec_of((span + dots).properties(height=26 * len(order)))),),
        ("", "label", "turns", "F1", "F1 in sets"),
        tuple(rows),
    )


def calibration(round: Round, corpus: str) -> list[Figure]:
    """The reliability diagram and the risk-coverage curve; none where probabilities were not kept."""
    import altair as alt

    names: list[str] = []
    bins: list[dict[str, Any]] = []
    curve: list[dict[str, Any]] = []
    for name, scores in pairs(round):
        rows = [r for r in scores.rows if r.corpus == corpus and r.posterior]
        if not rows:
            continue
        names.append(name)
        space = scores.spaces[corpus]
        chances_Nm = of_primary(np.array([r.posterior for r in rows]), space)
        gold_N = np.array([space.index[r.gold[0]] for r in rows])
        for turns, confidence, right in zip(*reliability(chances_Nm, gold_N), strict=True):
            if turns:
                bins.append(dict(which=name, confidence=short(confidence), accuracy=short(right), turns=int(turns)))
        curve += [
            dict(which=name, coverage=short(share), risk=short(risk)) for share, risk in risk_curve(chances_Nm, gold_N)
        ]
    if not names:
        return []
    which = dict(color=alt.Color("which:N", scale=alt.Scale(domain=names)))
    ideal = alt.Chart(alt.Data(values=[{"x": 0, "y": 0}, {"x": 1, "y": 1}])).mark_line(style="guide")
    ideal = ideal.encode(x="x:Q", y="y:Q")
    base = alt.Chart(alt.Data(values=bins)).encode(
        x=alt.X("confidence:Q", title="mean confidence", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(values=SHARES)),
        y=alt.Y("accuracy:Q", title="accuracy", scale=alt.Scale(domain=[0, 1])),
        **which,
    )
    dots = base.mark_point().encode(
        size=alt.Size("turns:Q", legend=None, scale=alt.Scale(range=[30, 320])),
        shape=alt.Shape("which:N", scale=alt.Scale(domain=names)),
        tooltip=[
            "which:N",
            alt.Tooltip("confidence:Q", format=".2f"),
            alt.Tooltip("accuracy:Q", format=".2f"),
            "turns:Q",
        ],
    )
    risk = (
        alt.Chart(alt.Data(values=curve))
        .mark_line()
        .encode(
            x=alt.X("coverage:Q", title="share of turns that is answered", axis=alt.Axis(format="%", values=SHARES)),
            y=alt.Y("risk:Q", title="share of answers that is wrong", axis=alt.Axis(format="%")),
            strokeDash=alt.StrokeDash("which:N", scale=alt.Scale(domain=names)),
            tooltip=["which:N", alt.Tooltip("coverage:Q", format=".0%"), alt.Tooltip("risk:Q", format=".1%")],
            **which,
        )
    )
    return [
        Figure(
            f"reliability-{corpus}",
            f"Reliability, {corpus}",
            "Turns in bins of the policy's confidence: where dots lie on the dashed line, it is right as often as "
            "it is sure; below it, it is too sure. A larger dot is more turns.",
            (Panel("", spec_of((ideal + base.mark_line(opacity=0.4) + dots).properties(height=260))),),
            ("", "confidence", "accuracy", "turns"),
            tuple((b["which"], number(b["confidence"]), number(b["accuracy"]), str(b["turns"])) for b in bins),
        ),
        Figure(
            f"risk-{corpus}",
            f"Risk and coverage, {corpus}",
            "If only the surest share of the turns is answered, how many answers are wrong. Falling to the left "
            "means that the policy knows what it does not know.",
            (Panel("", spec_of(risk.properties(height=260))),),
            ("", "answered", "wrong"),
            tuple((c["which"], f"{c['coverage']:.0%}", f"{c['risk']:.1%}") for c in curve),
        ),
    ]
