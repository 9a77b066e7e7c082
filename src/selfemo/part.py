"""One of several shares of a step's work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """One of several shares of a step's work.

    Attributes:
        number: Counted from 0.
        count: Of how many.
    """

    number: int = 0
    count: int = 1

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """Its items: a run of them, so that all parts one after the other are the whole in its order."""
        return items[self.start(items) : len(items) * (self.number + 1) // self.count]

    def start(self, items: Sequence[Any]) -> int:
        """Index of its first item."""
        return len(items) * self.number // self.count
