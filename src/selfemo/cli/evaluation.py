"""A policy scored on any corpus, outside a run, and the figures on the screen."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.context import Context
from selfemo.data.dialogue import head
from selfemo.places import temporary
from selfemo.steps.evaluate import answer
from selfemo.steps.prepare import corpora_of
from selfemo.steps.score import metrics_of
from selfemo.steps.shards import Shard
from selfemo.terminal import show_table


def scores_of(config: Config, policy: str, out: Path | None) -> dict[str, dict[str, Any]]:
    """Score a policy as a run would.

    Args:
        config: Sections ``corpora``, ``policy`` and ``evaluation``.
        policy: Name of the weights.
        out: Directory for predictions and metrics, or None.

    Returns:
        Figures by corpus; those of replies under ``expression``.
    """
    spaces, corpora = config.spaces(), corpora_of(config)
    held_out = head(corpora.held_out, config.evaluation.dialogues)
    with temporary("evaluation") as directory:
        answer(Context(config), policy, held_out, corpora.training, spaces, directory, Shard())
        scores = metrics_of([directory], spaces, config, directory)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            for file in directory.iterdir():
                shutil.copy(file, out / file.name)
    return scores


def show(scores: Mapping[str, Mapping[str, Any]], split: str) -> None:
    """Print the figures, a table for each corpus."""
    for corpus, values in scores.items():
        rows = []
        for name, value in values.items():
            if isinstance(value, (int, float)):
                bounds = values.get(f"{name}_interval")
                spread = f" [{bounds[0]:.4f}, {bounds[1]:.4f}]" if bounds else ""
                rows.append((name, (str(value) if isinstance(value, int) else f"{value:.4f}") + spread))
        for label, value in (values.get("f1") or {}).items():
            support = values.get("support", {}).get(label)
            rows.append((f"F1 {label}" + ("" if support is None else f" ({support} turns)"), f"{value:.4f}"))
        title = f"{corpus} ({split})" if corpus != "expression" else "expression"
        show_table(("measure", "value"), rows, title=title)
