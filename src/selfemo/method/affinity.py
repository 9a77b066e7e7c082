"""How close the labels of a space are: as its file says, and as a run's configuration says."""

from __future__ import annotations

from selfemo.config import Config
from selfemo.data.labels import LabelSpace
from selfemo.method.rewards import Floats


def affinity_of(config: Config, space: LabelSpace) -> Floats | None:
    """The affinity of a label space, and the configured one as far as it concerns labels of this space."""
    pairs = config.rewards.affinity
    return space.affinity_matrix({p: v for p, v in pairs.items() if all(x in space.index for x in p.split("~"))})
