"""A figure: charts as Vega-Lite specifications, the numbers in them as a table, and a sentence that says what it shows.

A specification is drawn where it is looked at: by Vega in the report's page, by vl-convert as SVG for Kubeflow's page
and as PNG for MLflow (:mod:`selfemo.report.draw`). So it holds no colours and no fonts: the theme has them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Spec = dict[str, Any]
"""A Vega-Lite specification."""


@dataclass(frozen=True)
class Panel:
    """One chart of a figure.

    Attributes:
        title: What sets it apart from the others of its figure.
        spec: Its specification.
    """

    title: str
    spec: Spec


@dataclass(frozen=True)
class Figure:
    """What is drawn, and what is written where it cannot be seen.

    Attributes:
        key: Names its file, and its place in the page.
        title: Above it.
        says: What it shows, in a sentence or two: how to read it, and what it is good for.
        panels: Its charts.
        headers: Of its table.
        rows: The numbers that are drawn.
        wide: Whether a chart wants the page's whole width.
        one_legend: Whether a picture of all its charts has one legend, since their colours mean the same.
    """

    key: str
    title: str
    says: str
    panels: tuple[Panel, ...]
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    wide: bool = False
    one_legend: bool = False


@dataclass(frozen=True)
class Palette:
    """Colours of a theme, as CSS has them.

    Attributes:
        ink: Of text.
        dim: Of axes and what is secondary.
        line: Of grids.
        page: Behind everything.
        series: Of the series, in order, as many as there are fates of a candidate; the first six can be told from each
            other by people who see colours otherwise.
    """

    ink: str
    dim: str
    line: str
    page: str
    series: tuple[str, ...]


PAGE = Palette("var(--ink)", "var(--dim)", "var(--line)", "var(--page)", tuple(f"var(--c{n})" for n in range(1, 12)))
"""Those of the page it stands in, which has them for light and for dark."""
PAPER = Palette(
    "#1b1d22",
    "#565b66",
    "#d5d8de",
    "#ffffff",
    (
        *("#2563a8", "#c2570c", "#2c7a4b", "#7a4bb0", "#b3261e", "#6b7280"),
        *("#0e7c86", "#b5338a", "#7a6a00", "#6d4530", "#39406e"),
    ),
)
"""On white, as a picture is shown."""


def theme(palette: Palette) -> Spec:
    """What makes charts look alike, as a Vega-Lite configuration."""
    text = {"labelColor": palette.dim, "titleColor": palette.dim}
    return {
        "font": "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif",
        "background": None,
        "view": {"stroke": None},
        "range": {"category": list(palette.series)},
        "axis": {
            **text,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "gridColor": palette.line,
            "domainColor": palette.line,
            "tickColor": palette.line,
            "labelLimit": 150,
            "labelSeparation": 6,
        },
        "legend": {
            **text,
            "labelFontSize": 12,
            "title": None,
            "orient": "top",
            "columns": 4,
            "columnPadding": 28,
            "symbolBaseFillColor": palette.dim,
            "symbolBaseStrokeColor": palette.dim,
            "symbolOpacity": 1,
        },
        "title": {"color": palette.ink, "fontSize": 13, "anchor": "start", "fontWeight": 600},
        "header": text,
        "mark": {"color": palette.series[0]},
        "style": {
            "inverse": {"color": palette.page},
            "guide": {"color": palette.dim, "strokeDash": [4, 3], "strokeWidth": 1, "opacity": 0.8},
        },
        "rule": {"color": palette.dim},
        "text": {"color": palette.ink, "fontSize": 12},
        "point": {"filled": True, "size": 60, "opacity": 1},
        "line": {"strokeWidth": 2},
        "bar": {"stroke": palette.page, "strokeWidth": 0.5},
    }


SHARES = (0, 0.2, 0.4, 0.6, 0.8, 1)
"""Ticks of an axis from 0 to 1: few enough for a narrow chart."""


def number(value: float | None, digits: int = 3) -> str:
    """A number as tables show it; a dash for none."""
    return "-" if value is None else f"{value:.{digits}f}"


def interval(values: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """The 95 % interval of a metric; None if it has none."""
    found: Sequence[float] | None = values.get(f"{name}_interval")
    return None if found is None else (float(found[0]), float(found[1]))


def with_interval(values: Mapping[str, Any], name: str) -> str:
    """A metric with its interval, as tables show it."""
    spread = interval(values, name)
    return number(values.get(name)) + ("" if spread is None else f" [{spread[0]:.3f}, {spread[1]:.3f}]")


def spec_of(chart: Any) -> Spec:
    """An Altair chart as a plain specification that takes what width there is.

    Altair does not hold it against its schema here, which takes longer than drawing it; a test does.
    """
    made: Spec = chart.properties(width="container").to_dict(validate=False)
    made.pop("config", None)  # Altair's own theme
    return dict(_finite(made)) | {"autosize": {"type": "fit-x", "contains": "padding"}}


def _finite(value: Any) -> Any:
    """Without NaN and infinity, which JSON has no form for: a loss that diverged is a gap in its curve."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list) else value


def short(value: float) -> float:
    """A number as a specification holds it."""
    return float(f"{value:.4g}")
