"""What is learnt by cross-entropy, a dialogue at a time: label sets of turns, and some turns as replies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from selfemo.config import Config
from selfemo.data.dialogue import Dialogue
from selfemo.data.labels import Spaces
from selfemo.data.records import Sample
from selfemo.data.seeds import seed_of
from selfemo.method.prompts import Prompter, TokenIds
from selfemo.policy.trees.packing import log_probs


@dataclass(frozen=True)
class Example:
    """One dialogue to learn: rows of a prompt, its answer, and what a token of the answer counts."""

    prompts: tuple[TokenIds, ...]
    answers: tuple[TokenIds, ...]
    weights: tuple[float, ...]


def gold_examples(
    dialogues: Sequence[Dialogue], spaces: Spaces, prompter: Prompter, config: Config, *, replies: int
) -> list[Example]:
    """Gold dialogues, one example each.

    For every gold turn: the understanding prompt with its gold set. For some turns after the first, at most
    ``replies`` of a dialogue: the expression prompt with the gold set and the text as the reply.
    """
    found = (_example(d, spaces, prompter, config, replies) for d in dialogues)
    return [example for example in found if example.prompts]


def _example(dialogue: Dialogue, spaces: Spaces, prompter: Prompter, config: Config, replies: int) -> Example:
    space = spaces[dialogue.corpus]
    gold = {t: turn.gold for t, turn in enumerate(dialogue.turns) if turn.gold}
    prompts = [prompter.understanding(dialogue.turns[: t + 1], space) for t in gold]
    answers = [prompter.answer(labels) for labels in gold.values()]
    weights = [1.0] * len(prompts)
    shuffled = sorted((t for t in gold if t), key=lambda t: seed_of(config.seed, "reply", dialogue.id, t))
    for t in sorted(shuffled[:replies]):
        turn = dialogue.turns[t]
        prompts.append(prompter.expression(dialogue.turns[:t], turn.speaker, space))
        answers.append(prompter.answer(gold[t], turn.text))
        weights.append(config.warmup.expression_weight)
    return Example(tuple(prompts), tuple(answers), tuple(weights))


def prompt_of(sample: Sample, spaces: Spaces, prompter: Prompter) -> TokenIds:
    """The prompt that a training sample stands for."""
    space = spaces[sample.corpus]
    if sample.task == "understanding":
        return prompter.understanding(sample.history, space)
    return prompter.expression(sample.history, sample.role, space)


def rollout_prompt(sample: Sample, spaces: Spaces, prompter: Prompter) -> TokenIds:
    """What a group of completions goes on from: of an expression the prompt and the emotions of its target.

    So a group's replies mean to express the same, and differ in how well they do. Were the emotions sampled with them,
    what is read most easily would be declared ever more often: a reply that means to be neutral is read so (measured:
    docs/results.md).
    """
    prompt = prompt_of(sample, spaces, prompter)
    if sample.task == "understanding":
        return prompt
    head, _ = prompter.declared(sample.target, "")
    return (*prompt, *head)


def pseudo_labelled(samples: Sequence[Sample], spaces: Spaces, prompter: Prompter, config: Config) -> list[Example]:
    """A round's targets as if they were gold, an example for each dialogue; replies are learnt with their sets."""
    by_dialogue: dict[str, list[Sample]] = {}
    for sample in samples:
        by_dialogue.setdefault(sample.dialogue, []).append(sample)
    reply = config.warmup.expression_weight
    return [
        Example(
            tuple(prompt_of(s, spaces, prompter) for s in mine),
            tuple(prompter.answer(s.target, s.reply) for s in mine),
            tuple(1.0 if s.task == "understanding" else reply for s in mine),
        )
        for mine in by_dialogue.values()
    ]


def collate(examples: Sequence[Example]) -> dict[str, list[Any]]:
    """Rows of a batch; weights sum to 1 over a dialogue's tokens, shared out: long and short ones count alike."""
    rows: dict[str, list[Any]] = {"prompts": [], "answers": [], "weights": []}
    for example in examples:
        whole = sum(w * len(a) for w, a in zip(example.weights, example.answers, strict=True)) * len(examples)
        rows["prompts"] += example.prompts
        rows["answers"] += example.answers
        rows["weights"] += [w / whole for w in example.weights]
    return rows


def loss(model: Any, batch: dict[str, list[Any]]) -> torch.Tensor:
    """Sum of the rows' weighted negative log-probabilities, in one pass.

    Args:
        model: With tree attention enabled.
        batch: Of :func:`collate`.
    """
    logprobs = log_probs(model, batch["prompts"], batch["answers"]).logprobs
    weights = torch.tensor(batch["weights"], dtype=logprobs.dtype, device=logprobs.device)
    return -(logprobs.sum(1) * weights).sum()
