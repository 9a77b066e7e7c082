"""Trunks that are kept: keys and values of prompts and answers that are done, for the requests that go on from them.

The next turn of a conversation shares all of the last one's prompt, and often its answer: only what is new is computed.
What was used longest ago goes first. Defined here.
"""

from __future__ import annotations

from dataclasses import dataclass

from selfemo.policy.trees.slabs import Cached
from selfemo.policy.trees.tree import Ints, shared_prefix

OWN = 40
"""A trunk goes when another is kept that lacks fewer tokens of it than these: a question, or the end of a turn."""


@dataclass(eq=False)
class Trunk:
    """A sequence whose keys and values are kept.

    Attributes:
        ids: ``(S,)`` its tokens.
        cached: Of each of them.
        space: Whose it is.
    """

    ids: Ints
    cached: Cached
    space: str


class Trunks:
    """Those of a model, the one that was used last at the end."""

    def __init__(self) -> None:
        self._kept: dict[Trunk, None] = {}
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._kept)

    def longest(self, ids: Ints, space: str) -> tuple[Trunk | None, int]:
        """The trunk that shares most with a sequence, and how many tokens that is."""
        found, most = None, 0
        for trunk in self._kept:
            if trunk.space == space and (shared := shared_prefix(trunk.ids, ids)) > most:
                found, most = trunk, shared
        return found, most

    def use(self, trunk: Trunk) -> None:
        """Say that a trunk was of use."""
        if trunk in self._kept:
            del self._kept[trunk]
            self._kept[trunk] = None

    def keep(self, trunk: Trunk, most: int) -> None:
        """Keep a trunk, in place of those that it has nearly all of, and no more than so many tokens in all."""
        for other in list(self._kept):
            if other.space == trunk.space and len(other.ids) - shared_prefix(other.ids, trunk.ids) < OWN:
                self._drop(other)
        self._kept[trunk] = None
        self.tokens += len(trunk.ids)
        self.shrink(most)

    def shrink(self, most: int) -> None:
        """Let go of trunks until no more than so many tokens are kept."""
        while self._kept and self.tokens > most:
            self._drop(next(iter(self._kept)))

    def _drop(self, trunk: Trunk) -> None:
        del self._kept[trunk]
        self.tokens -= len(trunk.ids)
