"""What keeps a run from ending well on any cluster, found before it is compiled or submitted."""

from __future__ import annotations

from pipelines import size
from selfemo.config import Config


def admit(config: Config, room: int = 0) -> str:
    """The size that a run will have, in words.

    Args:
        config: Of the run, as it is started.
        room: Rounds that its form was compiled for; 0 is those that are played.

    Raises:
        UserError: If its groups cannot be dealt out, labels are missing, or its Workflow would be too large.
    """
    config.check_dealt_out("train")
    config.spaces()  # a pod finds no label file
    return size.check(config, room)
