"""Self-play in shards, and what the filter keeps of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.context import Context, Published
from selfemo.data.dialogue import gold_counts, read_jsonl
from selfemo.data.records import Rollout, read_rows, write_rows
from selfemo.method import guard
from selfemo.part import Part
from selfemo.progress import meter
from selfemo.steps.prepare import labelled
from selfemo.steps.shards import shard_of, whole

ROLLOUTS = "rollouts.jsonl.gz"


def generate(config: Config, policy: str, prepared: str, round: int) -> Published:
    """Self-play of the round, all shards of it one after the other: predictions for corpus turns, and episodes."""
    parts = [generate_shard(config, policy, prepared, round, n).uri for n in range(config.launch.shards)]
    return gather(config, parts, policy, prepared, round)


def generate_shard(config: Config, policy: str, prepared: str, round: int, shard: int) -> Published:
    """One shard of the round's self-play, from dialogues without labels; shards do not know of each other."""
    context = Context(config)
    found = context.policies.find(policy)
    part = Part(shard, config.launch.shards)

    def work(out: Path) -> dict[str, Any]:
        from selfemo.method.selfplay import choose_dialogues, play_episodes, understand_corpus

        data = context.store.fetch(prepared)
        known = set(json.loads((data / "warmup.json").read_text()))
        training = list(read_jsonl(data / "training.jsonl"))
        pool = [d for d in training if d.id not in known] or training
        play = config.selfplay
        read = choose_dialogues(pool, play.corpus_dialogues, round, config.seed, "understanding")
        seeds = choose_dialogues(pool, play.episodes, round, config.seed, "episodes")
        first = part.start(seeds)
        read, seeds = list(part.of(read)), list(part.of(seeds))
        rollouts: list[Rollout] = []
        if read or seeds:
            player = found.player()
            with meter("understanding", sum(len(d.turns) for d in read) * max(1, len(play.views))) as progress:
                rollouts += understand_corpus(player, read, round, config, progress.advance)
            with meter("self-play", len(seeds) * play.turns) as progress:
                rollouts += play_episodes(player, seeds, round, config, progress.advance, first)
        write_rows(out / ROLLOUTS, rollouts)
        return {"rollouts": len(rollouts)}

    return shard_of(context, "generate", round, {"policy": found.uri, "prepared": prepared, "round": round}, part, work)


def gather(config: Config, parts: Sequence[str], policy: str, prepared: str, round: int) -> Published:
    """The rollouts of all shards as one artifact: the same records in the same order for any number of shards."""
    context = Context(config)

    def work(out: Path, _: Path) -> dict[str, Any]:
        folders, seconds = whole(context, parts)
        rows = [row for folder in folders for row in read_rows(folder / ROLLOUTS, Rollout)]
        rows.sort(key=lambda r: r.task == "expression")  # stable: corpus turns, then episodes, as one shard writes them
        write_rows(out / ROLLOUTS, rows)
        return {"rollouts": len(rows), "shard_seconds": seconds}

    inputs = {"policy": context.policies.find(policy).uri, "prepared": prepared, "round": round}
    return context.step("generate", round, inputs, work)


def filter(config: Config, rollouts: str, round: int) -> Published:
    """Rollouts to training samples; every rejected candidate with its one reason."""
    context = Context(config)

    def work(out: Path, _: Path) -> dict[str, Any]:
        from selfemo.method.flywheel.filtering import filter_rollouts

        rows = list(read_rows(context.store.fetch(rollouts) / ROLLOUTS, Rollout))
        made = context.store.manifest(rollouts)
        prepared = made.inputs.get("prepared") if made else None  # what the rollouts were played from
        known = gold_counts(labelled(context.store.fetch(prepared))) if prepared else {}
        kept = filter_rollouts(rows, config, known)
        write_rows(out / "samples.jsonl.gz", kept.samples)
        report = {
            "metrics": kept.metrics,
            "reasons": {task: dict(sorted(c.items())) for task, c in sorted(kept.reasons.items())},
            "labels_before": {task: dict(sorted(c.items())) for task, c in sorted(kept.before.items())},
            "labels_after": {task: dict(sorted(c.items())) for task, c in sorted(kept.after.items())},
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
