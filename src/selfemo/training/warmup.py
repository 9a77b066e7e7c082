"""Supervised warm-up on gold dialogues: all turns of a dialogue, both tasks, in one packed pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainingArguments

from selfemo.config import Config
from selfemo.data.dialogue import Dialogue
from selfemo.data.labels import Spaces
from selfemo.method.prompts import Prompter
from selfemo.policy.trees import check
from selfemo.policy.weights import load_model, load_tokenizer
from selfemo.progress import meter
from selfemo.store.checkpoints import Checkpoints
from selfemo.training.common import Log, Recorder, arguments, check_processes, pack_tokens, run, save, share
from selfemo.training.examples import Example, collate, gold_examples, loss
from selfemo.training.packed import PackedStep


class ExampleTrainer(PackedStep, Trainer):  # type: ignore[misc]  # transformers and trl have no types
    """Weighted cross-entropy over the answers' tokens; the turns of a dialogue share its history."""

    def rows(self, inputs: Any) -> list[list[int]]:
        """See :meth:`PackedStep.rows`."""
        return [[*p, *a] for p, a in zip(inputs["prompts"], inputs["answers"], strict=True)]

    def take(self, inputs: Any, rows: list[int]) -> tuple[Any, float]:
        """See :meth:`PackedStep.take`; the weights hold the shares."""
        if not rows:  # a pass that other ranks need company in
            return {name: values[:1] for name, values in inputs.items()}, 0.0
        return {name: [values[i] for i in rows] for name, values in inputs.items()}, 1.0

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        return loss(model, inputs)


def warm_up(
    base: str,
    dialogues: Sequence[Dialogue],
    spaces: Spaces,
    config: Config,
    workdir: Path,
    out: Path,
    log: Log = lambda step, values: None,
    kept: Checkpoints | None = None,
) -> int:
    """Fine-tune ``base`` on gold dialogues and save ``theta_0``.

    Args:
        base: Directory or hub id of the base weights.
        dialogues: With gold labels.
        spaces: Their labels.
        config: Sections ``policy`` and ``warmup``.
        workdir: For checkpoints: the same directory again resumes.
        out: Directory for the result.
        log: Is given the metrics of each step as they come.
        kept: Where checkpoints are kept in the store, if they are.

    Returns:
        Optimizer steps taken.
    """
    warmup = config.warmup
    check.architecture(base)
    prompter = Prompter(load_tokenizer(base), config.policy.history_turns).check()
    data = gold_examples(dialogues, spaces, prompter, config, replies=config.warmup.expression_turns)
    steps = warmup.epochs * -(-len(data) // warmup.dialogues_per_step)
    settings = TrainingArguments(
        **arguments(config, workdir),
        num_train_epochs=warmup.epochs,
        per_device_train_batch_size=share(warmup.dialogues_per_step, "warmup.dialogues_per_step"),
        learning_rate=warmup.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, steps // 10),
        save_strategy="epoch",
    )
    return fit(base, data, settings, config, out, ("warm-up", steps), log, kept)


def fit(
    base: str,
    data: Sequence[Example],
    settings: TrainingArguments,
    config: Config,
    out: Path,
    shown: tuple[str, int],
    log: Log,
    kept: Checkpoints | None,
) -> int:
    """Learn examples by cross-entropy and save the result.

    Args:
        base: Directory or hub id of the weights to start from.
        data: Examples.
        settings: Of the trainer; checkpoints lie in their ``output_dir``.
        config: Section ``launch``.
        out: Directory for the result.
        shown: Name and number of steps, for the progress meter.
        log: Is given the metrics of each step as they come.
        kept: Where checkpoints are kept in the store, if they are.

    Returns:
        Optimizer steps taken.
    """
    check_processes(settings, config)
    with meter(*shown) as progress:
        trainer = ExampleTrainer(
            model=load_model(base),  # after the arguments: ZeRO-3 shares the weights out while they are loaded
            args=settings,
            train_dataset=data,
            data_collator=collate,
            callbacks=[Recorder(progress, log)],
        )
        trainer.pack_tokens = pack_tokens(config)
        trainer.enable_trees(trainer.model)
        run(trainer, Path(settings.output_dir), kept)
    save(trainer, load_tokenizer(base), out)
    return int(trainer.state.global_step)
