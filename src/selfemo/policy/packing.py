"""Several prompts with their answers as one sequence: a trunk, then each prompt's branch and answer.

Every token attends to what precedes it in its own prompt and to nothing else, so the log-probabilities are
those of separate sequences while a shared token is computed once. Defined here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfemo.policy.tree import plan

if TYPE_CHECKING:
    import torch

IGNORED = -100


@dataclass(frozen=True)
class Packed:
    """One packed sequence of ``S`` tokens.

    Attributes:
        ids: ``(S,)`` token ids.
        positions: ``(S,)`` positions within each token's own prompt.
        visible: ``(S, S)``, True where the row's token may attend to the column's.
        labels: ``(S,)``: answer tokens, each at its own place; :data:`IGNORED` elsewhere.
        weights: ``(S,)``: what each answer token counts in a loss.
        owner: ``(S,)``: index of the prompt whose answer a token belongs to; -1 elsewhere.
    """

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    visible: NDArray[np.bool_]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]
    owner: NDArray[np.int64]

    def tensors(self) -> dict[str, torch.Tensor]:
        """As a batch of one: inputs of the model, and ``keep``, ``labels`` and ``weights`` of the answer tokens.

        ``keep`` are the places that predict an answer token.
        """
        import torch

        answers = np.flatnonzero(self.labels != IGNORED)
        return {
            "input_ids": torch.from_numpy(self.ids)[None],
            "position_ids": torch.from_numpy(self.positions)[None],
            "attention_mask": torch.from_numpy(self.visible)[None, None],
            "keep": torch.from_numpy(answers - 1),
            "labels": torch.from_numpy(self.labels[answers]),
            "weights": torch.from_numpy(self.weights[answers]),
        }


def pack(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], weights: Sequence[float] | None = None
) -> Packed:
    """Pack prompts with one answer each.

    Args:
        prompts: Token ids, each non-empty.
        answers: Token ids, one sequence a prompt.
        weights: What each prompt's answer counts; None is 1 for all.
    """
    weights = [1.0] * len(prompts) if weights is None else weights
    counts: list[float] = []
    owner: list[int] = []
    ids: list[int] = []
    positions: list[int] = []
    labels: list[int] = []
    spans: list[tuple[int, int, int, int]] = []  # branch start and end, trunk start and shared length
    for trunk in plan(prompts):
        base = len(ids)
        length = trunk.length
        ids += trunk.ids[:length]
        positions += range(length)
        labels += [IGNORED] * length
        counts += [0.0] * length
        owner += [-1] * length
        spans.append((base, base + length, base, 0))
        for index, shared in trunk.members:
            branch, answer = list(prompts[index][shared:]), list(answers[index])
            start = len(ids)
            ids += branch + answer
            positions += range(shared, shared + len(branch) + len(answer))
            labels += [IGNORED] * len(branch) + answer
            counts += [0.0] * len(branch) + [weights[index]] * len(answer)
            owner += [-1] * len(branch) + [index] * len(answer)
            spans.append((start, len(ids), base, shared))
    visible = np.zeros((len(ids), len(ids)), dtype=bool)
    for start, end, base, shared in spans:
        visible[start:end, base : base + shared] = True
        visible[start:end, start:end] = np.tri(end - start, dtype=bool)
    return Packed(
        np.array(ids),
        np.array(positions),
        visible,
        np.array(labels),
        np.array(counts, dtype=np.float32),
        np.array(owner),
    )


def answer_log_probabilities(
    model: Any, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of answers given their prompts, in one packed pass; differentiable.

    Args:
        model: A causal language model, wrapped for training or not.
        prompts: Token ids; a prompt that stands there ``G`` times is computed once.
        answers: Token ids, one sequence a prompt, each non-empty.
        temperature: Logits are divided by it.

    Returns:
        Log-probabilities and entropies of each answer token's distribution, both ``(B, T)`` with ``T`` the
        longest answer; 0 beyond an answer's end.
    """
    import torch

    packed = pack(prompts, answers)
    device = next(model.parameters()).device
    feed = {name: tensor.to(device) for name, tensor in packed.tensors().items()}
    labels = feed.pop("labels")
    del feed["weights"]
    out = model(**{k: v for k, v in feed.items() if k != "keep"}, logits_to_keep=feed["keep"], use_cache=False)
    scores = torch.log_softmax(out.logits[0].float() / temperature, -1)
    chosen = scores.gather(-1, labels[:, None]).squeeze(-1)
    entropy = -(scores.exp() * scores).sum(-1)
    owner = packed.owner[packed.labels != IGNORED]
    first = np.flatnonzero(np.diff(owner, prepend=-1))  # answers lie whole and side by side
    offset = np.arange(len(owner)) - np.repeat(first, np.diff(first, append=len(owner)))
    place = (torch.from_numpy(owner).to(device), torch.from_numpy(offset).to(device))
    shape = (len(prompts), max(map(len, answers)))
    empty = torch.zeros(shape, dtype=chosen.dtype, device=device)
    return empty.index_put(place, chosen), empty.index_put(place, entropy)
