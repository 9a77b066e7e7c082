"""A training sample, written by hand."""

from __future__ import annotations

from selfemo.data.dialogue import Utterance
from selfemo.data.records import Sample
from tests.unit.flywheel.rollouts import reading


def sample(index: int, task: str = "understanding", target: str = "joy", gold: bool = False) -> Sample:
    history = (Utterance(speaker="Mara", text=f"We won the cup number {index}!"),)
    return Sample.model_validate(
        dict(
            id=f"s{index}",
            round=1,
            policy="p",
            corpus="sample",
            dialogue="d",
            task=task,
            history=history,
            role="Theo",
            target=(target,),
            gold=gold,
            confidence=0.8,
            posterior=reading([target] * 4 + ["neutral"]) if task == "understanding" else (),
            parents=("r",),
        )
    )
