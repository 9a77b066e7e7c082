"""A packed tree's attention some rows at a time, each with the keys that any of them sees.

In preorder a branch that has ended is seen by nothing after it: of a dialogue with all answers to every turn, later
rows see the turns and not the answers. A mask of all nodes by all computes every pair and throws most of them away; in
pieces a quarter is left. Defined here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from selfemo.policy.trees.tree import Tree

ROWS = 64
"""Of a piece on a CPU; 32 to 256 took about as long. A GPU takes whole trees: more pieces are more launches."""


@dataclass(frozen=True)
class AttentionPiece:
    """Rows that attend together.

    Attributes:
        start: Their first node.
        stop: One past their last.
        first: The first node of their tree.
        keys: ``(K,)`` nodes that any of them sees; None for all from ``first`` to ``stop``.
        bias: ``(Q, K)`` additive mask; None for a plain sequence from its beginning, whose mask is causal.
    """

    start: int
    stop: int
    first: int
    keys: torch.Tensor | None
    bias: torch.Tensor | None

    def seen(self, nodes: torch.Tensor) -> torch.Tensor:
        """The keys or values of a piece, ``(1, H, K, D)``, of those of all nodes, ``(1, H, S, D)``."""
        return nodes[:, :, self.first : self.stop] if self.keys is None else nodes.index_select(2, self.keys)


def pieces(tree: Tree, window: int | None, device: torch.device, dtype: torch.dtype) -> Iterator[AttentionPiece]:
    """Cut a tree's rows into pieces.

    Args:
        tree: Of the packed sequence.
        window: Tokens that a node sees of its own past, itself included; None is all of it.
        device: To put keys and masks on.
        dtype: Of the masks.
    """
    for first, end in tree.spans:
        chain = bool((tree.end[first:end] == end).all())
        if chain and (window is None or end - first <= window):
            yield AttentionPiece(first, end, first, None, None)
            continue
        size = ROWS if device.type == "cpu" else end - first
        for start in range(first, end, size):
            stop = min(start + size, end)
            rows = np.arange(start, stop)
            # Of what stands before a row it sees what has not ended; what stands in the piece has not.
            wanted = tree.end[first:stop] > start
            if window is not None:
                wanted &= tree.depth[first:stop] > tree.depth[rows].min() - window
            keys = first + np.flatnonzero(wanted)
            hidden = (keys[None] > rows[:, None]) | (rows[:, None] >= tree.end[keys][None])
            if window is not None:
                hidden |= tree.depth[rows][:, None] - tree.depth[keys][None] >= window
            bias = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(torch.from_numpy(hidden), float("-inf"))
            every = None if len(keys) == stop - first else torch.from_numpy(keys).to(device)
            yield AttentionPiece(start, stop, first, every, bias.to(device))
