"""Trees that grow: the keys and values of every node computed so far, and nodes that are added to them.

No cache is ever copied for a sample or a branch: a new node attends to its ancestors where they lie. Defined
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from selfemo.policy.trees.attention import PackedAttention, inputs
from selfemo.policy.trees.layer import AttentionLayer
from selfemo.policy.trees.tree import Ints, Tree, join


class Forest:
    """``T`` trees and their cached keys and values, in ``(T, H_kv, C, D)`` for each layer.

    Args:
        model: A causal language model with tree attention enabled.
        trees: What stands there already is computed at once.
        room: Nodes to make room for in each tree; more is made when it is needed.
        keep: ``(N,)`` nodes of all trees, side by side, whose logits are wanted.
    """

    def __init__(self, model: Any, trees: Sequence[Tree], room: int, keep: Ints) -> None:
        self.model, self.device = model, model.device
        self.sizes = np.array([len(t.ids) for t in trees])
        self.capacity = int(self.sizes.max()) + room
        self.keys: dict[int, torch.Tensor] = {}
        self.values: dict[int, torch.Tensor] = {}
        whole = join(trees)
        feed = inputs(whole.ids, whole.depth, _First(self, whole), self.device)
        self.logits: torch.Tensor = model(**feed, logits_to_keep=torch.from_numpy(keep).to(self.device)).logits[0]
        """``(N, V)`` of the nodes that were to be kept."""
        self.seen = np.zeros((0, self.capacity), dtype=bool)
        """``(S, C)`` what each of the nodes added last sees of its tree."""

    def watch(self, tree: Ints, seen: Sequence[Ints]) -> None:
        """Say which nodes of each tree the next additions grow from.

        Args:
            tree: ``(N,)`` their tree.
            seen: ``(N,)`` slots that each of them sees, itself included.
        """
        self.tree = tree
        self.seen = np.zeros((len(tree), self.capacity), dtype=bool)
        for row, slots in enumerate(seen):
            self.seen[row, slots] = True

    def add(self, ids: Ints, depth: Ints, parent: Ints) -> torch.Tensor:
        """Add a child to nodes that were added or watched last.

        Args:
            ids: ``(S,)`` tokens.
            depth: ``(S,)`` positions.
            parent: ``(S,)`` ascending rows of the nodes that were added or watched last.

        Returns:
            ``(S, V)`` logits.
        """
        tree = self.tree[parent]
        counts = np.bincount(tree, minlength=len(self.sizes))
        row = np.arange(len(tree)) - (np.cumsum(counts) - counts)[tree]  # place among its tree's new nodes
        slot = self.sizes[tree] + row
        self.sizes = self.sizes + counts
        if self.sizes.max() > self.capacity:
            self._enlarge(int(self.sizes.max()))
        self.seen = self.seen[parent]
        self.seen[np.arange(len(tree)), slot] = True
        self.tree = tree
        attend = _Next(self, row, slot, int(counts.max()), int(self.sizes.max()))
        return self.model(**inputs(ids, depth, attend, self.device)).logits[0]  # type: ignore[no-any-return]  # the library has no types

    def _enlarge(self, least: int) -> None:
        more = max(least, self.capacity * 3 // 2) - self.capacity
        for store in (self.keys, self.values):
            for layer, tensor in store.items():
                store[layer] = torch.nn.functional.pad(tensor, (0, 0, 0, more))
        self.seen = np.pad(self.seen, ((0, 0), (0, more)))
        self.capacity += more

    def store(self, layer: int, key: torch.Tensor, value: torch.Tensor, at: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Keep keys and values ``(1, H_kv, S, D)`` of nodes at ``(tree, slot)``."""
        for store, new in ((self.keys, key), (self.values, value)):
            if layer not in store:
                shape = (len(self.sizes), new.shape[1], self.capacity, new.shape[3])
                dtype = new.dtype
                if torch.is_autocast_enabled(new.device.type):
                    dtype = torch.get_autocast_dtype(new.device.type)  # once, not at every step
                store[layer] = torch.zeros(shape, dtype=dtype, device=new.device)
            store[layer][at[0], :, at[1]] = new[0].transpose(0, 1).to(store[layer].dtype)


class _First(PackedAttention):
    """The nodes that trees start with."""

    def __init__(self, forest: Forest, whole: Tree) -> None:
        super().__init__(whole, forest.device, flex=False)
        self.forest = forest
        sizes = np.diff(whole.roots)
        tree = np.repeat(np.arange(len(sizes)), sizes)
        slot = np.arange(len(tree)) - whole.roots[:-1][tree]
        self.at = (torch.from_numpy(tree).to(forest.device), torch.from_numpy(slot).to(forest.device))

    def attend(
        self, layer: AttentionLayer, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        self.forest.store(layer.layer_idx, key, value, self.at)
        return super().attend(layer, query, key, value)


class _Next:
    """Added nodes: each tree's are one batch row, padded to the most that any tree was given."""

    def __init__(self, forest: Forest, row: Ints, slot: Ints, width: int, length: int) -> None:
        device = forest.device
        self.forest, self.width, self.length = forest, width, length
        self.tree, self.row = torch.from_numpy(forest.tree).to(device), torch.from_numpy(row).to(device)
        self.slot = torch.from_numpy(slot).to(device)
        self.seen = torch.from_numpy(forest.seen[:, :length]).to(device)
        self.biases: dict[tuple[int | None, int], torch.Tensor] = {}

    def _bias_like(self, query: torch.Tensor, window: int | None, groups: int) -> torch.Tensor:
        """``(T, 1, groups * Q, length)`` additive mask; padding sees the first slot, since softmax needs one."""
        if (window, groups) not in self.biases:
            seen = self.seen
            if window is not None:  # the slots of a node's past are ascending, so the last ones seen are the nearest
                place = seen.cumsum(1)
                seen = seen & (place > place[:, -1:] - window)
            hidden = torch.ones(
                (len(self.forest.sizes), self.width, self.length), dtype=torch.bool, device=query.device
            )
            hidden[:, :, 0] = False
            hidden[self.tree, self.row] = ~seen
            bias = torch.zeros(hidden.shape, dtype=query.dtype, device=query.device)
            self.biases[window, groups] = bias.masked_fill_(hidden, float("-inf")).repeat(1, groups, 1)[:, None]
        return self.biases[window, groups]

    def attend(
        self, layer: AttentionLayer, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        forest, index = self.forest, layer.layer_idx
        forest.store(index, key, value, (self.tree, self.slot))
        keys, values = (s[index][:, :, : self.length] for s in (forest.keys, forest.values))
        trees, shared, dim = keys.shape[0], keys.shape[1], keys.shape[3]
        heads = query.shape[1]
        groups = heads // shared
        window = None if layer.sliding_window is None or layer.sliding_window >= self.length else layer.sliding_window
        padded = keys.new_zeros((trees, self.width, heads, dim))
        padded[self.tree, self.row] = query[0].transpose(0, 1).to(keys.dtype)
        each = padded.transpose(1, 2)
        if layer.plain:
            # Heads that share keys stand side by side as more queries, so that no key is repeated.
            folded = each.reshape(trees, shared, groups * self.width, dim)
            bias = self._bias_like(keys, window, groups)
            out = scaled_dot_product_attention(folded, keys, values, bias, scale=layer.scaling)
            out = out.view(trees, heads, self.width, values.shape[3])
        else:
            out = layer.compute(each, keys, values, self._bias_like(keys, window, 1), causal=False)
        return out.transpose(1, 2)[self.tree, self.row][None]
