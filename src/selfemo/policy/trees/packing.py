"""Log-probabilities of answers, each shared token computed once; the same values as separate sequences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from selfemo.policy.trees.attention import PackedAttention, inputs
from selfemo.policy.trees.lengths import check_length
from selfemo.policy.trees.tree import TokenIds, grow

ROWS = 512
"""Distributions over the vocabulary that are held in float32 at once."""


@dataclass(frozen=True)
class LogProbs:
    """Of answer tokens, ``(B, T)`` with ``T`` the longest answer; 0 beyond an answer's end.

    Attributes:
        logprobs: Natural log-probability of each token; differentiable.
        entropies: Of the distribution that each token was drawn from, in nats; without gradient.
    """

    logprobs: torch.Tensor
    entropies: torch.Tensor


def log_probs(
    model: Any, prompts: Sequence[TokenIds], answers: Sequence[TokenIds], temperature: float = 1.0
) -> LogProbs:
    """Log-probabilities of answers given their prompts in one pass over their tree.

    Args:
        model: A causal language model with tree attention enabled, wrapped for training or not.
        prompts: Token ids, each non-empty; any number of them may be equal or share their start.
        answers: Token ids, one sequence a prompt.
        temperature: Logits are divided by it.
    """
    tree = grow([[*p, *a] for p, a in zip(prompts, answers, strict=True)])
    lengths = np.array([len(a) for a in answers])
    nodes = np.concatenate([path[len(p) :] for path, p in zip(tree.paths, prompts, strict=True)])
    before = np.concatenate([path[len(p) - 1 : -1] for path, p in zip(tree.paths, prompts, strict=True)])
    # Answers part from one node in many ways: its distribution is computed once.
    keep, row = np.unique(before, return_inverse=True)
    check_length(model, int(tree.depth.max()) + 1)
    device = next(model.parameters()).device
    where = torch.from_numpy(row).to(device)
    feed = inputs(tree.ids, tree.depth, PackedAttention(tree, device), device)
    logits = model(**feed, logits_to_keep=torch.from_numpy(keep).to(device)).logits[0]
    chosen, entropies = _Scores.apply(logits, where, torch.from_numpy(tree.ids[nodes]).to(device), temperature)  # type: ignore[no-untyped-call]  # torch does not annotate it
    entropy = entropies[where]
    owner = np.repeat(np.arange(len(lengths)), lengths)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    place = (torch.from_numpy(owner).to(device), torch.from_numpy(offset).to(device))
    empty = torch.zeros((len(lengths), int(lengths.max())), device=device)
    return LogProbs(empty.index_put(place, chosen), empty.index_put(place, entropy))


class _Scores(torch.autograd.Function):
    """Log-probabilities of tokens, and entropies, from logits; some rows at a time in float32.

    torch's own operations keep and make whole float32 copies of the logits, which of a large vocabulary take more
    memory than all else of a pack (docs/gpu.md).
    """

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, where: torch.Tensor, tokens: torch.Tensor, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities ``(A,)`` of ``tokens``, each from the row that ``where`` names, and each row's entropy."""
        normaliser = torch.empty(len(logits), device=logits.device)
        entropy = torch.empty_like(normaliser)
        for part in _parts(len(logits)):
            scaled = logits[part].float() / temperature
            normaliser[part] = scaled.logsumexp(-1)
            chances = torch.exp(scaled - normaliser[part, None])
            entropy[part] = normaliser[part] - chances.mul_(scaled).sum(-1)
        ctx.save_for_backward(logits, where, tokens, normaliser)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropy)
        return logits[where, tokens].float() / temperature - normaliser[where], entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor, _: Any) -> tuple[torch.Tensor | None, ...]:
        logits, where, tokens, normaliser = ctx.saved_tensors
        scaled_grad = grad / ctx.temperature
        of_row = torch.zeros_like(normaliser).index_add_(0, where, scaled_grad)
        result = torch.empty_like(logits)
        for part in _parts(len(logits)):
            chances = torch.exp(logits[part].float() / ctx.temperature - normaliser[part, None])
            mine = (where >= part.start) & (where < part.stop)
            chances.mul_(-of_row[part, None])
            chances.index_put_((where[mine] - part.start, tokens[mine]), scaled_grad[mine], accumulate=True)
            result[part] = chances
        return result, None, None, None


def _parts(rows: int) -> Iterator[slice]:
    return (slice(first, min(first + ROWS, rows)) for first in range(0, rows, ROWS))


def log_probs_of_packs(
    model: Any,
    prompts: Sequence[TokenIds],
    answers: Sequence[TokenIds],
    packs: Sequence[Sequence[int]],
    temperature: float = 1.0,
) -> LogProbs:
    """The same in one pass for each pack.

    Args:
        model: As for :func:`log_probs`.
        prompts: As for :func:`log_probs`.
        answers: As for :func:`log_probs`.
        packs: Indices of all rows, as :func:`selfemo.policy.trees.tree.split` gives them.
        temperature: As for :func:`log_probs`.
    """
    parts = [log_probs(model, [prompts[i] for i in pack], [answers[i] for i in pack], temperature) for pack in packs]
    longest = max(map(len, answers))
    back = torch.from_numpy(np.argsort(np.concatenate(packs), kind="stable"))
    logprobs, entropies = (
        torch.cat([torch.nn.functional.pad(t, (0, longest - t.shape[1])) for t in tensors])[back]
        for tensors in ([p.logprobs for p in parts], [p.entropies for p in parts])
    )
    return LogProbs(logprobs, entropies)
