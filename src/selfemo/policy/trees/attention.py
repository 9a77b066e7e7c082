"""Attention over trees of tokens, for any model that looks its attention up in transformers' interface.

A model that :func:`enable` was called on attends as before, unless it is called with ``tree=``: then that
object decides what each token sees. Defined here.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from selfemo.policy import onednn
from selfemo.policy.trees.tree import Ints, Tree

NAME = "selfemo_tree"
FLEX_TOKENS = 2048
"""Below, SDPA over the separate trees is as fast (docs/gpu.md); for very few, FlexAttention finds no kernel at all."""
FLEX_WIDTH = 16
"""Narrower heads, as a dry run's are, FlexAttention does not compute on a GPU."""
FLEX_BLOCK = 128
"""FlexAttention's own size of a block."""


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


def block_mask(end: Ints, device: torch.device) -> Any:
    """What ``create_block_mask`` finds out for a tree's mask, without a mask of all nodes by all nodes.

    Args:
        end: ``(S,)`` of the tree: node ``q`` sees node ``k`` where ``k <= q < end[k]``.
        device: To put it on.
    """
    from torch.nn.attention.flex_attention import BlockMask

    size = len(end)
    count = -(-size // FLEX_BLOCK)
    padded = np.full(count * FLEX_BLOCK, 0)
    padded[:size] = end
    of_block = padded.reshape(count, FLEX_BLOCK)
    starts = np.arange(count)[:, None] * FLEX_BLOCK
    # Row i, column j: does any query of block i see any key of block j, and does every one see all of them?
    below = np.arange(count)[:, None] > np.arange(count)[None]
    some = (below & (of_block.max(1)[None] > starts)) | np.eye(count, dtype=bool)
    every = below & (of_block.min(1)[None] >= starts + FLEX_BLOCK)
    ends = torch.from_numpy(end).to(device)

    def sees(batch: Any, head: Any, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return (k <= q) & (q < ends[k])

    def listed(of: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """How many blocks of keys each block of queries has, and which come first."""
        order = np.argsort(~of, axis=1, kind="stable")
        numbers = (torch.from_numpy(x.astype(np.int32))[None, None].to(device) for x in (of.sum(1), order))
        return next(numbers), next(numbers)

    return BlockMask.from_kv_blocks(
        *listed(some & ~every), *listed(every), BLOCK_SIZE=FLEX_BLOCK, mask_mod=sees, seq_lengths=(size, size)
    )


class PackedAttention:
    """Every node of a tree at once, with gradients: FlexAttention where it is the faster one, else SDPA.

    Args:
        tree: Of the packed sequence.
        device: Of the model.
        flex: Use FlexAttention; None decides it layer by layer.
    """

    def __init__(self, tree: Tree, device: torch.device, flex: bool | None = None) -> None:
        self.tree, self.device, self.flex = tree, device, flex

    def _flexible(self, dtype: torch.dtype, width: int) -> bool:
        """Whether FlexAttention is to compute a layer of this number and width of heads."""
        if self.flex is not None:
            return self.flex
        fits = width >= FLEX_WIDTH and len(self.tree.ids) >= FLEX_TOKENS
        return self.device.type == "cuda" and dtype != torch.float32 and fits

    @cached_property
    def _blocks(self) -> Any:
        """FlexAttention's sparse form of the mask."""
        return block_mask(self.tree.end, self.device)

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
        dtype = query.dtype
        if torch.is_autocast_enabled(self.device.type):  # as SDPA does by itself: normalised queries come in float32
            dtype = torch.get_autocast_dtype(self.device.type)
        query, key, value = (x.to(dtype) for x in (query, key, value))
        if self._flexible(dtype, query.shape[-1]):
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
