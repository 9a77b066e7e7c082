"""Plain self-training: cross-entropy on the targets, the baseline that SELF-GRPO has to beat (Lee 2013)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import TrainingArguments

from selfemo.config import Config
from selfemo.dialogue import Dialogue
from selfemo.labels import SPACES
from selfemo.policy.weights import load_model, load_tokenizer
from selfemo.progress import meter
from selfemo.prompts import Prompter
from selfemo.records import Sample, seed_of
from selfemo.training.common import Log, Recorder, arguments, run, save, settle
from selfemo.training.launch import share
from selfemo.training.lessons import Lesson, Lessons, collate
from selfemo.training.warmup import WarmupTrainer


def lessons_of(samples: Sequence[Sample], prompter: Prompter, config: Config) -> list[Lesson]:
    """Targets as if they were gold, a lesson for each dialogue.

    Args:
        samples: Of a round; the reply of an expression is learnt after its set.
        prompter: Builds the prompts.
        config: Section ``warmup``, for the weight of replies.
    """
    by_dialogue: dict[str, list[Sample]] = {}
    for sample in samples:
        by_dialogue.setdefault(sample.dialogue, []).append(sample)
    found = []
    for mine in by_dialogue.values():
        prompts, answers, weights = [], [], []
        for sample in mine:
            space = SPACES[sample.corpus]
            if sample.task == "understanding":
                prompts.append(prompter.understanding(sample.history, space))
                answers.append(prompter.answer(sample.target))
                weights.append(1.0)
            else:
                prompts.append(prompter.expression(sample.history, sample.role, space))
                answers.append(prompter.answer(sample.target, sample.reply))
                weights.append(config.warmup.expression_weight)
        found.append(Lesson(tuple(prompts), tuple(answers), tuple(weights)))
    return found


def train(
    base: str,
    samples: Sequence[Sample],
    gold: Sequence[Dialogue],
    config: Config,
    workdir: Path,
    out: Path,
    log: Log = lambda step, values: None,
) -> int:
    """Learn a round's targets by cross-entropy, with replayed gold dialogues among them.

    Args:
        base: Directory of the round's policy.
        samples: Non-empty.
        gold: Labelled dialogues; may be none.
        config: Sections ``policy``, ``warmup`` and ``grpo``, which says rate, epochs and replay.
        workdir: For checkpoints: the same directory again resumes.
        out: Directory for the result.
        log: Is given the metrics of each step as they come.

    Returns:
        Optimizer steps taken.
    """
    tokenizer = load_tokenizer(base)
    prompter = Prompter(tokenizer, config.policy.history_turns)
    grpo = config.grpo
    data = Lessons(gold if grpo.replay else [], prompter, config)
    own = lessons_of(samples, prompter, config)
    # As many dialogues of a step are the round's own as SELF-GRPO would see in one, and the same number is replayed.
    per_step = max(1, round(grpo.prompts_per_step * len(own) / len(samples)))
    replayed = data.items
    data.items = own + [
        replayed[seed_of(config.seed, "replay", i) % len(replayed)]
        for i in range(grpo.replay * -(-len(own) // per_step) if replayed else 0)
    ]
    per_step += grpo.replay if replayed else 0
    steps = grpo.epochs * -(-len(data) // per_step)
    training_arguments = TrainingArguments(
        **arguments(config, workdir),
        num_train_epochs=grpo.epochs,
        per_device_train_batch_size=share(per_step, "grpo.prompts_per_step"),
        learning_rate=grpo.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=steps // 10,
        save_steps=grpo.save_steps,
    )
    settle(training_arguments, config)
    with meter("self-training", steps) as progress:
        trainer = WarmupTrainer(
            model=load_model(base),
            args=training_arguments,
            train_dataset=data,
            data_collator=collate,
            callbacks=[Recorder(progress, log)],
        )
        trainer.pack_tokens = config.launch.pack_tokens
        trainer.enable_trees(trainer.model)
        run(trainer, workdir)
    save(trainer, tokenizer, out)
    return int(trainer.state.global_step)
