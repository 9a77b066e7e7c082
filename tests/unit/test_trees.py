"""Sequences as trees of tokens: what they share stands there once, and a token sees its own past alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from selfemo.policy.trees.tree import cut, grow, join, shared_prefix, split

tokens = st.lists(st.integers(0, 3), min_size=1, max_size=12)
forests = st.lists(tokens, min_size=1, max_size=12)


@given(forests, st.sampled_from([0.0, 0.5, 1.0]))
def test_a_tree_holds_every_sequence_and_a_node_sees_its_own_past_alone(
    sequences: list[list[int]], least: float
) -> None:
    tree = grow(sequences, least)
    for sequence, path in zip(sequences, tree.paths, strict=True):
        assert tree.ids[path].tolist() == sequence
        assert tree.depth[path].tolist() == list(range(len(sequence)))
        last = path[-1]
        seen = [k for k in range(len(tree.ids)) if k <= last < tree.end[k]]
        assert seen == path.tolist()
    assert {int(n) for path in tree.paths for n in path} == set(range(len(tree.ids)))
    for start, stop in tree.spans:
        assert tree.depth[start] == 0
        assert (tree.end[start:stop] <= stop).all()  # nothing outside sees into it


@given(forests)
def test_with_any_shared_start_joined_a_distinct_prefix_stands_there_once(sequences: list[list[int]]) -> None:
    prefixes = {tuple(s[: i + 1]) for s in sequences for i in range(len(s))}
    assert len(grow(sequences, 0).ids) == len(prefixes)


@given(forests, forests)
def test_joined_trees_see_nothing_of_each_other(a: list[list[int]], b: list[list[int]]) -> None:
    one, two = grow(a), grow(b)
    whole = join([one, two])
    for sequence, path in zip(a + b, whole.paths, strict=True):
        assert whole.ids[path].tolist() == sequence
        assert [k for k in range(len(whole.ids)) if k <= path[-1] < whole.end[k]] == path.tolist()
    assert whole.spans == [(0, len(one.ids)), (len(one.ids), len(whole.ids))]


@given(forests, st.integers(1, 40), st.integers(1, 15))
def test_packs_hold_every_sequence_once_and_keep_to_the_budget(
    sequences: list[list[int]], budget: int, parts: int
) -> None:
    packs = split(sequences, budget)
    for found in (packs, cut(sequences, parts)):
        assert sorted(i for p in found for i in p) == list(range(len(sequences)))
        assert max(map(len, found)) - min(map(len, found)) <= 1
    assert len(cut(sequences, parts)) == parts
    assert cut(sequences, len(packs)) == packs
    sizes = [len(grow([sequences[i] for i in pack], 0).ids) for pack in packs]
    assert len(packs) == len(sequences) or max(sizes) <= budget


def test_shared_prefix() -> None:
    def of(a: list[int], b: list[int]) -> int:
        return shared_prefix(np.array(a, dtype=np.int64), np.array(b, dtype=np.int64))

    assert of([1, 2, 3], [1, 2, 4]) == 2
    assert of([], [1]) == 0
    assert of([1], [1, 2]) == 1
