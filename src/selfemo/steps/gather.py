"""The rollouts of all shards of a round as one artifact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.context import Context, Published
from selfemo.data.records import Rollout, read_records, write_records
from selfemo.steps.generate import ROLLOUTS, generate
from selfemo.steps.shards import whole


def gather(config: Config, shards: Sequence[str], policy: str, prepared: str, round: int) -> Published:
    """The rollouts of all shards as one artifact: the same records in the same order for any number of shards.

    But for last digits of posteriors: what is computed together rounds otherwise.
    """
    context = Context(config)

    def work(out: Path, _: Path) -> dict[str, Any]:
        folders, took = whole(context, shards)
        rows = [row for folder in folders for row in read_records(folder / ROLLOUTS, Rollout)]
        # Stable: corpus turns, those that are held out, then episodes, as one shard writes them.
        rows.sort(key=lambda r: (r.task == "expression", r.held_out))
        write_records(out / ROLLOUTS, rows)
        return {"rollouts": sum(not row.held_out for row in rows), **took}

    found = context.policies.find(policy)
    inputs = {"policy": found.uri, **found.version, "prepared": prepared, "round": round}
    return context.step("gather", round, inputs, work)


def self_play(config: Config, policy: str, prepared: str, round: int) -> Published:
    """Self-play of the round, all shards of it one after the other: predictions for corpus turns, and episodes."""
    shards = [generate(config, policy, prepared, round, n).uri for n in range(config.launch.shards)]
    return gather(config, shards, policy, prepared, round)
