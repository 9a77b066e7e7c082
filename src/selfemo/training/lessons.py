"""What is learnt from gold labels: every turn's label set, and some turns as replies, a dialogue at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Dataset

from selfemo.config import Config
from selfemo.dialogue import Dialogue
from selfemo.labels import SPACES
from selfemo.policy.packing import score
from selfemo.prompts import Prompter, TokenIds
from selfemo.records import seed_of


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


def loss(model: Any, batch: dict[str, list[Any]]) -> torch.Tensor:
    """Sum of the rows' weighted negative log-probabilities, in one pass.

    Args:
        model: With tree attention enabled.
        batch: Of :func:`collate`.
    """
    logprobs = score(model, batch["prompts"], batch["answers"]).logprobs
    weights = torch.tensor(batch["weights"], dtype=logprobs.dtype, device=logprobs.device)
    return -(logprobs.sum(1) * weights).sum()
