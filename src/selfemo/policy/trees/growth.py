"""One request as a tree that grows: the nodes that its prompts and answers need, and the samples that stand on it.

A node's slot is its number: first the nodes of the tree that the request is from the start, in preorder, then those
that are drawn. Defined here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from selfemo.policy.stepping import LikelihoodAsk, SampleAsk
from selfemo.policy.trees.slabs import Place
from selfemo.policy.trees.tree import Ints, TokenIds, grow

Bools = NDArray[np.bool_]


class Growth:
    """What all requests have: nodes that wait to be computed, and those that are.

    Args:
        sequences: That the tree is made of.
        main: Index of the sequence whose start may be there already, and is kept for later.
        needed: Tokens of that sequence after which something is asked for: they are computed again.
    """

    ask: SampleAsk | LikelihoodAsk

    def __init__(self, sequences: Sequence[TokenIds], main: int, needed: int) -> None:
        # With any shared start joined: one tree.
        tree = grow(sequences, 0.0)
        self.ids, self.depth, self.end, self.paths = tree.ids, tree.depth, tree.end, tree.paths
        self.path = tree.paths[main][:needed]
        """Nodes that may be there already, but the last; and are kept."""
        self.main: Ints = tree.ids[self.path]
        """Their tokens."""
        self.computed = np.zeros(len(tree.ids), dtype=bool)
        self.pending: Ints = np.arange(len(tree.ids))
        self.size = len(tree.ids)
        self.reused = 0
        self.place: Place

    @property
    def most(self) -> int:
        """Tokens that it may come to hold."""
        return len(self.ids)

    @property
    def reusable(self) -> int:
        """Tokens of the main path that may be taken from elsewhere: nothing is asked for at any of them."""
        return len(self.path) - 1

    def reuse(self, count: int) -> Ints:
        """Say that the first tokens of the main path need not be computed; their slots."""
        slots = self.path[:count]
        self.computed[slots] = True
        self.pending = np.flatnonzero(~self.computed)
        self.reused = count
        return slots

    @property
    def ready(self) -> int:
        """Tokens of the main path that are computed."""
        there = self.computed[self.path]
        return len(there) if there.all() else int(np.argmin(there))

    def trunk(self) -> tuple[Ints, Ints]:
        """Tokens and slots to keep."""
        return self.main, self.path

    def take(self, most: int) -> Ints:
        """Nodes to compute next, in preorder: what they see is computed before or with them."""
        nodes, self.pending = self.pending[:most], self.pending[most:]
        self.computed[nodes] = True
        return nodes

    def sees(self, nodes: Ints, length: int) -> Bools:
        """``(S, length)`` what nodes of the tree see."""
        place = np.arange(length)
        return np.asarray((place[None] <= nodes[:, None]) & (nodes[:, None] < self.end[place][None]))


@dataclass(eq=False)
class Live:
    """A node that samples stand on."""

    node: int
    token: int
    depth: int
    slots: list[int] = field(default_factory=list)
    """Of drawn nodes, those it sees, itself included; of the prompt it sees all."""


class SampleGrowth(Growth):
    """Samples of one prompt, which diverge only where they draw different tokens.

    Args:
        ask: What is asked.
    """

    ask: SampleAsk

    def __init__(self, ask: SampleAsk) -> None:
        super().__init__([ask.prompt], 0, len(ask.prompt))
        self.ask = ask
        how = ask.sampling
        self.uniform = np.random.default_rng(ask.seed).random((how.n, how.max_tokens))
        self.rows: Ints = np.arange(how.n)
        """Samples that go on."""
        self.at: Ints = np.zeros(how.n, dtype=np.int64)
        """For each of them the live node that it stands on."""
        self.live: list[Live] = []
        self.drawn = 0
        self.first: list[tuple[int, int]] = []
        """Nodes of the first sample, and their tokens."""

    @property
    def most(self) -> int:
        return len(self.ids) + self.ask.sampling.n * self.ask.sampling.max_tokens

    @property
    def prompt(self) -> int:
        """Tokens of the prompt."""
        return len(self.ids)

    def start(self) -> None:
        """The prompt is computed: all samples stand on its last node."""
        self.live = [Live(self.prompt - 1, int(self.ids[-1]), self.prompt - 1)]

    def go_on(self, tokens: Ints, ends: Ints) -> None:
        """Leave out samples that have ended, and grow a child for each token that is drawn on a node.

        Args:
            tokens: One for each of the rows.
            ends: Tokens that end a sample.
        """
        self.drawn += 1
        goes = ~np.isin(tokens, ends) if self.drawn < self.ask.sampling.max_tokens else np.zeros(len(tokens), bool)
        self.rows, at, tokens = self.rows[goes], self.at[goes], tokens[goes]
        if not len(self.rows):
            self.live = []
            return
        (parents, ids), self.at = np.unique(np.stack([at, tokens]), axis=1, return_inverse=True)
        children = []
        for slot, (parent, token) in enumerate(zip(parents.tolist(), ids.tolist(), strict=True), start=self.size):
            old = self.live[parent]
            children.append(Live(slot, token, old.depth + 1, [*old.slots, slot]))
        self.live = children
        self.size += len(children)
        if self.rows[0] == 0:
            self.first.append((children[int(self.at[0])].node, int(ids[self.at[0]])))

    def drop(self, index: int | None) -> None:
        """Let go of a sample, or of all."""
        goes = self.rows != index if index is not None else np.zeros(len(self.rows), dtype=bool)
        self.rows, self.at = self.rows[goes], self.at[goes]
        used = np.unique(self.at)
        self.live = [self.live[i] for i in used.tolist()] if self.live else []
        self.at = np.searchsorted(used, self.at)

    def sees_of_live(self, length: int) -> Bools | None:
        """``(S, length)`` what the live nodes see; None for one that sees all there is."""
        if len(self.live) == 1 and len(self.live[0].slots) == self.size - self.prompt:
            return None
        seen = np.zeros((len(self.live), length), dtype=bool)
        seen[:, : self.prompt] = True
        for row, live in enumerate(self.live):
            seen[row, live.slots] = True
        return seen

    def trunk(self) -> tuple[Ints, Ints]:
        """Tokens and slots to keep: the prompt, and the first sample's."""
        coming = {live.node for live in self.live}  # drawn, but not computed yet
        nodes, tokens = (
            zip(*there, strict=True) if (there := [x for x in self.first if x[0] not in coming]) else ((), ())
        )
        slots = np.concatenate([self.path, np.array(nodes, dtype=np.int64)])
        return np.concatenate([self.main, np.array(tokens, dtype=np.int64)]), slots


