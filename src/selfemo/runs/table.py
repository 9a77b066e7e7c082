"""All runs, a line each: what each came to, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from selfemo.context import Context
from selfemo.registry.rounds import RoundRow
from selfemo.registry.versions import CHAMPION
from selfemo.runs.find import Run, runs
from selfemo.runs.state import RunState, state_of
from selfemo.store.artifacts import Manifest

TOGETHER = 8
"""Runs whose decisions are read at the same time."""


@dataclass(frozen=True)
class PolicyFigures:
    """What a policy of a run scored on the gate corpus, held out."""

    round: int
    accuracy: float
    weighted_f1: float
    weighted_f1_interval: tuple[float, float]

    @classmethod
    def of(cls, row: RoundRow) -> PolicyFigures:
        """Of a decided round."""
        low, high = row.weighted_f1_interval
        return cls(row.round, row.accuracy, row.weighted_f1, (low, high))


@dataclass(frozen=True)
class Line:
    """A run.

    Attributes:
        name: Its name.
        base: Model that it began with: ``policy.start``, else ``policy.base``.
        corpora: Names.
        seed: As the configuration has it.
        rounds: How many were decided after round 0; None where the decisions cannot be read here.
        planned: How many it may have.
        state: What became of it.
        start: Round 0; None if it is not decided, or not to be read here.
        best: The round whose policy its gate left champion.
        champion: Version that is the registry's champion now, if that is a policy of this run; else empty.
        began: When it was first started.
        ended: When its last attempt ended.
        seconds: Of all steps behind its decided rounds.
        store: Root of the store it lies in, where that is another than the one that was asked; else empty.
        schedule: Name of the schedule that it is a cycle of; empty for none.
    """

    name: str
    base: str
    corpora: str
    seed: str
    rounds: int | None
    planned: str
    state: RunState
    start: PolicyFigures | None
    best: PolicyFigures | None
    champion: str
    began: datetime
    ended: datetime | None
    seconds: float | None
    store: str
    schedule: str


def lines(context: Context) -> list[Line]:
    """A line for every run of the experiment, the newest first."""
    found = runs(context)
    champion = context.registry.versions.alias(CHAMPION) if found else None
    serving = (str(champion.version), str(champion.source)) if champion is not None else ("", "")
    with ThreadPoolExecutor(TOGETHER) as pool:
        decided = list(pool.map(lambda run: run.decided(context), found))
    return [_line(context, run, manifests, serving) for run, manifests in zip(found, decided, strict=True)]


def best_of(decided: Sequence[Manifest]) -> Manifest | None:
    """The decision on the policy that a run's own gate left champion; None before the first is decided.

    Args:
        decided: Decisions of the run, by round.
    """
    if not decided:
        return None
    scores = decided[-1].result.get("scores")
    return next((d for d in reversed(decided) if d.inputs.get("scores") == scores), None)


def _line(context: Context, run: Run, decided: Sequence[Manifest], serving: tuple[str, str]) -> Line:
    version, policy = serving
    rows = [RoundRow.from_dict(decision.result["row"]) for decision in decided]
    best, elsewhere = best_of(decided), run.elsewhere(context)
    start = next((row for row in rows if row.round == 0), None)
    ours = policy and any(policy in (d.inputs.get("challenger"), d.result.get("policy")) for d in decided)
    return Line(
        name=run.name,
        base=run.settings.get("policy.start", "").replace("None", "") or run.settings.get("policy.base", ""),
        corpora=corpora_of(run.settings),
        seed=run.settings.get("seed", ""),
        rounds=None if elsewhere else sum(row.round > 0 for row in rows),
        planned=run.settings.get("loop.rounds", ""),
        state=state_of(run, context.workdir),
        start=PolicyFigures.of(start) if start else None,
        best=PolicyFigures.of(RoundRow.from_dict(best.result["row"])) if best else None,
        champion=version if ours else "",
        began=run.began,
        ended=run.ended,
        seconds=sum(row.seconds for row in rows) if rows else None,
        store=elsewhere,
        schedule=run.schedule,
    )


def corpora_of(settings: Mapping[str, str]) -> str:
    """Names of the corpora in a run's settings, the gate corpus first."""
    import json

    try:
        return ", ".join(str(corpus["name"]) for corpus in json.loads(settings.get("corpora", "[]")))
    except (ValueError, KeyError, TypeError):  # cut off: MLflow keeps no more than so many characters
        return ""
