"""Requests as trees that grow side by side.

Every step is one pass over a new token of each, and over what is left of new prompts, some tokens at a time. What a
request shares with another, or with one that is done, is not computed again: its keys and values are copied, which
takes a hundredth of the time. Defined here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from selfemo.policy.compute import free_memory, tokens_held
from selfemo.policy.stepping import Ask, Event, LikelihoodAsk, LikelihoodsFound, SampleAsk, TokenCounts
from selfemo.policy.trees.attention import inputs
from selfemo.policy.trees.draws import Draws
from selfemo.policy.trees.growth import Growth, LikelihoodGrowth, SampleGrowth
from selfemo.policy.trees.passes import NewNodes, Pass, Shapes
from selfemo.policy.trees.sampler import TransformersEngine, batches
from selfemo.policy.trees.slabs import Slabs
from selfemo.policy.trees.tree import Ints, shared_prefix
from selfemo.policy.trees.trunks import Trunk, Trunks

TOKENS = 32_000
"""Tokens whose keys and values are held where there is memory: 0.7 GB in bfloat16 for SmolLM2-135M."""
SHARE = 8
"""Of the free memory, they take at most one part in so many: places are larger than what stands there."""
PASS_TOKENS = 256
"""New tokens of prompts in a step, so that those who wait for their next token wait some tenths of a second at most."""
ALONE_TOKENS = 1_024
"""The same where nobody waits for a next token."""
SCORE_TOKENS = 4_096
"""Nodes of one tree of prompts and answers: its mask is of all nodes by all."""
WORTH = 16
"""Tokens that are worth being copied, or waited for, rather than computed."""


class CannotStep(ValueError):
    """A model does what passes over trees that grow side by side do not compute; says what."""


class TreeStepper:
    """See :class:`selfemo.policy.stepping.Stepper`.

    Args:
        engine: Whose model samples and scores; it is used by nobody else.
        together: Most trees that are grown at the same time.
        tokens: Most tokens that are held; None is as many as :data:`TOKENS` and the memory allow.

    Raises:
        CannotStep: If its model has layers of another kind.
    """

    tops = True

    def __init__(self, engine: TransformersEngine, together: int, tokens: int | None = None) -> None:
        self.model, self.body, self.ends = engine.model.eval(), engine.whole.base_model, engine.ends
        self.together = together
        self.device = engine.model.device
        shapes = Shapes()
        one = np.zeros(1, dtype=np.int64)
        with torch.no_grad():
            self.body(**inputs(one, one, shapes, self.device))
        if shapes.odd or len(shapes.layers) != self.body.config.get_text_config(decoder=True).num_hidden_layers:
            raise CannotStep(shapes.odd or "not every layer attends")
        self.slabs = Slabs(shapes.layers, self.device)
        self.tokens = tokens if tokens is not None else self._tokens()
        self.trunks, self.figures = Trunks(), TokenCounts()
        self._waiting: list[Growth] = []
        self._growing: list[Growth] = []
        self._likelihoods: dict[LikelihoodAsk, dict[int, tuple[float, ...]]] = {}

    def _tokens(self) -> int:
        node = sum(2 * x.heads * x.width * x.dtype.itemsize for x in self.slabs.layers.values())
        return tokens_held(TOKENS, SHARE, free_memory(self.device), node)

    def add(self, ask: SampleAsk | LikelihoodAsk) -> None:
        if isinstance(ask, SampleAsk):
            self._waiting.append(SampleGrowth(ask))
            return
        self._likelihoods[ask] = {}
        room = [sum(map(len, some)) for some in ask.answers]
        for batch in batches(ask.prompts, room, SCORE_TOKENS):
            self._waiting += [LikelihoodGrowth(ask, tree) for tree in batch]

    def cancel(self, ask: Ask, index: int | None = None) -> None:
        if index is None:
            self._waiting = [g for g in self._waiting if g.ask is not ask]
        for growth in [g for g in self._growing if g.ask is ask]:
            if isinstance(growth, SampleGrowth) and index is not None:
                growth.drop(index)
            if index is None or (isinstance(growth, SampleGrowth) and not len(growth.rows)):
                self._end(growth)
        if index is None and isinstance(ask, LikelihoodAsk):
            self._likelihoods.pop(ask, None)

    def begun(self) -> Sequence[Ask]:
        return list(dict.fromkeys(g.ask for g in self._growing))

    def idle(self) -> bool:
        return not self._growing and not self._waiting

    def reset(self) -> None:
        self._waiting, self._growing, self._likelihoods = [], [], {}
        self.trunks = Trunks()
        self.slabs = Slabs(self.slabs.layers, self.device)

    def step(self) -> list[Event]:
        self._begin()
        self.figures.rows, self.figures.kept = len(self._growing), self.trunks.tokens
        samples = [g for g in self._growing if isinstance(g, SampleGrowth) and g.live]
        parts = [self._live(sampling) for sampling in samples]
        asked: list[tuple[Growth, Ints]] = [(sampling, np.arange(len(sampling.live))) for sampling in samples]
        left = PASS_TOKENS if samples else ALONE_TOKENS
        for growth in self._growing:
            if left > 0 and len(growth.pending):
                nodes = growth.take(left)
                left -= len(nodes)
                seen = growth.sees(nodes, int(nodes.max()) + 1)
                parts.append(NewNodes(growth.place, growth.ids[nodes], growth.depth[nodes], nodes, seen))
                asked.append((growth, nodes))
        if not parts:
            return []
        with torch.no_grad():
            return self._computed(parts, asked)

    def _live(self, growth: SampleGrowth) -> NewNodes:
        growth.place = self.slabs.larger(growth.place, growth.size)
        ids, depth, slots = (
            np.array([getattr(x, name) for x in growth.live], dtype=np.int64) for name in ("token", "depth", "node")
        )
        return NewNodes(growth.place, ids, depth, slots, growth.sees_of_live(int(slots.max()) + 1))

    def _computed(self, parts: list[NewNodes], asked: list[tuple[Growth, Ints]]) -> list[Event]:
        """Run the pass, and give each request the distributions that it asked for."""
        ids, depth = np.concatenate([p.ids for p in parts]), np.concatenate([p.depth for p in parts])
        self.figures.computed += len(ids)
        draws = Draws(self.ends)
        asked_likelihoods: list[tuple[LikelihoodGrowth, Ints, int]] = []
        keep: list[Ints] = []
        start = count = 0
        for growth, nodes in asked:
            if isinstance(growth, LikelihoodGrowth):
                wanted = np.flatnonzero(np.isin(nodes, growth.before))
                asked_likelihoods.append((growth, nodes[wanted], count))
            else:
                assert isinstance(growth, SampleGrowth)
                if not growth.live and not len(growth.pending):
                    growth.start()
                    wanted = np.array([len(nodes) - 1])
                else:
                    wanted = np.arange(len(nodes)) if growth.live else np.arange(0)
                if len(wanted):
                    draws.add(growth, count)
            keep.append(start + wanted)
            start, count = start + len(nodes), count + len(wanted)
        rows = torch.from_numpy(np.concatenate(keep)).to(self.device)
        fed = inputs(ids, depth, Pass(parts, self.device), self.device)
        if not count:
            self.body(**fed)  # nothing is asked for yet
            return []
        logits = self.model(**fed, logits_to_keep=rows).logits[0]
        events: list[Event] = list(draws.made(logits))
        self.figures.drawn += len(events)
        for likelihoods, nodes, first in asked_likelihoods:
            self._add(likelihoods, nodes, logits[first : first + len(nodes)])
            if not len(likelihoods.pending):
                events += self._tree_done(likelihoods)
        for growth in draws.growths:
            if not len(growth.rows):
                self._end(growth)
        return events

    def _add(self, growth: LikelihoodGrowth, nodes: Ints, logits: torch.Tensor) -> None:
        which = np.flatnonzero(np.isin(growth.before, nodes))
        row = torch.from_numpy(np.searchsorted(nodes, growth.before[which])).to(self.device)
        tokens = torch.from_numpy(growth.tokens[which]).to(self.device)
        exact = logits.float()
        chosen = exact[row, tokens] - exact.logsumexp(-1)[row]
        np.add.at(growth.log_likelihoods, growth.owner[which], chosen.double().cpu().numpy())

    def _tree_done(self, growth: LikelihoodGrowth) -> list[Event]:
        """A tree of an ask is done; the ask is, when all are."""
        self._end(growth)
        found = self._likelihoods[growth.ask]
        found.update(growth.results())
        if len(found) < len(growth.ask.prompts):
            return []
        del self._likelihoods[growth.ask]
        return [LikelihoodsFound(growth.ask, tuple(found[i] for i in range(len(found))))]

    def _end(self, growth: Growth) -> None:
        """Keep what later requests may go on from, and give the place back."""
        self._growing.remove(growth)
        ids, slots = growth.trunk()
        if growth.ready == len(growth.path) and len(ids) <= self._free():
            cached = self.slabs.read(growth.place, slots)
            self.trunks.keep(Trunk(ids, cached, growth.ask.space), self._free())
        self.slabs.free(growth.place)

    def _free(self) -> int:
        """Tokens that may be kept, beside those that requests at work may come to need."""
        return self.tokens - sum(g.most for g in self._growing)

    def _begin(self) -> None:
        """Begin requests that wait, oldest first, as far as there is room."""
        for growth in list(self._waiting):
            if self._growing and (len(self._growing) >= self.together or growth.most > self._free()):
                break
            source, shared = self._source(growth)
            if shared < 0:  # another request computes what this one begins with
                continue
            self._waiting.remove(growth)
            growth.place = self.slabs.take(growth.size)
            if isinstance(source, Trunk):
                slots = growth.reuse(shared)
                self.slabs.write(growth.place, slots, {i: x[:, :, :shared] for i, x in source.cached.items()})
                self.trunks.use(source)
            elif source is not None:
                cached = self.slabs.read(source.place, source.path[:shared])
                self.slabs.write(growth.place, growth.reuse(shared), cached)
            self._growing.append(growth)
            growth.ask.reused += growth.reused
            self.figures.reused += growth.reused
            self.trunks.shrink(max(0, self._free()))

    def _source(self, growth: Growth) -> tuple[Trunk | Growth | None, int]:
        """Where most of a request's start is, and how much; -1 if most of it is being computed."""
        found: Trunk | Growth | None
        found, most = self.trunks.longest(growth.main, growth.ask.space)
        coming = 0
        for other in self._growing:
            if other.ask.space == growth.ask.space:
                shared = shared_prefix(other.main, growth.main)
                coming = max(coming, shared)
                if (there := min(shared, other.ready)) > most:
                    found, most = other, there
        most = min(most, growth.reusable)
        if min(coming, growth.reusable) >= most + WORTH:
            return None, -1
        return (found, most) if most >= WORTH else (None, 0)
