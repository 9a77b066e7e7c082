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


def kilobytes(rounds: int, shards: int) -> float:
    """Size of a run's Workflow at its end, in KB, without retries."""
    return BASE + rounds * (ROUND + SHARD * shards)


def check(config: Config) -> str:
    """The size that a run will have, in words.

    Raises:
        UserError: If no cluster takes it; says what fits.
    """
    rounds, shards = config.loop.rounds, config.launch.shards
    size = kilobytes(rounds, shards)
    if size > MARGIN * LIMIT:
        most = int(((MARGIN * LIMIT - BASE) / rounds - ROUND) / SHARD)
        raise UserError(
            f"{rounds} rounds of {shards} shards make a Workflow of some {size:.0f} KB, and a cluster takes {LIMIT}",
            where="loop.rounds, launch.shards",
            fix=f"set launch.shards to {most} or fewer, or play fewer rounds",
        )
    return f"the Workflow grows to some {size:.0f} of {LIMIT} KB with rounds: {rounds}, shards: {shards}"
