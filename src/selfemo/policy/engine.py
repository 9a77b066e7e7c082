"""What samples: one protocol, two engines (transformers here, vLLM in :mod:`selfemo.policy.vllm_engine`)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from selfemo.policy.tree import Trunk, plan

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CACHE_TOKENS = 12_000
"""Rows times length that one expanded cache may hold: 0.6 GB in float32 for SmolLM2-135M."""


@dataclass(frozen=True)
class Sampling:
    """How to sample.

    Attributes:
        n: Completions for each prompt.
        max_tokens: Most tokens of a completion, the end token included.
        temperature: 0 is greedy.
        top_p: Nucleus.
    """

    n: int
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True)
class Completion:
    """One sampled answer.

    Attributes:
        ids: Token ids, the end token included if it was reached.
        text: Decoded without special tokens.
    """

    ids: tuple[int, ...]
    text: str


class Engine(Protocol):
    """Samples completions of token prompts."""

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        sampling: Sampling,
        progress: Callable[[int], None] = ...,
    ) -> list[list[Completion]]:
        """``sampling.n`` completions for each prompt, in the order of the prompts.

        Args:
            prompts: Token ids.
            seeds: One a prompt: the same seed gives the same completions whatever else is in the call.
            sampling: How.
            progress: Called with the number of prompts that were finished since the last call.
        """
        ...


def _silent(_: int) -> None: ...


class TransformersEngine:
    """Prefill once, expand the cache: prompts that share a trunk share its computation.

    Args:
        model: A causal language model, on any device.
        tokenizer: Its tokenizer.
        autocast: Run float32 weights under bfloat16 autocast, as training does.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, autocast: bool = False) -> None:
        self.model, self.tokenizer, self.autocast = model, tokenizer, autocast
        whole: Any = model.get_base_model() if hasattr(model, "get_base_model") else model  # inside a LoRA wrapper
        self.body, self.head = whole.base_model, whole.get_output_embeddings()
        ends = model.generation_config.eos_token_id if model.generation_config else None
        listed = ends if isinstance(ends, list) else [ends]
        self.ends = {int(e) for e in [*listed, tokenizer.eos_token_id] if e is not None}

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        sampling: Sampling,
        progress: Callable[[int], None] = _silent,
    ) -> list[list[Completion]]:
        """See :meth:`Engine.sample`."""
        import torch

        results: list[list[Completion]] = [[] for _ in prompts]
        cast = torch.autocast(self.model.device.type, torch.bfloat16) if self.autocast else nullcontext()
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad(), cast:
                for trunk in plan(prompts):
                    cache, length = self._prefill(trunk), trunk.length
                    rows = max(1, CACHE_TOKENS // ((length + sampling.max_tokens + 32) * sampling.n))
                    for start in range(0, len(trunk.members), rows):
                        members = trunk.members[start : start + rows]
                        branches = [list(prompts[index][shared:]) for index, shared in members]
                        last, logits, mask, positions = self._branch(cache, members, branches, length)
                        ids = self._decode(
                            last, logits, mask, positions, [seeds[index] for index, _ in members], sampling
                        )
                        for (index, _), group in zip(members, ids, strict=True):
                            results[index] = [Completion(tuple(c), self._text(c)) for c in group]
                        progress(len(members))
        finally:
            self.model.train(training)
        return results

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _prefill(self, trunk: Trunk) -> Any:
        """The key-value cache of the trunk, one row; None if its members share nothing."""
        import torch

        if trunk.length == 0:
            return None
        ids = torch.tensor([list(trunk.ids[: trunk.length])], device=self.model.device)
        return self.body(input_ids=ids, use_cache=True).past_key_values

    def _branch(
        self, cache: Any, members: Sequence[tuple[int, int]], branches: Sequence[list[int]], length: int
    ) -> tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Run every member's own tokens over the shared cache.

        Returns:
            The cache with one row a member, the logits after each prompt ``(B, V)``, the mask of cache slots
            that each row may see ``(B, length + S)``, and each row's next position ``(B,)``.
        """
        import torch

        device, count, width = self.model.device, len(branches), max(map(len, branches))
        ids = torch.zeros((count, width), dtype=torch.long)
        mask = torch.zeros((count, length + width), dtype=torch.long)
        positions = torch.zeros((count, width), dtype=torch.long)
        for row, ((_, shared), branch) in enumerate(zip(members, branches, strict=True)):
            ids[row, : len(branch)] = torch.tensor(branch)
            mask[row, :shared] = 1  # of the trunk, only what this prompt shares
            mask[row, length : length + len(branch)] = 1
            positions[row] = torch.arange(shared, shared + width)
        ids, mask, positions = ids.to(device), mask.to(device), positions.to(device)
        rows = copy.deepcopy(cache)
        if rows is not None and count > 1:
            rows.batch_repeat_interleave(count)
        out = self.body(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=rows, use_cache=True
        )
        ends = torch.tensor([len(b) - 1 for b in branches], device=device)
        each = torch.arange(count, device=device)
        logits = self.head(out.last_hidden_state[each, ends]).float()
        return out.past_key_values, logits, mask, positions[each, ends] + 1

    def _decode(
        self,
        cache: Any,
        logits: torch.Tensor,
        mask: torch.Tensor,
        positions: torch.Tensor,
        seeds: Sequence[int],
        sampling: Sampling,
    ) -> list[list[list[int]]]:
        """Sample token by token; finished rows leave the batch."""
        import torch

        n, device = sampling.n, self.model.device
        cache.batch_repeat_interleave(n)
        logits, mask = logits.repeat_interleave(n, 0), mask.repeat_interleave(n, 0)
        positions = positions.repeat_interleave(n, 0)
        draws = np.concatenate([np.random.default_rng(seed).random((n, sampling.max_tokens)) for seed in seeds])
        uniform = torch.from_numpy(draws).to(device)
        rows = list(range(len(draws)))
        done: list[list[int]] = [[] for _ in rows]
        for step in range(sampling.max_tokens):
            tokens = draw(logits, uniform[rows, step], sampling)
            alive = []
            for slot, (row, token) in enumerate(zip(rows, tokens.tolist(), strict=True)):
                done[row].append(token)
                if token not in self.ends:
                    alive.append(slot)
            if not alive or step + 1 == sampling.max_tokens:
                break
            if len(alive) < len(rows):
                keep = torch.tensor(alive, device=device)
                cache.batch_select_indices(keep)
                tokens, mask, positions = tokens[keep], mask[keep], positions[keep]
                rows = [rows[slot] for slot in alive]
            mask = torch.cat([mask, mask.new_ones((len(rows), 1))], dim=1)
            out = self.body(
                input_ids=tokens[:, None],
                attention_mask=mask,
                position_ids=positions[:, None],
                past_key_values=cache,
                use_cache=True,
            )
            cache, positions = out.past_key_values, positions + 1
            logits = self.head(out.last_hidden_state[:, -1]).float()
        return [done[i : i + n] for i in range(0, len(done), n)]


def draw(logits: torch.Tensor, uniform: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Next tokens by inverse transform: one uniform number a row decides, so a row's draw is its own.

    Args:
        logits: ``(B, V)``, float32.
        uniform: ``(B,)`` in [0, 1), float64.
        sampling: Temperature and nucleus.

    Returns:
        ``(B,)`` token ids.
    """
    import torch

    if sampling.temperature == 0:
        return logits.argmax(-1)
    probabilities = torch.softmax(logits.double() / sampling.temperature, -1)
    if sampling.top_p < 1:
        ordered, order = probabilities.sort(-1, descending=True)
        beyond = ordered.cumsum(-1) - ordered >= sampling.top_p
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, ordered.masked_fill(beyond, 0.0))
    cumulative = probabilities.cumsum(-1)
    target = uniform[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)
