"""Shards of a step brought together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selfemo.context import Context
from selfemo.errors import UserError


def whole(context: Context, parts: Sequence[str]) -> tuple[list[Path], float]:
    """The files of all shards of a step, in their order, however they are given.

    Args:
        context: Of the run.
        parts: Their URIs.

    Returns:
        Directories in order, and the seconds that the shards took together.

    Raises:
        UserError: If these are not all shards of one step.
    """
    found: dict[int, tuple[int, Path]] = {}
    seconds = 0.0
    for uri in parts:
        folder = context.store.fetch(uri)
        manifest = context.store.manifest(uri)
        assert manifest  # it was just fetched
        seconds += float(manifest.result["seconds"])
        found[manifest.result.get("shard", -1)] = (manifest.result.get("of", -1), folder)
    if sorted(found) != list(range(len(parts))) or {count for count, _ in found.values()} != {len(parts)}:
        raise UserError(
            "these are not all shards of one step", where=", ".join(parts),
            fix="give every shard once; all of them with the same launch.shards",
        )  # fmt: skip
    return [found[number][1] for number in range(len(parts))], seconds
