"""A study's charts, as specifications: gains of its variants over their start, and figures of their rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selfemo.report.draw import COLUMNS
from selfemo.report.figure import Figure, Panel, short, spec_of
from selfemo.study.stats import Estimate

LONGEST = 480
"""Dots of a variant's title: it is not cut off, which would make two of them one."""


def gains(names: Sequence[str], measures: Mapping[str, Sequence[Estimate]], title: str) -> Figure:
    """Differences in percentage points with their intervals, a line for each name, a mark for each measure.

    Args:
        names: From top to bottom.
        measures: By name: an estimate for each name.
        title: Of the figure.
    """
    import altair as alt

    points = [
        dict(name=name, measure=measure, gain=100 * e.value, low=100 * e.low, high=100 * e.high)
        for measure, estimates in measures.items()
        for name, e in zip(names, estimates, strict=True)
    ]
    base = alt.Chart(alt.Data(values=points)).encode(
        y=alt.Y("name:N", sort=list(names), title=None, axis=alt.Axis(labelLimit=LONGEST)),
        yOffset=alt.YOffset("measure:N", sort=list(measures)),
        color=alt.Color("measure:N", scale=alt.Scale(domain=list(measures))),
    )
    zero = alt.Chart(alt.Data(values=[{"at": 0}])).mark_rule(style="guide").encode(x="at:Q")
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title="points"), x2="high:Q")
    dots = base.mark_point().encode(x="gain:Q", shape=alt.Shape("measure:N", scale=alt.Scale(domain=list(measures))))
    chart = (zero + bars + dots).properties(height=34 * max(1, len(names)))
    rows = tuple(
        (str(p["name"]), str(p["measure"]), f"{p['gain']:+.1f}", f"[{p['low']:+.1f}, {p['high']:+.1f}]") for p in points
    )
    says = "Means over seeds, with the 95 % interval of a paired bootstrap over seeds and dialogues."
    return Figure("gains", title, says, (Panel("", spec_of(chart)),), ("variant", "measure", "gain", "95 %"), rows)


def curves(panels: Mapping[str, Mapping[str, Sequence[Sequence[tuple[float, float]]]]], title: str) -> Figure:
    """A chart for each measure; in it a colour for each name, and a line for each of its runs.

    Args:
        panels: By measure and name: runs of points.
        title: Of the figure.
    """
    import altair as alt

    drawn, rows = [], []
    order = list(dict.fromkeys(name for names in panels.values() for name, runs in names.items() if any(runs)))
    legend = alt.Legend(columns=COLUMNS, labelLimit=LONGEST)
    for measure, names in panels.items():
        points = [
            dict(name=name, run=f"{name} {number}", round=x, value=short(y))
            for name, runs in names.items()
            for number, run in enumerate(runs)
            for x, y in run
        ]
        rows += [(measure, str(p["run"]), f"{p['round']:g}", f"{p['value']:g}") for p in points]
        chart = (
            alt.Chart(alt.Data(values=points))
            .mark_line(point=True, opacity=0.8)
            .encode(
                x=alt.X("round:O", axis=alt.Axis(labelAngle=0)),
                y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
                color=alt.Color("name:N", scale=alt.Scale(domain=order), legend=legend),
                detail="run:N",
            )
        )
        drawn.append(Panel(measure, spec_of(chart.properties(height=170))))
    headers = ("measure", "run", "round", "value")
    return Figure("rounds", title, "", tuple(drawn), headers, tuple(rows), one_legend=True)
