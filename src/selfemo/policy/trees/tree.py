"""Token sequences as trees: what sequences share at their start stands there once.

All turns of a dialogue share its history, all completions of a group their prompt, and equal completions
everything. A tree lists every distinct prefix once, in preorder: a node is a token in its context, and a token
attends to its ancestors and itself. Defined here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

TokenIds = Sequence[int]
Ints = NDArray[np.int64]

LEAST_SHARED = 0.5
"""Sequences that share less than this part of the shorter one become separate trees: the head that all prompts
of a corpus share is cheaper to compute again than to attend to across dialogues."""


@dataclass(frozen=True)
class Tree:
    """Some sequences as one forest of ``S`` nodes in preorder.

    Attributes:
        ids: ``(S,)`` token of each node.
        depth: ``(S,)`` its position in its sequences.
        end: ``(S,)`` one past its last descendant: node ``q`` sees node ``k`` where ``k <= q < end[k]``.
        paths: For each sequence its nodes, first token to last.
        roots: ``(R + 1,)`` bounds of the separate trees.
    """

    ids: Ints
    depth: Ints
    end: Ints
    paths: tuple[Ints, ...]
    roots: Ints

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Each separate tree, as its first node and one past its last."""
        return list(zip(self.roots[:-1].tolist(), self.roots[1:].tolist(), strict=True))


def shared_prefix(a: Ints, b: Ints) -> int:
    """Length of the longest common prefix."""
    length = min(len(a), len(b))
    differ = a[:length] != b[:length]
    return int(differ.argmax()) if differ.any() else length


def grow(sequences: Sequence[TokenIds], least: float = LEAST_SHARED) -> Tree:
    """Build the tree of some sequences.

    Args:
        sequences: Each non-empty.
        least: See :data:`LEAST_SHARED`.
    """
    # Sorted, sequences with a common prefix are neighbours, and new nodes appear in preorder.
    order = neighbours_first(sequences)
    paths: list[Ints] = [np.empty(0, np.int64)] * len(sequences)
    ids, depth, roots = [], [], []
    ends: list[tuple[Ints, int]] = []
    count, last, path = 0, np.empty(0, np.int64), np.empty(0, np.int64)
    for index in order:
        current = np.asarray(sequences[index], dtype=np.int64)
        shared = shared_prefix(last, current)
        if shared < least * min(len(last), len(current)):
            shared = 0
        if shared == 0:
            roots.append(count)
        new = len(current) - shared
        ends.append((path[shared:], count))
        nodes = np.arange(count, count + new)
        path = np.concatenate([path[:shared], nodes])
        ids.append(current[shared:])
        depth.append(np.arange(shared, len(current)))
        paths[index], last, count = path, current, count + new
    end = np.full(count, count, dtype=np.int64)
    for nodes, at in ends:
        end[nodes] = at
    return Tree(np.concatenate(ids), np.concatenate(depth), end, tuple(paths), np.array([*roots, count]))


def split(sequences: Sequence[TokenIds], budget: int) -> list[list[int]]:
    """Cut sequences into as few packs as hold at most ``budget`` nodes each.

    Args:
        sequences: Each non-empty.
        budget: Most nodes of a pack's tree; a pack of one sequence may hold more.

    Returns:
        Indices of the sequences, by pack.
    """
    order = neighbours_first(sequences)
    sorted_ids = [np.asarray(sequences[i], dtype=np.int64) for i in order]
    lengths = np.array([len(ids) for ids in sorted_ids])
    shared = np.array([0, *(shared_prefix(a, b) for a, b in pairwise(sorted_ids))])
    before = np.concatenate([[0], np.cumsum(lengths - shared)])
    for parts in range(1, len(order)):
        bounds = _bounds(len(order), parts)
        starts, stops = bounds[:-1], bounds[1:]
        nodes = before[stops] - before[starts] + shared[starts]  # what the first shares with the pack before
        if (nodes <= budget).all():
            return _cut(order, bounds)
    return [[i] for i in order]


def cut(sequences: Sequence[TokenIds], parts: int) -> list[list[int]]:
    """Cut sequences into a given number of packs.

    Neighbours in a tree stay together, and packs are of equal numbers of sequences (to one), so that processes
    which hold equally many can exchange what they know of each pack. With more parts than sequences, the last
    are empty.

    Args:
        sequences: Each non-empty.
        parts: How many.
    """
    return _cut(neighbours_first(sequences), _bounds(len(sequences), parts))


def neighbours_first(sequences: Sequence[TokenIds]) -> list[int]:
    """Indices in the order in which sequences that share their start stand side by side."""
    return sorted(range(len(sequences)), key=lambda i: tuple(sequences[i]))


def _bounds(count: int, parts: int) -> Ints:
    """Where ``parts`` equal parts of ``count`` begin, and the end: the first ones are longer by one."""
    sizes = np.full(parts, count // parts) + (np.arange(parts) < count % parts)
    return np.concatenate([[0], np.cumsum(sizes)])


def _cut(order: list[int], bounds: Ints) -> list[list[int]]:
    return [order[start:stop] for start, stop in pairwise(bounds.tolist())]


def join(trees: Sequence[Tree]) -> Tree:
    """Several trees side by side as one; each is a span of it, and sees nothing of the others."""
    starts = np.cumsum([0, *(len(t.ids) for t in trees)])
    return Tree(
        np.concatenate([t.ids for t in trees]),
        np.concatenate([t.depth for t in trees]),
        np.concatenate([t.end + s for t, s in zip(trees, starts, strict=False)]),
        tuple(path + s for t, s in zip(trees, starts, strict=False) for path in t.paths),
        starts,
    )
