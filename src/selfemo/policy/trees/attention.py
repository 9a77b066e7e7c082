"""Attention over trees of tokens, for models that look their attention up in transformers' interface.

A model that :func:`enable` was called on attends as before, unless it is called with ``tree=``: then that object
decides what each token sees. What a layer asks for beside (:class:`AttentionLayer`) holds there too; what a model does
outside of that interface, :mod:`.check` finds out. Defined here.
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

from selfemo.errors import UserError
from selfemo.policy import compute, onednn
from selfemo.policy.trees.layer import AttentionLayer
from selfemo.policy.trees.pieces import AttentionPiece, pieces
from selfemo.policy.trees.tree import Ints, Tree

NAME = "selfemo_tree"
FLEX_BLOCK = 128
"""FlexAttention's own size of a block."""


class Attend(Protocol):
    """What a model is called with as ``tree=``."""

    def attend(
        self, layer: AttentionLayer, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """Attention of one layer.

        Args:
            layer: How it attends.
            query: ``(1, H, S, D)``.
            key: ``(1, H_kv, S, D)``.
            value: ``(1, H_kv, S, V)``.

        Returns:
            ``(1, S, H, V)``.
        """
        ...


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    is_causal: bool | None = None,
    tree: Attend | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Transformers' interface; :class:`AttentionLayer` names its arguments. Dropout is left out on trees."""
    layer = AttentionLayer(module, scaling, sliding_window, softcap, s_aux)
    if tree is not None:
        if is_causal is False or kwargs.get("position_bias") is not None:
            what = "a bias of its own by position" if is_causal is not False else "attention that looks ahead"
            raise UserError(f"{type(module).__name__} has {what}, which trees of tokens have not")
        return tree.attend(layer, query, key, value).contiguous(), None  # some models ask for a view of it
    if layer.plain:
        given = {"scaling": scaling, "is_causal": is_causal, **kwargs}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **given)  # type: ignore[no-any-return]  # the library has no types
    causal = query.shape[2] > 1
    return layer.compute(query, key, value, attention_mask, causal).transpose(1, 2).contiguous(), None


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


def block_mask(end: Ints, device: torch.device, depth: Ints | None = None, window: int = 0) -> Any:
    """What ``create_block_mask`` finds out for a tree's mask, without a mask of all nodes by all nodes.

    Args:
        end: ``(S,)`` of the tree: node ``q`` sees node ``k`` where ``k <= q < end[k]``.
        device: To put it on.
        depth: ``(S,)`` of the tree, where there is a window.
        window: See :class:`AttentionLayer`. Some blocks that are looked into then hold nothing that is seen.
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

    def in_past(batch: Any, head: Any, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return (k <= q) & (q < ends[k])

    sees = in_past
    if depth is not None:
        places = np.pad(depth, (0, count * FLEX_BLOCK - size), mode="edge").reshape(count, FLEX_BLOCK)
        least, most = places.min(1), places.max(1)
        some &= least[:, None] - most[None] < window
        every &= most[:, None] - least[None] < window
        depths = torch.from_numpy(depth).to(device)

        def near(batch: Any, head: Any, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
            return in_past(batch, head, q, k) & (depths[q] - depths[k] < window)

        sees = near

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
        self._blocks: dict[int | None, Any] = {}
        self._pieces: dict[tuple[int | None, torch.dtype], list[AttentionPiece]] = {}

    @cached_property
    def _longest(self) -> int:
        return int(self.tree.depth.max()) + 1

    def _window(self, layer: AttentionLayer) -> int | None:
        """The layer's window, where any node's past is longer."""
        return None if layer.sliding_window is None or layer.sliding_window >= self._longest else layer.sliding_window

    def _flexible(self, dtype: torch.dtype, width: int) -> bool:
        """Whether FlexAttention is to compute a layer of this number and width of heads."""
        if self.flex is not None:
            return self.flex
        half, tokens = dtype != torch.float32, len(self.tree.ids)
        return compute.flexible(self.device.type, half=half, width=width, tokens=tokens)

    def _blocks_of(self, window: int | None) -> Any:
        """FlexAttention's sparse form of the mask."""
        if window not in self._blocks:
            depth = None if window is None else self.tree.depth
            self._blocks[window] = block_mask(self.tree.end, self.device, depth, window or 0)
        return self._blocks[window]

    def _pieces_of(self, window: int | None, dtype: torch.dtype) -> list[AttentionPiece]:
        """The rows of the separate trees, piece by piece, with their masks."""
        if (window, dtype) not in self._pieces:
            self._pieces[window, dtype] = list(pieces(self.tree, window, self.device, dtype))
        return self._pieces[window, dtype]

    def attend(
        self, layer: AttentionLayer, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """See :class:`Attend`."""
        dtype = query.dtype
        if torch.is_autocast_enabled(self.device.type):  # as SDPA does by itself: normalised queries come in float32
            dtype = torch.get_autocast_dtype(self.device.type)
        query, key, value = (x.to(dtype) for x in (query, key, value))
        window = self._window(layer)
        if layer.plain and self._flexible(dtype, query.shape[-1]):
            blocks = self._blocks_of(window)
            return flex_attention_forward(layer.module, query, key, value, blocks, scaling=layer.scaling)[0]  # type: ignore[no-any-return]  # the library has no types
        parts = []
        for piece in self._pieces_of(window, dtype):
            q, k, v = query[:, :, piece.start : piece.stop], piece.seen(key), piece.seen(value)
            mask = None if piece.bias is None else piece.bias[None, None]
            if layer.plain:
                out = scaled_dot_product_attention(
                    q, k, v, mask, is_causal=mask is None, scale=layer.scaling, enable_gqa=True
                )
            else:
                out = layer.compute(q, k, v, mask, causal=mask is None)
            parts.append(out)
        return torch.cat(parts, dim=2).transpose(1, 2)
