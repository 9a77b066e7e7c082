"""SELF-GRPO on a round's samples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfemo import processes
from selfemo.config import Config
from selfemo.context import Context, Published
from selfemo.data.corpora.table import spaces_in
from selfemo.data.label_file import SPACES, write_spaces
from selfemo.data.records import Sample, read_records
from selfemo.registry.outbox import Outbox
from selfemo.steps.launch import (
    check_compiled_for,
    check_writable,
    checkpoints,
    forget_checkpoints,
    kept_checkpoints,
    launch,
    training_log,
)
from selfemo.steps.prepare import labelled


def train(config: Config, policy: str, samples: str, prepared: str, round: int) -> Published:
    """SELF-GRPO on the round's samples, and on the labelled dialogues again: the policy to a challenger.

    With nothing kept, or with the collapse guard's alarm, nothing is learnt and no process is started: the result
    stands for the policy itself.
    """
    check_compiled_for(config)
    context = Context(config)
    check_writable(context)
    found = context.policies.find(policy)
    policy = found.uri
    inputs = {"policy": policy, "samples": samples, "prepared": prepared, **found.version}
    if done := context.done("train", round, inputs):
        return done
    filtered = context.store.manifest(samples)
    stopped = filtered.result.get("stopped", "") if filtered else ""
    rows = list(read_records(context.store.fetch(samples) / "samples.jsonl.gz", Sample))

    def work(out: Path, scratch: Path) -> dict[str, Any]:
        if stopped or not rows:
            if processes.rank() == 0:
                (out / "training.json").write_text("[]")
            return {"policy": policy, "steps": 0, "samples": len(rows), "stopped": stopped}
        from selfemo.training.selfgrpo import self_grpo
        from selfemo.training.selftraining import self_training

        resumed_from = checkpoints(config, scratch)
        data = context.store.fetch(prepared)
        gold = labelled(data) if config.grpo.replay or config.grpo.balance else []
        spaces = spaces_in(data)
        kept = kept_checkpoints(context, context.uri("train", round, inputs))
        base = found.directory
        with Outbox(context.registry, round) as outbox:
            log_to = training_log(outbox)
            if config.grpo.objective == "cross-entropy":
                steps = self_training(base, rows, gold, spaces, config, resumed_from, out, log_to, kept)
            else:
                steps = self_grpo(base, policy, rows, gold, spaces, config, resumed_from, out, log_to, kept)
            if processes.rank() == 0:
                write_spaces(out / SPACES, {**spaces, **found.taught, **spaces})
        history = json.loads((out / "training.json").read_text()) if processes.rank() == 0 else []
        return {"steps": steps, "samples": len(rows), "base": config.policy.base, **_means(history)}

    if rows and not stopped:
        arguments = ["--policy", policy, "--samples", samples, "--prepared", prepared, "--round", str(round)]
        launch(context, "train", round, inputs, found, arguments)
    published = context.step("train", round, inputs, work)
    forget_checkpoints(context, published.uri)
    return published


def _means(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What a training step was like: means over its optimizer steps."""
    found = {
        name: [row[name] for row in history if name in row]
        for name in ("reward/understanding", "reward/expression", "group_confidence", "zero_variance")
    }
    return {name: sum(values) / len(values) for name, values in found.items() if values}
