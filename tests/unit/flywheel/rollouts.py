"""Rollouts of which a test says the labels, and settings of the filter."""

from __future__ import annotations

from selfemo import config as configuration
from selfemo.data.dialogue import Utterance
from selfemo.data.records import Candidate, Posterior, Rollout
from tests.spaces import SPACES

HISTORY = (Utterance(speaker="Mara", text="We won the cup at last!"),)
EVERYTHING = ("flywheel.calibration=0", "flywheel.share=1", "flywheel.quota=1", "flywheel.tau_low=0")
"""Nothing is turned away for being one label too many, or unsure."""
CONFIG = configuration.load(None, [*EVERYTHING, "flywheel.tau_low=0.3", "flywheel.quota=0.4"])


def understanding(
    labels: list[str], name: str = "u", text: str = "", gold: str | None = None, corpus: str = "sample"
) -> Rollout:
    """A corpus turn in which the policy reads each label as often as it is named."""
    history = (Utterance(speaker="Mara", text=text or f"line {name}"),)
    return Rollout(
        id=name,
        round=1,
        policy="p",
        corpus=corpus,
        dialogue="d",
        task="understanding",
        history=history,
        role="Mara",
        gold=(gold,) if gold else None,
        posteriors={"24": reading(labels, corpus)},
    )


def reading(labels: list[str], corpus: str = "sample") -> Posterior:
    """A posterior in which each label is as likely as it is often named."""
    return tuple(sum((x,) == answer for x in labels) / len(labels) for answer in SPACES[corpus].answers)


def expression(*candidates: Candidate, name: str = "e") -> Rollout:
    return Rollout(
        id=name,
        round=1,
        policy="p",
        corpus="sample",
        dialogue="d",
        task="expression",
        history=HISTORY,
        role="Theo",
        candidates=candidates,
        temperature=1,
        top_p=1,
        seed=1,
    )


def candidate(
    reply: str = "That is wonderful news!", label: str = "joy", score: float = 1.0, sure: float = 1.0
) -> Candidate:
    return Candidate(text="t", labels=(label,), reply=reply, reading=reading([label]), score=score, confidence=sure)
