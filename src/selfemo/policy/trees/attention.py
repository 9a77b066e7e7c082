"""Attention over trees of tokens, for any model that looks its attention up in transformers' interface.

A model that :func:`enable` was called on attends as before, unless it is called with ``tree=``: then that
object decides what each token sees. Defined here.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from selfemo.policy import onednn
from selfemo.policy.trees.tree import Ints, Tree

NAME = "selfemo_tree"


class Attend(Protocol):
    """What a model is called with as ``tree=``."""

    def attend(self, module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Attention of one layer.

        Args:
            module: The layer's attention module.
            query: ``(1, H, S, D)``.
            key: ``(1, H_kv, S, D)``.
            value: As the key.

        Returns:
            ``(1, S, H, D)``.
        """
        ...


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    tree: Attend | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    if tree is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]  # the library has no types
    return tree.attend(module, query, key, value), None


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def enable(model: Any) -> None:
    """Let a model, wrapped or not, be called with ``tree=``, and multiply with what is fastest here."""
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    onednn.use(whole)
    if whole.config._attn_implementation != NAME:
        whole.set_attn_implementation(NAME)


def inputs(ids: Ints, depth: Ints, attend: Attend, device: torch.device) -> dict[str, Any]:
    """What to call a model with to run nodes, their tokens and depths, as one packed sequence."""
    return {
        "input_ids": torch.from_numpy(ids)[None].to(device),
        "position_ids": torch.from_numpy(depth)[None].to(device),
        "attention_mask": torch.ones((1, 1, 1, 1), dtype=torch.bool, device=device),  # 4D: none is made of it
        "use_cache": False,
        "tree": attend,
    }


class PackedAttention:
    """Every node of a tree at once, with gradients: FlexAttention on a GPU, SDPA elsewhere.

    Args:
        tree: Of the packed sequence.
        device: Of the model.
        flex: Use FlexAttention; None is where there is a GPU.
    """

    def __init__(self, tree: Tree, device: torch.device, flex: bool | None = None) -> None:
        self.tree, self.device = tree, device
        self.flex = device.type == "cuda" if flex is None else flex

    @cached_property
    def _blocks(self) -> Any:
        """FlexAttention's sparse form of the mask."""
        from torch.nn.attention.flex_attention import create_block_mask

        end = torch.from_numpy(self.tree.end).to(self.device)

        def sees(batch: Any, head: Any, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
            return (k <= q) & (q < end[k])

        size = len(self.tree.ids)
        return create_block_mask(sees, None, None, size, size, device=self.device)

    @cached_property
    def _biases(self) -> list[torch.Tensor | None]:
        """For each separate tree the additive mask ``(L, L)``; None for a plain sequence."""
        biases: list[torch.Tensor | None] = []
        for start, stop in self.tree.spans:
            end = torch.from_numpy(self.tree.end[start:stop] - start)
            if bool((end == stop - start).all()):
                biases.append(None)
                continue
            place = torch.arange(stop - start)
            hidden = (place[None, :] > place[:, None]) | (place[:, None] >= end[None, :])
            biases.append(torch.zeros(hidden.shape).masked_fill_(hidden, float("-inf")).to(self.device))
        return biases

    def attend(self, module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """See :class:`Attend`."""
        if self.flex:
            return flex_attention_forward(module, query, key, value, self._blocks, scaling=module.scaling)[0]  # type: ignore[no-any-return]  # the library has no types
        parts = []
        for (start, stop), bias in zip(self.tree.spans, self._biases, strict=True):
            q, k, v = (x[:, :, start:stop] for x in (query, key, value))
            mask = None if bias is None else bias.to(q.dtype)[None, None]
            parts.append(
                scaled_dot_product_attention(
                    q, k, v, mask, is_causal=mask is None, scale=module.scaling, enable_gqa=True
                )
            )
        return torch.cat(parts, dim=2).transpose(1, 2)