class LikelihoodGrowth(Growth):
    """Answers to some prompts that share their start.

    Args:
        ask: What is asked.
        prompts: Which of its prompts; the longest is the main one.
    """

    ask: LikelihoodAsk

    def __init__(self, ask: LikelihoodAsk, prompts: Sequence[int]) -> None:
        rows = [(i, answer) for i in prompts for answer in ask.answers[i]]
        longest = max(range(len(rows)), key=lambda r: len(ask.prompts[rows[r][0]]))
        super().__init__([[*ask.prompts[i], *a] for i, a in rows], longest, len(ask.prompts[rows[longest][0]]))
        self.ask, self.prompts = ask, list(prompts)
        counts = [len(a) for _, a in rows]
        self.owner: Ints = np.repeat(np.arange(len(rows)), counts)
        starts = [len(ask.prompts[i]) for i, _ in rows]
        ends = [path[s:] for path, s in zip(self.paths, starts, strict=True)]
        befores = [path[s - 1 : -1] for path, s in zip(self.paths, starts, strict=True)]
        self.before: Ints = np.concatenate(befores)
        """For each token of each answer, the node it follows."""
        self.tokens: Ints = self.ids[np.concatenate(ends)]
        # Nothing follows an answer's last token: it is asked for, and need not be computed.
        self.computed[:] = True
        for path in self.paths:
            self.computed[path[:-1]] = False
        self.pending = np.flatnonzero(~self.computed)
        self.log_likelihoods = np.zeros(len(rows))

    @property
    def reusable(self) -> int:
        return int(np.argmax(np.isin(self.path, self.before)))

    def results(self) -> list[tuple[int, tuple[float, ...]]]:
        """The log-likelihoods by prompt."""
        found, start = [], 0
        for index in self.prompts:
            count = len(self.ask.answers[index])
            found.append((index, tuple(self.log_likelihoods[start : start + count].tolist())))
            start += count
        return found
