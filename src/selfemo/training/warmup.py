"""Supervised warm-up on gold dialogues: all turns of a dialogue, both tasks, in one packed pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from selfemo.config import Config
from selfemo.dialogue import Dialogue
from selfemo.labels import SPACES
from selfemo.policy.packing import score
from selfemo.policy.weights import load_model, load_tokenizer
from selfemo.progress import meter
from selfemo.prompts import Prompter, TokenIds
from selfemo.records import seed_of
from selfemo.training.common import Log, Recorder, arguments, run, save, settle
from selfemo.training.launch import share
from selfemo.training.packed import PackedStep


@dataclass(frozen=True)
class Lesson:
    """One dialogue to learn: rows of a prompt, its answer, and what a token of the answer counts."""

    prompts: tuple[TokenIds, ...]
    answers: tuple[TokenIds, ...]
    weights: tuple[float, ...]


class Lessons(Dataset[Lesson]):
    """The dialogues, one lesson each.

    For every gold turn: the understanding prompt with its gold set. For some turns after the first: the
    expression prompt with the gold set and the text as the reply.
    """

    def __init__(self, dialogues: Sequence[Dialogue], prompter: Prompter, config: Config) -> None:
        lessons = (self._lesson(d, prompter, config) for d in dialogues)
        self.items = [lesson for lesson in lessons if lesson.prompts]

    @staticmethod
    def _lesson(dialogue: Dialogue, prompter: Prompter, config: Config) -> Lesson:
        space = SPACES[dialogue.corpus]
        gold = {t: turn.gold for t, turn in enumerate(dialogue.turns) if turn.gold}
        prompts = [prompter.understanding(dialogue.turns[: t + 1], space) for t in gold]
        answers = [prompter.answer(labels) for labels in gold.values()]
        weights = [1.0] * len(prompts)
        shuffled = sorted((t for t in gold if t), key=lambda t: seed_of(config.seed, "reply", dialogue.id, t))
        for t in sorted(shuffled[: config.warmup.expression_turns]):
            turn = dialogue.turns[t]
            prompts.append(prompter.expression(dialogue.turns[:t], turn.speaker, space))
            answers.append(prompter.answer(gold[t], turn.text))
            weights.append(config.warmup.expression_weight)
        return Lesson(tuple(prompts), tuple(answers), tuple(weights))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Lesson:
        return self.items[index]


def collate(lessons: Sequence[Lesson]) -> dict[str, list[Any]]:
    """Rows of a batch; weights sum to 1 over a dialogue's tokens, shared out: long and short ones count alike."""
    rows: dict[str, list[Any]] = {"prompts": [], "answers": [], "weights": []}
    for lesson in lessons:
        whole = sum(w * len(a) for w, a in zip(lesson.weights, lesson.answers, strict=True)) * len(lessons)
        rows["prompts"] += lesson.prompts
        rows["answers"] += lesson.answers
        rows["weights"] += [w / whole for w in lesson.weights]
    return rows


class WarmupTrainer(PackedStep, Trainer):  # type: ignore[misc]
    """Weighted cross-entropy over the answers' tokens; the turns of a dialogue share its history."""

    def rows(self, inputs: Any) -> list[list[int]]:
        """See :meth:`PackedStep.rows`."""
        return [[*p, *a] for p, a in zip(inputs["prompts"], inputs["answers"], strict=True)]

    def part(self, inputs: Any, rows: list[int]) -> tuple[Any, float]:
        """See :meth:`PackedStep.part`; the weights hold the shares."""
        if not rows:  # a pass that other ranks need company in
            return {name: values[:1] for name, values in inputs.items()}, 0.0
        return {name: [values[i] for i in rows] for name, values in inputs.items()}, 1.0

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Sum of the rows' weighted negative log-probabilities."""
        logprobs = score(model, inputs["prompts"], inputs["answers"]).logprobs
        weights = torch.tensor(inputs["weights"], dtype=logprobs.dtype, device=logprobs.device)
        return -(logprobs.sum(1) * weights).sum()


def warm_up(
    base: str,
    dialogues: Sequence[Dialogue],
    config: Config,
    workdir: Path,
    out: Path,
    log: Log = lambda step, values: None,
) -> int:
    """Fine-tune ``base`` on gold dialogues and save ``theta_0``.

    Args:
        base: Directory or hub id of the base weights.
        dialogues: With gold labels.
        config: Sections ``policy`` and ``warmup``.
        workdir: For checkpoints: the same directory again resumes.
        out: Directory for the result.
        log: Is given the metrics of each step as they come.

    Returns:
        Optimizer steps taken.
    """
    tokenizer = load_tokenizer(base)
    data = Lessons(dialogues, Prompter(tokenizer, config.policy.history_turns), config)
    steps_per_epoch = -(-len(data) // config.warmup.dialogues_per_step)
    training_arguments = TrainingArguments(
        **arguments(config, workdir),
        num_train_epochs=config.warmup.epochs,
        per_device_train_batch_size=share(config.warmup.dialogues_per_step, "warmup.dialogues_per_step"),
        learning_rate=config.warmup.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, steps_per_epoch * config.warmup.epochs // 10),
        save_strategy="epoch",
    )
    settle(training_arguments, config)
    with meter("warm-up", steps_per_epoch * config.warmup.epochs) as progress:
        trainer = WarmupTrainer(
            model=load_model(base),  # after the arguments: ZeRO-3 shares the weights out while they are loaded
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
