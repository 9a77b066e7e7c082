"""Self-play of a round, one shard of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.context import Context, Published
from selfemo.data.dialogue import read_jsonl
from selfemo.data.records import Rollout, write_records
from selfemo.progress import meter
from selfemo.steps.shards import Shard, shard_of

ROLLOUTS = "rollouts.jsonl.gz"


def generate(config: Config, policy: str, prepared: str, round: int, shard: int) -> Published:
    """One shard of the round's self-play, from dialogues without labels; shards do not know of each other."""
    context = Context(config)
    found = context.policies.find(policy)
    own = Shard(shard, config.launch.shards)

    def work(out: Path) -> dict[str, Any]:
        from selfemo.method.selfplay import choose_dialogues, play_episodes, understand_corpus

        data = context.store.fetch(prepared)
        known = set(json.loads((data / "warmup.json").read_text()))
        training = list(read_jsonl(data / "training.jsonl"))
        pool = [d for d in training if d.id not in known] or training
        play = config.selfplay
        read = choose_dialogues(pool, play.corpus_dialogues, round, config.seed, "understanding")
        seeds = choose_dialogues(pool, play.episodes, round, config.seed, "episodes")
        first = own.start(seeds)
        read, seeds = list(own.of(read)), list(own.of(seeds))
        rollouts: list[Rollout] = []
        if read or seeds:
            player = found.player()
            with meter("understanding", sum(len(d.turns) for d in read) * max(1, len(play.views))) as progress:
                rollouts += understand_corpus(player, read, round, config, progress.advance)
            with meter("self-play", len(seeds) * play.turns) as progress:
                rollouts += play_episodes(player, seeds, round, config, progress.advance, first)
        write_records(out / ROLLOUTS, rollouts)
        return {"rollouts": len(rollouts)}

    inputs = {"policy": found.uri, "prepared": prepared, "round": round}
    return shard_of(context, "generate", "gather", round, inputs, own, work)
