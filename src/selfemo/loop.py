"""What the loop knows between two rounds.

KFP reads the annotations, and wants types: no ``from __future__ import annotations`` here, which makes strings of them.
"""

from typing import NamedTuple


class LoopState(NamedTuple):
    """What one round hands to the next: all of it small, so that it travels as parameters.

    The one spelling of it: steps take and return it, and it is what the ``decide`` and ``carry`` components and each
    round of the pipeline take and put out, by these names. The defaults are what round 0 starts from. Only the record
    of a decision names them ``champion`` and ``champion_scores``, beside those of the challenger.

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
