"""The variants that `rounds.py` tries, and the wordings of the two questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from demo_gate import NOTHING_EARNED

from selfemo.method.prompts import Prompter

WORDINGS = (
    (Prompter.READ, Prompter.REPLY),
    (
        "What is {speaker} feeling in the line above?",
        "How does {speaker} feel when answering, and what does {speaker} say?",
    ),
    (
        "Name the emotion or emotions behind what {speaker} said last.",
        "Write the next line of {speaker}, after naming the emotions behind it.",
    ),
)
"""Of understanding and expression; the first is the product's."""


@dataclass(frozen=True)
class Variant:
    """One way to run rounds.

    Attributes:
        settings: Where it differs from the study's; two lines in a name stand for a dot.
        of_study: The study's variant that it is one of.
        rounds: At most.
        teacher: Whose readings are learnt from: the last policy's, or the mean of all policies' so far.
        again: Every round learns from the warm-up on, not from the last policy.
        first: A variant whose first rounds are this one's as well.
        shared: How many.
        reads: Whether anything read is learnt; else a round is so many steps on the labelled dialogues.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    of_study: str = "no-cross-role"
    rounds: int = 3
    teacher: Literal["last", "mean"] = "last"
    again: bool = False
    first: str = ""
    shared: int = 0
    reads: bool = True


def fast(**more: Any) -> Mapping[str, Any]:
    """A higher learning rate, and other settings."""
    return {"grpo__learning_rate": 1e-4, **more}


VARIANTS = {
    "choose-fast": Variant(fast(), rounds=2),
    "choose-slow": Variant({"grpo__learning_rate": 3e-5}, rounds=1),
    "choose-mean": Variant(fast(), rounds=2, teacher="mean", first="choose-fast", shared=1),
    "choose-again": Variant(fast(), rounds=2, again=True, first="choose-fast", shared=1),
    "choose-both": Variant(fast(), rounds=2, again=True, teacher="mean", first="choose-fast", shared=1),
    "choose-twice": Variant(fast(grpo__epochs=2), rounds=1),
    "choose-sharp": Variant(fast(grpo__entropy=0.1), rounds=1),
    "choose-mix": Variant(fast(flywheel__calibration=1.0), rounds=1),
    "choose-balance": Variant(fast(grpo__balance=0.5), rounds=1),
    "choose-some": Variant(fast(flywheel__samples=2_000), rounds=1),
    "choose-replay": Variant(fast(**NOTHING_EARNED), rounds=2, reads=False),
}
OWN = Variant(fast())
"""What was chosen."""
OTHER: Literal["last", "mean"] = "last" if OWN.teacher == "mean" else "mean"


def less(**more: Any) -> Variant:
    """What was chosen, with other settings."""
    return replace(OWN, settings={**OWN.settings, **more})


VARIANTS |= {
    "study-own": OWN,
    "study-replay": replace(less(**NOTHING_EARNED), reads=False),
    "study-self-training": replace(OWN, of_study="self-training"),
    "study-whole": replace(OWN, of_study="no-expression"),
    "study-no-words": less(selfplay__words=False),
    "study-other-teacher": replace(
        OWN, teacher="last" if OWN.teacher == "mean" else "mean", first="study-own", shared=1
    ),
    "study-other-start": replace(OWN, again=not OWN.again, first="study-own", shared=1),
    "study-no-filter": less(flywheel__tau_reward=0.0, flywheel__near_duplicate=1.0),
    "study-stock-grpo": replace(OWN, of_study="stock-grpo"),
    "study-five": replace(OWN, rounds=5, first="study-own", shared=3),
}
