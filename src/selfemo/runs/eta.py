"""When a run will be over, from what its steps have taken: nothing is guessed. Defined here."""

from __future__ import annotations

from collections.abc import Mapping

from selfemo.runs.going import OVER, Going, PieceState


def known(run: Going, earlier: Mapping[str, float]) -> dict[str, float]:
    """Seconds that each step takes: in the last round of this run that did it, else in an earlier run.

    Args:
        run: As it goes.
        earlier: Of earlier runs that did the same work.
    """
    return {**earlier, **{stage.step: stage.seconds for stage in run.stages() if stage.seconds is not None}}


def left(run: Going, earlier: Mapping[str, float], now: float) -> float | None:
    """Seconds until the last round that there may be is decided; None as long as a step ahead was never measured.

    It may be less: the loop stops early when rounds are not promoted. Steps of a round follow each other, and shards of
    one run beside each other, so what is ahead adds up; so do the pauses between steps, as they were so far.

    Args:
        run: As it goes.
        earlier: Of earlier runs that did the same work.
        now: Seconds of Unix time.
    """
    if run.over:
        return 0.0
    times, total, ahead = known(run, earlier), 0.0, 0
    for stage in run.stages():
        if stage.state in (*OVER, PieceState.NEVER):
            continue
        if stage.step not in times:
            return None
        spent = now - stage.began if stage.state == PieceState.RUNS and stage.began is not None else 0.0
        counted = [
            p.work.left for p in stage.pieces if p.state == PieceState.RUNS and p.work and p.work.left is not None
        ]
        total += max([times[stage.step] - spent, 0.0, *counted])
        ahead += stage.state == PieceState.WAITS
    pause = _pause(run)
    return None if pause is None and ahead else total + ahead * (pause or 0.0)


def _pause(run: Going) -> float | None:
    """Mean seconds between the end of one stage and the beginning of the next; None before the second."""
    pauses = []
    ended: float | None = None
    for stage in run.stages():
        if ended is not None and stage.began is not None and stage.began >= ended:
            pauses.append(stage.began - ended)
        ended = max((p.ended for p in stage.pieces if p.ended is not None), default=None)
    return sum(pauses) / len(pauses) if pauses else None
