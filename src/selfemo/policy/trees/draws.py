"""The next token of every sample of several requests, each as its own settings say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from selfemo.policy.engine import Sampling as How
from selfemo.policy.stepping import Drawn
from selfemo.policy.trees.growth import SampleGrowth
from selfemo.policy.trees.sampler import draw
from selfemo.policy.trees.tree import Ints


class Draws:
    """Those of one step.

    Args:
        ends: Tokens that end a sample.
    """

    def __init__(self, ends: Ints) -> None:
        self.ends = ends
        self.growths: list[SampleGrowth] = []
        self._first: list[int] = []

    def add(self, growth: SampleGrowth, row: int) -> None:
        """A request whose live nodes have their distributions from this row on."""
        self.growths.append(growth)
        self._first.append(row)

    def made(self, logits: torch.Tensor) -> Iterator[Drawn]:
        """Draw, and let the requests grow.

        Args:
            logits: ``(N, V)``.
        """
        alike: dict[How, list[int]] = {}
        for number, growth in enumerate(self.growths):
            alike.setdefault(replace(growth.ask.sampling, n=1, max_tokens=1), []).append(number)
        for how, numbers in alike.items():
            yield from self._of(numbers, how, logits)

    def _of(self, numbers: list[int], how: How, logits: torch.Tensor) -> Iterator[Drawn]:
        growths = [self.growths[i] for i in numbers]
        counts = [len(g.live) for g in growths]
        starts = np.cumsum([0, *counts])
        rows = np.concatenate([np.arange(self._first[i], self._first[i] + c) for i, c in zip(numbers, counts)])
        mine = logits[torch.from_numpy(rows).to(logits.device)].float()
        # Samples that stand on one node share its distribution: `at` is theirs, `place` their number on it.
        at = np.concatenate([g.at + s for g, s in zip(growths, starts, strict=False)])
        uniform = np.concatenate([g.uniform[g.rows, g.drawn] for g in growths])
        order = np.argsort(at, kind="stable")
        of_node = np.bincount(at, minlength=len(mine))
        place = np.empty(len(at), dtype=np.int64)
        place[order] = np.arange(len(at)) - np.repeat(np.cumsum(of_node) - of_node, of_node)
        laid = np.zeros((len(mine), int(of_node.max())))
        laid[at, place] = uniform
        drawn = draw(mine, torch.from_numpy(laid).to(mine.device), how)
        whole = mine.logsumexp(1, keepdim=True)
        values = (mine.gather(1, drawn) - whole).cpu().numpy()[at, place].tolist()
        tokens = drawn.cpu().numpy()[at, place]
        most = max(g.ask.top for g in growths)
        tops = (mine - whole).topk(most) if most else None
        start = 0
        for growth, first in zip(growths, starts.tolist(), strict=False):
            stop = start + len(growth.at)
            ends = np.isin(tokens[start:stop], self.ends)
            full = growth.drawn + 1 == growth.ask.sampling.max_tokens
            for i, (index, token, end) in enumerate(zip(growth.rows.tolist(), tokens[start:stop].tolist(), ends)):
                why = "stop" if end else "length" if full else ""
                best: tuple[tuple[int, float], ...] = ()
                if tops is not None and growth.ask.top:
                    node, count = first + int(growth.at[i]), growth.ask.top
                    best = tuple(zip(tops.indices[node, :count].tolist(), tops.values[node, :count].tolist()))
                yield Drawn(growth.ask, index, token, values[start + i], why, best)
            growth.go_on(tokens[start:stop], self.ends)
            start = stop
