"""How large the Workflow of a run gets: KFP keeps a run as one object, and etcd and Argo take no more than a megabyte.

Argo holds in it the templates that KFP compiles a form to, and the state of every node, compressed; KFP's Argo does not
offload it to a database. Past the limit a run stops half-way with "workflow is longer than maximum size", so it is not
begun. The numbers are those of a model of KFP 2.17.0's compiler: spec as JSON, node status gzipped.
"""

from __future__ import annotations

from selfemo.config import Config
from selfemo.errors import UserError

LIMIT = 1024
"""Kilobytes that Argo lets a workflow have, so that etcd takes it."""
BASE, ROUND, SHARD = 265.0, 22.0, 5.75
"""Kilobytes of a run without rounds, of a round, and of each of its shards."""
MARGIN = 0.95
"""Of the limit: messages of failed pods, and retries, come on top."""


def kilobytes(rounds: int, shards: int, room: int = 0) -> float:
    """Size of a run's Workflow at its end, in KB, without retries.

    Args:
        rounds: That are played.
        shards: Of each.
        room: Rounds that the form was compiled for, if more: those too have templates and nodes.
    """
    return BASE + max(rounds, room) * ROUND + rounds * SHARD * shards


def fitting(shards: int, most: int, room: int = 0) -> int:
    """Rounds of so many shards that a cluster takes; at most `most`, in a form with `room` for more."""
    return next(n for n in range(most, -1, -1) if kilobytes(n, shards, room) <= MARGIN * LIMIT)


def check(config: Config, room: int = 0) -> str:
    """The size that a run will have, in words.

    Args:
        config: Of the run, as it is started.
        room: Rounds that the form was compiled for; 0 is those that are played.

    Raises:
        UserError: If no cluster takes it; says what fits.
    """
    rounds, shards = config.loop.rounds, config.launch.shards
    size = kilobytes(rounds, shards, room)
    form = f" in a form for {room}" if room > rounds else ""
    if size > MARGIN * LIMIT:
        narrower = int((MARGIN * LIMIT - kilobytes(rounds, 0, room)) / (rounds * SHARD))
        shorter = fitting(shards, rounds, room)
        raise UserError(
            f"{rounds} rounds of {shards} shards{form} make a Workflow of some {size:.0f} KB, and a cluster takes"
            f" {LIMIT}, of which {LIMIT - MARGIN * LIMIT:.0f} are kept for retries",
            where="loop.rounds, launch.shards",
            fix=f"set launch.shards to {narrower} or fewer, or loop.rounds to {shorter} or fewer",
        )
    return f"the Workflow grows to some {size:.0f} of {LIMIT} KB with rounds: {rounds}{form}, shards: {shards}"
