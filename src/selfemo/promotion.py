"""Promotion of a registered version by hand, through the same gate as the loop's."""

from __future__ import annotations

from selfemo import gate, steps
from selfemo.config import Config
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.registry import CHAMPION


def promote_version(config: Config, number: str, *, force: bool = False, reason: str | None = None) -> str:
    """Compare a version with the champion on the scores both were registered with, and promote it if it is better.

    Args:
        config: Sections ``gate``, ``evaluation`` and ``mlflow``.
        number: The version.
        force: Promote whatever the gate says.
        reason: Why, with ``force``.

    Returns:
        What was done, in words.

    Raises:
        GateClosed: If the gate says no.
        UserError: If the version is the champion already, or has no scores.
    """
    context = Context(config)
    registry = context.registry
    version, champion = registry.version(number), registry.alias(CHAMPION)
    if champion is not None and str(champion.version) == str(version.version):
        raise UserError(f"version {number} is the champion already", where=f"models:/{registry.model}@{CHAMPION}")
    if force:
        decision = gate.Decision(False, reason or "forced")
    else:
        scores = version.tags.get("selfemo.scores")
        if not scores:
            raise UserError(f"version {number} has no scores", where="registry", fix="use --force --reason WHY")
        before = steps.predictions(context, champion.tags.get("selfemo.scores", "")) if champion is not None else []
        decision = gate.decide(before, steps.predictions(context, scores), config)
    previous = registry.promote(number, passed=decision.promoted, reason=decision.reason, force=force)
    return f"champion of {registry.model}: version {number} (was {previous or 'none'}): {decision.reason}"
