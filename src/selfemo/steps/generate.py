"""Self-play of a round, one shard of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.context import Context, Published
from selfemo.data.corpora.table import spaces_in
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
        from selfemo.method.words import words_of

        made = context.store.manifest(prepared)
        data = context.store.fetch(prepared, made)
        spaces = spaces_in(data)
        known = set(json.loads((data / "warmup.json").read_text()))
        training = list(read_jsonl(data / "training.jsonl"))
        pool = [d for d in training if d.id not in known] or training
        play = config.selfplay
        read = choose_dialogues(pool, play.corpus_dialogues, round, config.seed, "understanding")
        seeds = choose_dialogues(pool, play.episodes, round, config.seed, "episodes")
        first = own.start(seeds)
        # What the warm-up has not learnt of its labelled dialogues: they tell how far to believe each voice. What is
        # held out for evaluation is another matter: its labels are nobody's.
        kept = list(read_jsonl(data / "held_out.jsonl")) if made and made.result.get("selection") else []
        read, seeds, kept = list(own.of(read)), list(own.of(seeds)), list(own.of(kept))
        rollouts: list[Rollout] = []
        if read or seeds or kept:
            player = found.player()
            words = words_of([d for d in training if d.id in known], config.seed) if play.words else {}
            times = max(1, len(play.views)) + play.cross_role
            with meter("understanding", sum(len(d.turns) for d in [*read, *kept]) * times) as progress:
                rollouts += understand_corpus(player, read, spaces, round, config, progress.advance, words)
                rollouts += understand_corpus(
                    player, kept, spaces, round, config, progress.advance, words, held_out=True
                )
            with meter("self-play", len(seeds) * play.turns) as progress:
                rollouts += play_episodes(player, seeds, spaces, round, config, progress.advance, first)
        write_records(out / ROLLOUTS, rollouts)
        return {"rollouts": len(rollouts)}

    inputs = {"policy": found.uri, **found.version, "prepared": prepared, "round": round}
    return shard_of(context, "generate", "gather", round, inputs, own, work)
