"""Shards of a step: one of them done, all of them put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from selfemo.context import Context, Published
from selfemo.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """One of several shares of a step's work.

    Attributes:
        number: Counted from 0.
        count: Of how many.
    """

    number: int = 0
    count: int = 1

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """Its items: a run of them, so that all shards one after the other are the whole in its order."""
        return items[self.start(items) : len(items) * (self.number + 1) // self.count]

    def start(self, items: Sequence[Any]) -> int:
        """Index of its first item."""
        return len(items) * self.number // self.count


def shard_of(
    context: Context,
    name: str,
    together: str,
    round: int,
    inputs: Mapping[str, Any],
    own: Shard,
    work: Callable[[Path], Mapping[str, Any]],
) -> Published:
    """Do one shard of a step once; if the whole is there, from however many shards, that is the result.

    Args:
        context: Of the run.
        name: Of the step.
        together: Name of the step that makes one artifact of all shards.
        round: Number of the round.
        inputs: Of both.
        own: Which shard.
        work: Given an empty directory for the files to publish, does the shard and returns its small result.
    """
    if done := context.done(together, round, inputs):
        return done
    place = {"shard": own.number, "of": own.count}
    return context.step(name, round, {**inputs, **place}, lambda out, _: {**work(out), **place})


def whole(context: Context, shards: Sequence[str]) -> tuple[list[Path], dict[str, float]]:
    """The files of all shards of a step, in their order, however they are given.

    Args:
        context: Of the run.
        shards: Their URIs.

    Returns:
        Directories in order, and what the shards took together: ``shard_seconds``, ``shard_accelerator_seconds``.

    Raises:
        UserError: If these are not all shards of one step.
    """
    found: dict[int, tuple[int, Path]] = {}
    took = {"seconds": 0.0, "accelerator_seconds": 0.0}
    for uri in shards:
        manifest = context.store.manifest(uri)
        folder = context.store.fetch(uri, manifest)
        assert manifest  # it was just fetched
        for what in took:
            took[what] += float(manifest.result.get(what, 0.0))  # what an older version published has no accelerators
        found[manifest.result.get("shard", -1)] = (manifest.result.get("of", -1), folder)
    if sorted(found) != list(range(len(shards))) or {count for count, _ in found.values()} != {len(shards)}:
        raise UserError(
            "these are not all shards of one step",
            where=", ".join(shards),
            fix="give every shard once; all of them with the same launch.shards",
        )
    return [found[number][1] for number in range(len(shards))], {
        f"shard_{what}": seconds for what, seconds in took.items()
    }
