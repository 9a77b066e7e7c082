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

ROWS = {"cpu": 32, "cuda": 512}
"""Distributions over the vocabulary that are held in float32 at once. On two CPU cores 3,000 of 49,152 tokens took 76
ms by 32, which fit the cache, and 498 by 512; on a GPU 512 were measured (docs/gpu.md), and fewer are more launches."""


@dataclass(frozen=True)
class LogProbs:
    """Of answer tokens, ``(B, T)`` with ``T`` the longest answer; 0 beyond an answer's end.

    Attributes:
        logprobs: Natural log-probability of each token; differentiable.
        entropies: Of the distribution that each token was drawn from, in nats, if they are asked for; without gradient.
    """

    logprobs: torch.Tensor
    entropies: torch.Tensor | None


def log_probs(
    model: Any,
    prompts: Sequence[TokenIds],
    answers: Sequence[TokenIds],
    temperature: float = 1.0,
    *,
    entropies: bool = False,
) -> LogProbs:
    """Log-probabilities of answers given their prompts in one pass over their tree.

    Args:
        model: A causal language model with tree attention enabled, wrapped for training or not.
        prompts: Token ids, each non-empty; any number of them may be equal or share their start.
        answers: Token ids, one non-empty sequence a prompt.
        temperature: Logits are divided by it.
        entropies: Find these as well: a pass over every distribution of its own, which takes as long as all else here.
    """
    # Nothing comes after an answer's last token: it is no node.
    tree = grow([[*p, *a[:-1]] for p, a in zip(prompts, answers, strict=True)])
    lengths = np.array([len(a) for a in answers])
    tokens = np.concatenate([np.asarray(a, dtype=np.int64) for a in answers])
    before = np.concatenate([path[len(p) - 1 :] for path, p in zip(tree.paths, prompts, strict=True)])
    # Answers branch off one node in many ways: its distribution is computed once.
    keep, row = np.unique(before, return_inverse=True)
    check_length(model, max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True)))
    device = next(model.parameters()).device
    where = torch.from_numpy(row).to(device)
    feed = inputs(tree.ids, tree.depth, PackedAttention(tree, device), device)
    logits = model(**feed, logits_to_keep=torch.from_numpy(keep).to(device)).logits[0]
    chosen, entropy = _Scores.apply(logits, where, torch.from_numpy(tokens).to(device), temperature, entropies)  # type: ignore[no-untyped-call]  # torch does not annotate it
    owner = np.repeat(np.arange(len(lengths)), lengths)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    place = (torch.from_numpy(owner).to(device), torch.from_numpy(offset).to(device))
    empty = torch.zeros((len(lengths), int(lengths.max())), device=device)
    return LogProbs(empty.index_put(place, chosen), empty.index_put(place, entropy[where]) if entropies else None)


class _Scores(torch.autograd.Function):
    """Log-probabilities of tokens, and entropies, from logits; some rows at a time in float32.

    torch's own operations keep and make whole float32 copies of the logits, which of a large vocabulary take more
    memory than all else of a pack (docs/gpu.md).
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        where: torch.Tensor,
        tokens: torch.Tensor,
        temperature: float,
        entropies: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities ``(A,)`` of ``tokens``, each from the row that ``where`` names, and each row's entropy."""
        normaliser = torch.empty(len(logits), device=logits.device)
        entropy = torch.empty_like(normaliser)  # left as it is, unless it is asked for
        for part in _parts(logits):
            scaled = logits[part].float()
            if temperature != 1:
                scaled = scaled / temperature
            normaliser[part] = scaled.logsumexp(-1)
            if entropies:
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
        for part in _parts(logits):
            chances = torch.exp(logits[part].float() / ctx.temperature - normaliser[part, None])
            mine = (where >= part.start) & (where < part.stop)
            chances.mul_(-of_row[part, None])
            chances.index_put_((where[mine] - part.start, tokens[mine]), scaled_grad[mine], accumulate=True)
            result[part] = chances
        return result, None, None, None, None


def _parts(logits: torch.Tensor) -> Iterator[slice]:
    rows, most = len(logits), ROWS.get(logits.device.type, ROWS["cuda"])
    return (slice(first, min(first + most, rows)) for first in range(0, rows, most))


def log_probs_of_packs(
    model: Any,
    prompts: Sequence[TokenIds],
    answers: Sequence[TokenIds],
    packs: Sequence[Sequence[int]],
    temperature: float = 1.0,
    *,
    entropies: bool = False,
) -> LogProbs:
    """The same in one pass for each pack.

    Args:
        model: As for :func:`log_probs`.
        prompts: As for :func:`log_probs`.
        answers: As for :func:`log_probs`.
        packs: Indices of all rows, as :func:`selfemo.policy.trees.tree.split` gives them.
        temperature: As for :func:`log_probs`.
        entropies: As for :func:`log_probs`.
    """
    parts = [
        log_probs(model, [prompts[i] for i in pack], [answers[i] for i in pack], temperature, entropies=entropies)
        for pack in packs
    ]
    longest = max(map(len, answers))
    back = torch.from_numpy(np.argsort(np.concatenate(packs), kind="stable"))

    def joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat([torch.nn.functional.pad(t, (0, longest - t.shape[1])) for t in tensors])[back]

    found = [p.entropies for p in parts if p.entropies is not None]
    return LogProbs(joined([p.logprobs for p in parts]), joined(found) if entropies else None)
