"""Plain self-training: cross-entropy on the targets, the baseline that SELF-GRPO has to beat (Lee 2013)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import TrainingArguments

from selfemo.config import Config
from selfemo.data.dialogue import Dialogue
from selfemo.data.labels import Spaces
from selfemo.data.records import Sample
from selfemo.data.seeds import seed_of
from selfemo.method.prompts import Prompter
from selfemo.policy.trees import check
from selfemo.policy.weights import load_tokenizer
from selfemo.processes import world
from selfemo.store.checkpoints import Checkpoints
from selfemo.training.common import Log, arguments
from selfemo.training.examples import gold_examples, pseudo_labelled
from selfemo.training.warmup import fit


def self_training(
    base: str,
    samples: Sequence[Sample],
    gold: Sequence[Dialogue],
    spaces: Spaces,
    config: Config,
    workdir: Path,
    out: Path,
    log: Log = lambda step, values: None,
    kept: Checkpoints | None = None,
) -> int:
    """Learn a round's targets by cross-entropy, with replayed gold dialogues among them.

    Args:
        base: Directory of the round's policy.
        samples: Non-empty.
        gold: Labelled dialogues; may be none.
        spaces: Label spaces of both.
        config: Sections ``policy``, ``warmup`` and ``grpo``, which says rate, epochs and replay.
        workdir: For checkpoints: the same directory again resumes.
        out: Directory for the result.
        log: Is given the metrics of each step as they come.
        kept: Where checkpoints are kept in the store, if they are.

    Returns:
        Optimizer steps taken.
    """
    check.architecture(base)
    prompter = Prompter(load_tokenizer(base), config.policy.history_turns).check()
    grpo = config.grpo
    own = pseudo_labelled(samples, spaces, prompter, config)
    again = gold_examples(gold, spaces, prompter, config, replies=0) if grpo.replay else []
    # A step has as many of the round's dialogues as one of SELF-GRPO, and as many gold ones besides.
    per_step = max(1, round(grpo.prompts_per_step * len(own) / len(samples)))
    replayed = grpo.replay * -(-len(own) // per_step) if again else 0
    data = own + [again[seed_of(config.seed, "replay", i) % len(again)] for i in range(replayed)]
    per_step += grpo.replay if again else 0
    per_rank = -(-per_step // world())
    steps = grpo.epochs * -(-len(data) // (per_rank * world()))
    settings = TrainingArguments(
        **arguments(config, workdir),
        num_train_epochs=grpo.epochs,
        per_device_train_batch_size=per_rank,
        learning_rate=grpo.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=steps // 10,
        save_steps=grpo.save_steps,
    )
    return fit(base, data, settings, config, out, ("self-training", steps), log, kept)
