"""How one layer attends, and what SDPA does not compute of it. The names are those of transformers' interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class AttentionLayer:
    """How one layer attends, as it says in its call.

    Attributes:
        module: The layer's attention module.
        scaling: Factor of the scores; None is ``1 / sqrt(D)``.
        sliding_window: Tokens that a token sees of its own past, itself included; None is all of it.
        softcap: Scores are ``softcap * tanh(score / softcap)``.
        sinks: ``(H,)`` scores of a place that is attended to and holds nothing.
    """

    module: Any
    scaling: float | None
    sliding_window: int | None = None
    softcap: float | None = None
    sinks: torch.Tensor | None = None

    @property
    def layer_idx(self) -> int:
        """Number of the layer."""
        return int(self.module.layer_idx)

    @property
    def plain(self) -> bool:
        """Whether SDPA computes it: that knows neither soft caps nor sinks."""
        return self.softcap is None and self.sinks is None

    def compute(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None, causal: bool
    ) -> torch.Tensor:
        """Soft-capped attention and attention with sinks, by all scores.

        Args:
            query: ``(B, H, Q, D)``.
            key: ``(B, H_kv, K, D)``.
            value: ``(B, H_kv, K, V)``.
            bias: ``(B, 1, Q, K)`` or ``(1, 1, Q, K)``, additive, or what may be seen.
            causal: Without a bias: a query sees no later key.

        Returns:
            ``(B, H, Q, V)``.
        """
        grouped = query.reshape(len(query), key.shape[1], -1, *query.shape[2:])  # heads that share keys
        scale = query.shape[-1] ** -0.5 if self.scaling is None else self.scaling
        scores = torch.matmul(grouped, key.transpose(-1, -2)[:, :, None]).float() * scale
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        if bias is not None:
            bias = bias[:, :, None]
            scores = scores.masked_fill(~bias, float("-inf")) if bias.dtype == torch.bool else scores + bias
        elif causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(later, float("-inf"))
        if self.sinks is not None:
            sinks = self.sinks.float().view(1, *grouped.shape[1:3], 1, 1).expand(*scores.shape[:-1], 1)
            scores = torch.cat([scores, sinks], dim=-1)
        chances = torch.softmax(scores, dim=-1)[..., : key.shape[2]].to(value.dtype)
        return torch.matmul(chances, value[:, :, None]).flatten(1, 2)
