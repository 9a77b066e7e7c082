"""Evaluation in shards, and the metrics of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfemo import measure
from selfemo.config import Config
from selfemo.context import Context, Published
from selfemo.data.dialogue import read_jsonl
from selfemo.measure import head
from selfemo.part import Part
from selfemo.steps.shards import shard_of, whole


def evaluate(config: Config, policy: str, prepared: str, round: int) -> Published:
    """Scores of a policy on the held-out dialogues, from all shards of them one after the other."""
    parts = [evaluate_shard(config, policy, prepared, round, n).uri for n in range(config.launch.shards)]
    return score(config, parts, policy, prepared, round)


def evaluate_shard(config: Config, policy: str, prepared: str, round: int, shard: int) -> Published:
    """What a policy answers on one shard of the held-out dialogues."""
    context = Context(config)
    policy = context.policies.find(policy).uri
    part = Part(shard, config.launch.shards)

    def work(out: Path) -> dict[str, Any]:
        data = context.store.fetch(prepared)
        held_out = head(list(read_jsonl(data / "held_out.jsonl")), config.evaluation.dialogues)
        measure.answer(context, policy, held_out, list(read_jsonl(data / "training.jsonl")), out, part)
        return {}

    return shard_of(context, "evaluate", round, {"policy": policy, "prepared": prepared}, part, work)


def score(config: Config, parts: Sequence[str], policy: str, prepared: str, round: int) -> Published:
    """Metrics of the answers of all shards: the same for any number of them."""
    context = Context(config)

    def work(out: Path, _: Path) -> dict[str, Any]:
        folders, seconds = whole(context, parts)
        scores = measure.score(folders, config, out)
        gate_corpus = config.corpora[0].name
        flat = {k: v for k, v in scores[gate_corpus].items() if isinstance(v, (int, float))}
        flat |= {f"expression_{k}": v for k, v in scores["expression"].items()}
        registry = context.registry
        run = registry.round(round)
        values = {f"eval/{c}/{k}": v for c, s in scores.items() for k, v in s.items() if isinstance(v, (int, float))}
        values |= {f"eval/{gate_corpus}/f1/{k}": v for k, v in scores[gate_corpus]["f1"].items()}
        registry.metrics(run, [(round, values)])
        registry.artifacts(run, sorted(out.glob("confusion-*.png")), "plots")
        return {**flat, "shard_seconds": seconds, "weighted_f1_interval": scores[gate_corpus]["weighted_f1_interval"]}

    return context.step("evaluate", round, {"policy": context.policies.find(policy).uri, "prepared": prepared}, work)
