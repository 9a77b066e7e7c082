"""Replies to many prompts that say the same share one reward (method.md, SELF-GRPO). Defined here.

Without it a stock phrase is the best answer to everything: "No." is surely read as neutral, whatever was said before.
Were it asked of equal phrases alone, a stock sentence with another last word for each prompt would be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.sparse import csr_array

from selfemo.method.flywheel.texts import phrase, shingles
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

        ``n`` counts how many of the last :data:`WINDOW` groups say the same: each by how like its replies are in the
        mean (:func:`likeness`). Groups of the same sample are left out: the same prompt may have the same answer. Where
        a step has more groups, all of them are looked at, and ``n`` is scaled to :data:`WINDOW`. While there are fewer,
        at the beginning of a round, less is shared.

        All ranks call it together, with as many groups as each has.

        Args:
            samples: Ids of the samples of this rank's groups.
            replies: Of each group; empty where a completion is no reply.

        Returns:
            ``(G,)`` of each group, in (0, 1].
        """
        phrases = [[phrase(reply) for reply in group] for group in replies]
        step = self.gather([(sample, _shares(group)) for sample, group in zip(samples, phrases, strict=True)])
        self.groups = [*self.groups, *step][-max(WINDOW, len(step)) :]
        own = sorted({what for group in phrases for what in group} - {""})
        every = sorted({what for _, said in self.groups for what in said})
        told_PK = np.array([[said.get(what, 0.0) for _, said in self.groups] for what in every])
        said_OK = likeness(own, every) @ told_PK if own else np.zeros((0, len(self.groups)))
        scale = min(1.0, WINDOW / len(self.groups)) if self.groups else 1.0
        found = []
        for sample, group in zip(samples, phrases, strict=True):
            others = [at for at, (other, _) in enumerate(self.groups) if other != sample]
            n = dict(zip(own, scale * said_OK[:, others].sum(axis=1), strict=True))
            found.append(np.array([1 / (1 + n.get(what, 0.0)) for what in group]))
        return found


def likeness(own: Sequence[str], others: Sequence[str]) -> Floats:
    """How far phrases are the same, ``(O, P)`` in [0, 1]: the Jaccard similarity of their word shingles.

    Of phrases of less than three words it is 1 for the same, else 0.

    Args:
        own: ``O`` phrases.
        others: ``P`` phrases.
    """
    place: dict[str, int] = {}
    sets = [[place.setdefault(shingle, len(place)) for shingle in shingles(what)] for what in (*own, *others)]
    rows = np.repeat(np.arange(len(sets)), [len(found) for found in sets])
    columns = np.concatenate([np.array(found, dtype=np.intp) for found in sets])
    has_RV = csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(sets), len(place)))
    sizes = np.asarray(has_RV.sum(axis=1))
    shared = (has_RV[: len(own)] @ has_RV[len(own) :].T).toarray()
    return np.asarray(shared / (sizes[: len(own), None] + sizes[None, len(own) :] - shared))


def _shares(phrases: Sequence[str]) -> dict[str, float]:
    return {what: count / len(phrases) for what, count in Counter(phrases).items() if what}
