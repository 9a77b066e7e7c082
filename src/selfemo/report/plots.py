"""Plots as PNG files: small, quiet, readable in black and white."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PLOTTED = {"LATIN", "GREEK", "CYRILLIC", "DIGIT"}
"""How the names of the characters begin that the plots' font has."""


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Software": None})  # no version in the file: equal plots are equal bytes


def named(labels: Iterable[str]) -> dict[str, str]:
    """Labels by what a plot shows of them: its font has Latin, Greek and Cyrillic; another is its number.

    The page says what numbers stand for, as a browser can show any script.
    """
    return {label if _plottable(label) else f"#{number}": label for number, label in enumerate(labels)}


def _plottable(label: str) -> bool:
    return all(c in " -'./&+()" or unicodedata.name(c, "").split(" ")[0] in PLOTTED for c in label)


def confusion(scores: Mapping[str, Any], title: str, path: Path) -> None:
    """Confusion matrix of one corpus: shares of each gold label's turns, with counts.

    Args:
        scores: Of :func:`selfemo.method.evaluation.summarise`.
        title: Of the plot.
        path: PNG to write.
    """
    counts = np.array(scores["confusion"])
    labels = list(named(scores["labels"]))
    columns = [*labels, "none"] if counts[:, -1].any() else labels
    counts = counts[:, : len(columns)]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size, font = (1.0, 9) if len(labels) <= 16 else (0.5, 6)  # 64 labels are 25 inches
    figure = _figure(1.6 + 0.75 * size * len(columns), 1.4 + 0.6 * size * len(labels))
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(*counts.shape):
        if counts[i, j]:
            colour = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", color=colour, fontsize=font)
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("gold")
    axes.set_title(title, loc="left", fontsize=11)
    _save(figure, path)


def labels(before: Mapping[str, int], after: Mapping[str, int], path: Path) -> None:
    """Label mix of a round: shares of targets by label, before and after the filter.

    Args:
        before: Targets of all groups, counted by label.
        after: Of the samples that are kept.
        path: PNG to write.
    """
    names = sorted(before, key=lambda n: (-before[n], n))
    figure = _figure(1.5 + 0.8 * max(4, len(names)), 2.6)
    axes = figure.subplots()
    for shift, counts, name, colour in ((-0.2, before, "all", "#b8c4d4"), (0.2, after, "kept", "#2c4a75")):
        total = max(1, sum(counts.values()))
        axes.bar(
            np.arange(len(names)) + shift, [counts.get(n, 0) / total for n in names], 0.4, label=name, color=colour
        )
    shown = {label: plotted for plotted, label in named(before).items()}
    axes.set_xticks(range(len(names)), [shown[n] for n in names], rotation=0 if len(names) <= 16 else 60)
    axes.set_ylabel("share")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


CURVES = (
    ("loss", "loss"),
    ("reward/understanding", "understanding, reward"),
    ("entropy/understanding", "understanding, entropy"),
    ("replay_loss", "replay loss"),
    ("reward/expression", "expression, reward"),
    ("rewards/align/mean", "alignment"),
    ("rewards/consistency/mean", "consistency"),
    ("group_confidence", "group confidence"),
    ("zero_variance", "zero-variance groups"),
    ("entropy", "entropy of tokens"),
    ("completions/mean_length", "completion length"),
)


def training(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Curves of a training run over its steps, one panel for each metric that was logged.

    Args:
        history: Rows with ``step`` and metrics.
        path: PNG to write.
    """
    present = [(key, name) for key, name in CURVES if any(key in row for row in history)]
    columns = min(4, max(1, len(present)))
    rows = -(-max(1, len(present)) // columns)
    figure = _figure(3 * columns, 2.2 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(present) :]:
        axes.set_axis_off()
    for axes, (key, name) in zip(grid.flat, present, strict=False):
        points = [(row["step"], row[key]) for row in history if key in row]
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 40 else None, linewidth=1.2)
        axes.set_title(name, loc="left", fontsize=10)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("step", fontsize=9)
    _save(figure, path)


def rounds(
    labels: Sequence[str], values: Sequence[float], intervals: Sequence[tuple[float, float]], path: Path
) -> None:
    """Weighted F1 by round, with 95 % intervals.

    Args:
        labels: Under each point.
        values: Points.
        intervals: Low and high of each.
        path: PNG to write.
    """
    figure = _figure(4.8, 2.8)
    axes = figure.subplots()
    points = np.array(values)
    bounds = np.array(intervals).reshape(-1, 2)
    spread = np.clip(np.stack([points - bounds[:, 0], bounds[:, 1] - points]), 0, None)
    axes.errorbar(range(len(points)), points, yerr=spread, marker="o", capsize=4, linewidth=1.4)
    axes.set_xticks(range(len(points)), labels)
    axes.set_ylabel("weighted F1")
    axes.set_xlim(-0.4, len(points) - 0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    _save(figure, path)


def gains(
    names: Sequence[str], measures: Mapping[str, Sequence[tuple[float, float, float]]], title: str, path: Path
) -> None:
    """Differences with intervals, a line for each name, a marker for each measure.

    Args:
        names: From top to bottom.
        measures: By name: value, low and high for each name.
        title: Of the plot.
        path: PNG to write.
    """
    figure = _figure(7.5, 1.3 + 0.5 * max(1, len(names)))
    axes = figure.subplots()
    axes.axvline(0, color="black", linewidth=0.8)
    for place, (measure, marker) in enumerate(zip(measures, "os^", strict=False)):
        found = np.array(measures[measure]).reshape(-1, 3)
        at = np.arange(len(found)) + 0.22 * (place - (len(measures) - 1) / 2)
        spread = np.clip(np.stack([found[:, 0] - found[:, 1], found[:, 2] - found[:, 0]]), 0, None)
        axes.errorbar(found[:, 0], at, xerr=spread, fmt=marker, capsize=3, linewidth=1.2, label=measure)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    figure.suptitle(title, x=0.01, horizontalalignment="left", fontsize=11)  # over the names as well
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    if names:
        axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _save(figure, path)


def curves(panels: Mapping[str, Mapping[str, Sequence[Sequence[tuple[float, float]]]]], path: Path) -> None:
    """A panel for each measure; in it a colour for each name, and a line for each of its runs.

    Args:
        panels: By measure and name: runs of points.
        path: PNG to write.
    """
    columns = min(4, max(1, len(panels)))
    rows = -(-max(1, len(panels)) // columns)
    figure = _figure(3 * columns, 2.4 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    seen: dict[str, Any] = {}
    for axes, (measure, names) in zip(grid.flat, panels.items(), strict=False):
        for index, (name, runs) in enumerate(names.items()):
            for points in runs:
                if points:
                    x, y = zip(*points, strict=True)
                    (line,) = axes.plot(x, y, marker=".", linewidth=1, color=f"C{index}", alpha=0.8)
                    seen.setdefault(name, line)
        axes.set_title(measure, loc="left", fontsize=10)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(seen.values(), seen.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    _save(figure, path)
