"""Supervised warm-up on gold dialogues: all turns of a dialogue, both tasks, in one packed pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from selfemo.config import Config
from selfemo.dialogue import Dialogue
from selfemo.labels import SPACES
from selfemo.policy.packing import Packed, pack
from selfemo.policy.weights import load_model, load_tokenizer
from selfemo.progress import meter
from selfemo.prompts import Prompter
from selfemo.records import seed_of
from selfemo.training.common import Log, Recorder, arguments, run, save


class PackedDialogues(Dataset[Packed]):
    """One packed sequence for each dialogue.

    For every gold turn: the understanding prompt with its gold set. For some turns after the first: the
    expression prompt with the gold set and the text as the reply.
    """

    def __init__(self, dialogues: Sequence[Dialogue], prompter: Prompter, config: Config) -> None:
        packed = (self._pack(d, prompter, config) for d in dialogues)
        self.items = [p for p in packed if p is not None]

    @staticmethod
    def _pack(dialogue: Dialogue, prompter: Prompter, config: Config) -> Packed | None:
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
        return pack(prompts, answers, weights) if prompts else None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Packed:
        return self.items[index]


class PackedTrainer(Trainer):  # type: ignore[misc]
    """Weighted cross-entropy over the answer tokens of a packed sequence; logits only where they are needed."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Weighted mean over the dialogue: long and short dialogues count alike."""
        extra = ("labels", "keep", "weights")
        feed = {k: v for k, v in inputs.items() if k not in extra}
        out = model(**feed, logits_to_keep=inputs["keep"], use_cache=False)
        each = torch.nn.functional.cross_entropy(out.logits[0].float(), inputs["labels"], reduction="none")
        loss = (each * inputs["weights"]).sum() / inputs["weights"].sum()
        return (loss, out) if return_outputs else loss


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
    model = load_model(base)
    data = PackedDialogues(dialogues, Prompter(tokenizer, config.policy.history_turns), config)
    steps_per_epoch = -(-len(data) // config.warmup.dialogues_per_step)
    training_arguments = TrainingArguments(
        **arguments(config, workdir),
        num_train_epochs=config.warmup.epochs,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=config.warmup.dialogues_per_step,
        learning_rate=config.warmup.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, steps_per_epoch * config.warmup.epochs // 10),
        save_strategy="epoch",
    )
    with meter("warm-up", steps_per_epoch * config.warmup.epochs) as progress:
        trainer = PackedTrainer(
            model=model,
            args=training_arguments,
            train_dataset=data,
            data_collator=lambda batch: batch[0].tensors(),
            callbacks=[Recorder(progress, log)],
        )
        trainer.model_accepts_loss_kwargs = False  # the loss is a mean already: average it over the step
        run(trainer, workdir)
    save(trainer, tokenizer, out)
    return int(trainer.state.global_step)
