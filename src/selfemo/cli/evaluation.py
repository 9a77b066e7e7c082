"""A policy scored on any corpus, outside a run, and the figures on the screen."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from selfemo.config import Config
from selfemo.context import Context
from selfemo.data.dialogue import head
from selfemo.steps.evaluate import answer
from selfemo.steps.prepare import corpora_of
from selfemo.steps.score import metrics_of
from selfemo.steps.shards import Shard


def evaluate_policy(config: Config, policy: str, out: Path | None) -> None:
    """Score a policy as a run would, and print the figures.

    Args:
        config: Sections ``corpora``, ``policy`` and ``evaluation``.
        policy: Name of the weights.
        out: Directory for predictions, metrics and plots, or None.
    """
    from rich.console import Console
    from rich.table import Table

    spaces, corpora = config.spaces(), corpora_of(config)
    held_out = head(corpora.held_out, config.evaluation.dialogues)
    with tempfile.TemporaryDirectory() as directory:
        answer(Context(config), policy, held_out, corpora.training, spaces, Path(directory), Shard())
        scores = metrics_of([Path(directory)], spaces, config, Path(directory))
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            for file in Path(directory).iterdir():
                shutil.copy(file, out / file.name)
    console = Console()
    for corpus, values in scores.items():
        table = Table(title=f"{corpus} ({config.evaluation.split})" if corpus != "expression" else "expression")
        table.add_column("measure")
        table.add_column("value", justify="right")
        for name, value in values.items():
            if isinstance(value, (int, float)):
                bounds = values.get(f"{name}_interval")
                spread = f" [{bounds[0]:.4f}, {bounds[1]:.4f}]" if bounds else ""
                table.add_row(name, (str(value) if isinstance(value, int) else f"{value:.4f}") + spread)
        for label, value in (values.get("f1") or {}).items():
            support = values.get("support", {}).get(label)
            table.add_row(f"F1 {label}" + ("" if support is None else f" ({support} turns)"), f"{value:.4f}")
        console.print(table)
