"""What the policies of a trial are worth, in tables as docs/results.md has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from subjects import SPACES

from selfemo.config import Config
from selfemo.data.dialogue import Dialogue
from selfemo.data.records import Prediction
from selfemo.method.evaluation import summarise
from selfemo.study.execute import counts
from selfemo.study.stats import MEASURES, Variants

HEADS = (
    "",
    "accuracy",
    "weighted F1",
    "macro F1",
    "calibration error",
    "label entropy",
    "gain in accuracy; weighted F1; macro F1",
)
FIGURES = (*MEASURES, "calibration_error")

Answers = Mapping[str, Mapping[int, Sequence[Prediction]]]
"""By name of a policy and by seed, what it answers; all of the same turns of one corpus."""


def table(
    title: str, answers: Answers, purposes: Mapping[str, Sequence[Dialogue]], over: Mapping[str, str], config: Config
) -> None:
    """Print the figures of some policies, means over seeds; gains with 95 % intervals, resampled by seed and dialogue.

    Args:
        title: Of the tables.
        answers: Of the policies.
        purposes: The dialogues of each table, by what they are for.
        over: By name of a policy, the one that its gain is over.
        config: Section ``evaluation``.
    """
    for purpose, dialogues in purposes.items():
        names = {d.id for d in dialogues}
        some = {n: {s: [r for r in mine if r.dialogue in names] for s, mine in by.items()} for n, by in answers.items()}
        variants = Variants([_record(n, mine, seed) for n, by in some.items() for seed, mine in by.items()])
        turns = len(next(iter(next(iter(some.values())).values())))
        print(f"\n{title}: {turns} turns of {len(dialogues)} dialogues {purpose}\n")
        print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
        for name, by in some.items():
            found: list[Mapping[str, Any]] = [summarise(m, SPACES[m[0].corpus], config) for m in by.values()]
            cells = [f"{100 * np.mean([f[figure] for f in found]):.1f}" for figure in FIGURES]
            cells.append(f"{np.mean([f['label_entropy'] for f in found]):.2f}")
            print(f"| {name} | {' | '.join([*cells, _gains(variants, name, over.get(name))])} |", flush=True)


def _gains(variants: Variants, name: str, base: str | None) -> str:
    if base is None:
        return ""
    found = [variants.gain(name, base, m) for m in MEASURES]
    each = [f"{100 * g.value:+.1f} [{100 * g.low:+.1f}, {100 * g.high:+.1f}]" for g in found]
    return f"{'; '.join(each)} over {base}"


def _record(name: str, rows: Sequence[Prediction], seed: int) -> dict[str, Any]:
    """Answers as a study keeps those of a run."""
    space = SPACES[rows[0].corpus]
    return {
        "variant": name,
        "seed": seed,
        "labels": space.labels,
        "scores": {"dialogues": len({r.dialogue for r in rows})},
        "counts": counts([*rows], space),
    }
