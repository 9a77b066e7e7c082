"""What the loop knows between two rounds.

KFP reads the annotations, and wants types: no ``from __future__ import annotations`` here, which makes strings of them.
"""

from typing import NamedTuple


class LoopState(NamedTuple):
    """What one round hands to the next: all of it small, so that it travels as parameters.

    The one spelling of it: steps take and return it, and it is what the ``decide`` and ``carry`` components and each
    round of the pipeline put out. The defaults are what round 0 starts from.

    Attributes:
        policy: URI of the champion's weights.
        scores: URI of its evaluation.
        misses: Rounds in a row without promotion.
        go_on: Whether there is a next round.
    """

    policy: str = ""
    scores: str = ""
    misses: int = 0
    go_on: bool = True
