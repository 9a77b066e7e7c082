"""What the flywheel keeps of a round's rollouts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.context import Context, Published
from selfemo.data.corpora.table import shipped_spaces, spaces_in
from selfemo.data.dialogue import gold_counts
from selfemo.data.records import Rollout, read_records, write_records
from selfemo.method import guard
from selfemo.steps.generate import ROLLOUTS
from selfemo.steps.prepare import labelled

TARGETS = "targets.json"
OUTCOMES = "outcomes.jsonl.gz"
"""File with what became of each rollout's candidates, a line a rollout."""


def filter(config: Config, rollouts: str, round: int) -> Published:
    """Rollouts to training samples; every rejected candidate with its one reason."""
    context = Context(config)

    def work(out: Path, _: Path) -> dict[str, Any]:
        from selfemo.method.flywheel.filtering import filter_rollouts

        rows = list(read_records(context.store.fetch(rollouts) / ROLLOUTS, Rollout))
        made = context.store.manifest(rollouts)
        prepared = made.inputs.get("prepared") if made else None  # what the rollouts were played from
        data = context.store.fetch(prepared) if prepared else None
        gold, spaces = (labelled(data), spaces_in(data)) if data else ([], shipped_spaces())
        earlier = _targets_before(context, str(made.inputs.get("policy", "")) if made else "")
        kept = filter_rollouts(rows, spaces, config, gold_counts(gold), earlier)
        write_records(out / "samples.jsonl.gz", kept.samples)
        write_records(out / OUTCOMES, (kept.outcomes[row.id] for row in rows if row.id in kept.outcomes))
        (out / TARGETS).write_text(json.dumps({**earlier, **kept.targets}, indent=1))
        report = {
            "metrics": kept.metrics,
            "reasons": {task: dict(sorted(c.items())) for task, c in sorted(kept.reasons.items())},
            "labels_before": {task: dict(sorted(c.items())) for task, c in sorted(kept.before.items())},
            "labels_predicted": {c: dict(sorted(n.items())) for c, n in sorted(kept.labels["predicted"].items())},
            "labels_after": {task: dict(sorted(c.items())) for task, c in sorted(kept.after.items())},
            "flips": dict(kept.flips.most_common()),
            "rejected_examples": kept.examples,
        }
        (out / "filter.json").write_text(json.dumps(report, indent=1))
        registry = context.registry
        values = {f"filter/{k}": v for k, v in kept.metrics.items()}
        values |= {f"filter/{t}/{r}": float(n) for t, c in kept.reasons.items() for r, n in c.items()}
        registry.metrics(registry.round(round), [(round, values)])
        alarm = guard.of_rollouts(kept.metrics, config.guard)
        return {**kept.metrics, "reasons": dict(sum(kept.reasons.values(), Counter())), "stopped": alarm}

    return context.step("filter", round, {"rollouts": rollouts}, work)


def _targets_before(context: Context, policy: str) -> dict[str, str]:
    """First labels of the targets by turn, of the rounds that taught a policy; none for a warm-up's.

    Args:
        context: Of the run.
        policy: URI of what played.
    """
    trained = context.policies.find(policy).manifest if policy else None
    samples = str(trained.inputs.get("samples", "")) if trained else ""
    filtered = context.store.manifest(samples) if samples else None
    if filtered is None or TARGETS not in filtered.files:  # cleaned up, or of an older version
        return {}
    return dict(json.loads((context.store.fetch(samples, filtered) / TARGETS).read_text()))
