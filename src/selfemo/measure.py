"""A policy brought to life and measured: in a run's evaluation step, or on any corpus outside a run."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.context import Context
from selfemo.data.corpora import load_corpora
from selfemo.data.dialogue import Dialogue
from selfemo.data.records import Reply, Scored, read_rows, write_rows
from selfemo.data.seeds import seed_of
from selfemo.part import Part
from selfemo.progress import meter
from selfemo.report import plots

PREDICTIONS, REPLIES = "predictions.jsonl.gz", "replies.jsonl.gz"


def head(dialogues: list[Dialogue], count: int | None) -> list[Dialogue]:
    """The first ``count`` dialogues of each corpus."""
    seen: Counter[str] = Counter()
    head = []
    for dialogue in dialogues:
        seen[dialogue.corpus] += 1
        if count is None or seen[dialogue.corpus] <= count:
            head.append(dialogue)
    return head


def answer(
    context: Context, policy: str, held_out: Sequence[Dialogue], training: Sequence[Dialogue], out: Path, part: Part
) -> None:
    """Write what a policy answers into a directory: predictions, and replies with what is read in them.

    Args:
        context: Of the run.
        policy: Its URI.
        held_out: All held-out dialogues.
        training: What the judge is fitted on.
        out: Directory.
        part: Which of the held-out dialogues.
    """
    from selfemo.method.evaluation import predict, prefixes, reply
    from selfemo.method.judge import judges_for

    config, mine = context.config, part.of(held_out)
    if not mine:  # more shards than dialogues: nothing to load a policy for
        for name in (PREDICTIONS, REPLIES):
            write_rows(out / name, [])
        return
    player = context.policies.find(policy).player()
    with meter("evaluation", sum(1 for d in mine for u in d.turns if u.gold)) as progress:
        write_rows(out / PREDICTIONS, predict(player, mine, progress.advance))
    judges = judges_for(config.evaluation.judge, training, config.seed) if config.evaluation.replies else {}
    ids = {d.id for d in mine}
    cut = [c for c in prefixes(held_out, config) if c[0].id in ids]
    write_rows(out / REPLIES, reply(player, cut, judges, config))


def score(parts: Sequence[Path], config: Config, out: Path) -> dict[str, dict[str, Any]]:
    """Write metrics, confusion matrices and all answers into a directory.

    Args:
        parts: What :func:`answer` wrote, in order.
        config: Section ``evaluation``.
        out: Directory; may be the only part.

    Returns:
        Metrics by corpus, and under ``expression`` the expression consistency.
    """
    from selfemo.method.evaluation import consistency, summarise

    rows = [row for part in parts for row in read_rows(part / PREDICTIONS, Scored)]
    replies = [row for part in parts for row in read_rows(part / REPLIES, Reply)]
    replies.sort(key=lambda r: seed_of(config.seed, r.dialogue))  # the order in which prefixes were drawn
    scores: dict[str, dict[str, Any]] = {}
    for corpus in dict.fromkeys(r.corpus for r in rows):
        scores[corpus] = summarise([r for r in rows if r.corpus == corpus], config)
        plots.confusion(scores[corpus], f"{corpus}: weighted F1 {scores[corpus]['weighted_f1']:.3f}",
                        out / f"confusion-{corpus}.png")  # fmt: skip
    scores["expression"] = dict(consistency(replies))
    write_rows(out / PREDICTIONS, rows)
    write_rows(out / REPLIES, replies)
    (out / "metrics.json").write_text(json.dumps(scores, indent=1))
    return scores


def evaluate_policy(config: Config, policy: str, out: Path | None) -> dict[str, dict[str, object]]:
    """Score a policy as a run would, and print the figures.

    Args:
        config: Sections ``corpora``, ``policy`` and ``evaluation``.
        policy: Name of the weights.
        out: Directory for predictions, metrics and plots, or None.
    """
    from rich.console import Console
    from rich.table import Table

    corpora = load_corpora(config)
    held_out = head(corpora.held_out, config.evaluation.dialogues)
    with tempfile.TemporaryDirectory() as directory:
        answer(Context(config), policy, held_out, corpora.training, Path(directory), Part())
        scores = score([Path(directory)], config, Path(directory))
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
            table.add_row(f"F1 {label}", f"{value:.4f}")
        console.print(table)
    return json.loads(json.dumps(scores))  # type: ignore[no-any-return]
