"""The variants that `rounds.py` tries, and the wordings of the two questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
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
        matched: Understanding is learnt by the cross-entropy with what the policy gradient ends at (:func:`matched`).
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    of_study: str = "self-emo"
    rounds: int = 3
    teacher: Literal["last", "mean"] = "last"
    again: bool = False
    first: str = ""
    shared: int = 0
    reads: bool = True
    matched: bool = False


def matched(logs_A: torch.Tensor, rewards_A: torch.Tensor, tau: float) -> torch.Tensor:
    """Minus the cross-entropy with ``exp(r / tau)``, which the product's objective is greatest at as well.

    The other direction of the divergence (reward-augmented maximum likelihood, Norouzi et al. 2016): an answer that the
    policy holds for unlikely is learnt as fast as any other, where a policy gradient moves what is likely already.
    """
    return ((rewards_A / tau).softmax(0) * logs_A).sum()


VARIANTS = {
    "own": Variant(),
    "matched": Variant(matched=True),
    "no-replay": Variant({"grpo__replay": 0}),
    "replay": Variant(NOTHING_EARNED, reads=False),
    "balance": Variant({"grpo__balance": 0.5}, rounds=1),
    "mix": Variant({"flywheel__calibration": 1.0}, rounds=1),
    "twice": Variant({"grpo__epochs": 2}, rounds=1),
    "fast": Variant({"grpo__learning_rate": 1e-4}, rounds=2),
    "sharp": Variant({"grpo__entropy": 0.1}, rounds=1),
    "some": Variant({"flywheel__samples": 2_000}, rounds=1),
    "responder": Variant(of_study="cross-role"),
    "no-words": Variant({"selfplay__words": False}),
    "no-filter": Variant({"flywheel__tau_reward": 0.0, "flywheel__near_duplicate": 1.0}),
    "self-training": Variant(of_study="self-training"),
    "stock-grpo": Variant(of_study="stock-grpo"),
    "slow-teacher": Variant(teacher="mean", first="own", shared=1),
    "from-warm-up": Variant(again=True, first="own", shared=1),
    "slow-teacher-from-warm-up": Variant(again=True, teacher="mean", first="own", shared=1),
    "five": Variant(rounds=5, first="own", shared=3),
}
"""By name. `own` is the study's method but for expression; a round reads all unlabelled dialogues."""
