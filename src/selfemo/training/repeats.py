"""Replies to many prompts that say the same share one reward (method.md, SELF-GRPO). Defined here.

Without it a stock phrase is the best answer to everything: "No." is surely read as neutral, whatever was said before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from selfemo.method.flywheel.texts import phrase
from selfemo.method.rewards import Floats

WINDOW = 16
"""Groups that are looked at, of all ranks, the step's own among them. A step may have only one: so earlier steps are
looked at too."""


Said = tuple[str, Mapping[str, float]]
"""Of a group: its sample's id, and the share of its replies that say each phrase."""


class Repeats:
    """What the replies of the last groups were.

    Args:
        gather: Makes one list of all ranks' lists.

    Attributes:
        groups: The latest last. Checkpoints keep them, so that a resumed training goes on as it was.
    """

    def __init__(self, gather: Callable[[list[Said]], list[Said]] = list) -> None:
        self.gather = gather
        self.groups: list[Said] = []

    def shared(self, samples: Sequence[str], replies: Sequence[Sequence[str]]) -> list[Floats]:
        """What part of its reward each reply keeps: ``1 / (1 + n)``.

        ``n`` counts how many of the last :data:`WINDOW` groups say the same phrase; a group in which only some replies
        do counts by their share. Groups of the same sample are left out: the same prompt may have the same answer.
        Where a step has more groups, all of them are looked at, and ``n`` is scaled to :data:`WINDOW`. While there are
        fewer, at the beginning of a round, less is shared.

        All ranks call it together, with as many groups as each has.

        Args:
            samples: Ids of the samples of this rank's groups.
            replies: Of each group; empty where a completion is no reply.

        Returns:
            ``(G,)`` of each group, in (0, 1].
        """
        step = self.gather([(sample, _phrases(group)) for sample, group in zip(samples, replies, strict=True)])
        self.groups = [*self.groups, *step][-max(WINDOW, len(step)) :]
        return [
            np.array([1 / (1 + self._said(phrase(reply), sample)) for reply in group])
            for sample, group in zip(samples, replies, strict=True)
        ]

    def _said(self, what: str, to_others_than: str) -> float:
        if not what:
            return 0.0
        said = sum(said.get(what, 0.0) for sample, said in self.groups if sample != to_others_than)
        return said * min(1.0, WINDOW / len(self.groups))


def _phrases(replies: Sequence[str]) -> dict[str, float]:
    said = Counter(phrase(reply) for reply in replies)
    said.pop("", None)
    return {what: count / len(replies) for what, count in said.items()}
