"""Log-probabilities of answers, each shared token computed once; the same values as separate sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from selfemo.policy.trees.attention import PackedAttention, inputs
from selfemo.policy.trees.tree import TokenIds, grow


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
    device = next(model.parameters()).device
    where = torch.from_numpy(row).to(device)
    feed = inputs(tree.ids, tree.depth, PackedAttention(tree, device), device)
    logits = model(**feed, logits_to_keep=torch.from_numpy(keep).to(device)).logits[0].float()
    if temperature != 1:
        logits = logits / temperature
    normaliser = logits.logsumexp(-1)
    chosen = logits[where, torch.from_numpy(tree.ids[nodes]).to(device)] - normaliser[where]
    with torch.no_grad():
        spread = (torch.exp(logits - normaliser[:, None]) * logits).sum(-1)
        entropy = (normaliser - spread)[where]
    owner = np.repeat(np.arange(len(lengths)), lengths)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    place = (torch.from_numpy(owner).to(device), torch.from_numpy(offset).to(device))
    empty = torch.zeros((len(lengths), int(lengths.max())), device=device)
    return LogProbs(empty.index_put(place, chosen), empty.index_put(place, entropy))


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
