"""All rounds of a run side by side, as figures: their metrics, and what the gate saw of each."""

from __future__ import annotations

from collections.abc import Sequence

from selfemo.method import gate
from selfemo.registry.rounds import RoundFate
from selfemo.report.evidence import Round
from selfemo.report.figure import Figure, Panel, interval, number, spec_of, with_interval

OVER_ROUNDS = {
    "weighted_f1": "weighted F1",
    "macro_f1": "macro F1",
    "accuracy": "accuracy",
    "sets_micro_f1": "micro F1 of label sets",
}
"""Metrics that are drawn over rounds, of those with intervals."""


BEYOND = {
    "own_kappa": "expression consistency beyond chance (kappa), own",
    "judge_kappa": "expression consistency beyond chance (kappa), judge",
    "most_frequent": "share of the most frequent reply",
}
"""What says whether a share that is read back was earned."""


def over_rounds(rounds: Sequence[Round]) -> Figure:
    """Metrics of each corpus by round, with their 95 % intervals; expression consistency by its own."""
    import altair as alt

    corpora = rounds[-1].after.corpora
    panels, rows = [], []
    for name, title in OVER_ROUNDS.items():
        points = []
        for r in rounds:
            for corpus in corpora:
                values = r.after.metrics.get(corpus, {})
                spread = interval(values, name)
                if name in values and spread:
                    best = "promoted" if r.row.became is RoundFate.PROMOTED or r.row.promoted else "not promoted"
                    points.append(
                        dict(
                            round=r.number, value=values[name], low=spread[0], high=spread[1], corpus=corpus, gate=best
                        )
                    )
                    rows.append((title, corpus, str(r.number), with_interval(values, name)))
        if not points:
            continue
        base = alt.Chart(alt.Data(values=points)).encode(x=alt.X("round:O", title="round", axis=alt.Axis(labelAngle=0)))
        colour = alt.Color("corpus:N", legend=alt.Legend() if len(corpora) > 1 else None)
        scale = alt.Y("low:Q", title=title, scale=alt.Scale(zero=False))
        bars = base.mark_rule(strokeWidth=2).encode(y=scale, y2="high:Q", color=colour)
        line = base.mark_line(opacity=0.5).encode(y="value:Q", color=colour)
        dots = base.mark_point(size=90).encode(
            y="value:Q",
            color=colour,
            shape=alt.Shape(
                "gate:N", scale=alt.Scale(domain=["promoted", "not promoted"], range=["diamond", "circle"])
            ),
            tooltip=[
                alt.Tooltip(f"{f}", format="" if f in ("round:O", "corpus:N", "gate:N") else ".3f")
                for f in ("round:O", "corpus:N", "value:Q", "low:Q", "high:Q", "gate:N")
            ],
        )
        panels.append(Panel(title, spec_of((bars + line + dots).properties(height=190))))
    for r in rounds:
        for name, value in (("own", r.row.expression_own), ("judge", r.row.expression_judge)):
            if value is not None:
                rows.append((f"expression consistency, {name}", "all", str(r.number), number(value)))
        found = r.after.metrics.get("expression", {})
        for key, title in BEYOND.items():
            if key in found:  # older evaluations have none
                rows.append((title, "all", str(r.number), number(found[key])))
    return Figure(
        "rounds",
        "Metrics over rounds",
        "Each round's policy on the same held-out dialogues; bars are 95 % intervals of a bootstrap over dialogues. "
        "Intervals of two rounds may overlap although the paired test of the gate finds a difference, and the other "
        "way round: the gate decides, not the eye.",
        tuple(panels),
        ("metric", "corpus", "round", "value [95 %]"),
        tuple(rows),
        wide=True,
    )


def gains(rounds: Sequence[Round]) -> Figure | None:
    """What the gate saw of each challenger; None where none was held against a champion."""
    import altair as alt

    found = [(r, corpus, gain) for r in rounds for corpus, gain in r.decision.gains.items()]
    if not found:
        return None
    points = [
        dict(
            who=f"round {r.number}, {corpus}",
            gain=g.gain,
            low=g.low,
            high=g.high,
            p=g.p,
            gate="promoted" if r.decision.promoted else "not promoted",
        )
        for r, corpus, g in found
    ]
    base = alt.Chart(alt.Data(values=points)).encode(
        y=alt.Y("who:N", title=None, sort=None),
        color=alt.Color("gate:N", scale=alt.Scale(domain=["promoted", "not promoted"])),
    )
    zero = alt.Chart(alt.Data(values=[{"at": 0}])).mark_rule(style="guide").encode(x="at:Q")
    bars = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title="gain over the champion", scale=alt.Scale(padding=12)), x2="high:Q"
    )
    dots = base.mark_point(size=90).encode(
        x="gain:Q",
        shape=alt.Shape("gate:N", scale=alt.Scale(domain=["promoted", "not promoted"], range=["diamond", "circle"])),
        tooltip=[
            "who:N",
            alt.Tooltip("gain:Q", format="+.3f"),
            alt.Tooltip("low:Q", format="+.3f"),
            alt.Tooltip("high:Q", format="+.3f"),
            alt.Tooltip("p:Q", format=".4f"),
        ],
    )
    rows = [(str(r.number), *cells) for r in rounds for cells in r.decision.cells()]
    return Figure(
        "gains",
        "What the gate saw",
        "Gain of each challenger over the champion on the same held-out turns, with its 95 % interval. Right of the "
        f"dashed line is better. A challenger is promoted if p, one-sided, is at most {gate.ALPHA:g} on the gate "
        "corpus, and no corpus falls.",
        (Panel("", spec_of((zero + bars + dots).properties(height=34 * len(points)))),),
        ("round", *gate.HEADERS),
        tuple(rows),
        wide=True,
    )
