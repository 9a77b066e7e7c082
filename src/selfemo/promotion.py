"""Promotion in the registry: by the loop or by hand, always through the same gate."""

from __future__ import annotations

import json
from typing import Any

from selfemo import gate
from selfemo.config import Config
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.gate import Decision
from selfemo.records import Scored, read_rows
from selfemo.registry import CHALLENGER, CHAMPION
from selfemo.store import Manifest

PROMOTED = "selfemo.promoted_at"


def predictions(context: Context, scores: str) -> list[Scored]:
    """Held-out predictions of an evaluation; none for the empty URI."""
    if not scores:
        return []
    return list(read_rows(context.store.fetch(scores) / "predictions.jsonl.gz", Scored))


def decisions(context: Context) -> list[Manifest]:
    """Manifests of the decisions of the current attempt at the run, by round."""
    tags = context.registry.client.get_run(context.registry.parent).data.tags
    found = [context.store.manifest(uri) for uri in json.loads(tags.get("selfemo.decisions", "[]"))]
    return sorted((m for m in found if m is not None), key=lambda m: int(m.inputs["round"]))


def against_registry(context: Context, scores: str) -> Decision:
    """What the gate says of a policy's scores against the champion that the registry has now."""
    champion = context.registry.alias(CHAMPION)
    if champion is None:
        return Decision(True, "there was no champion")
    known = champion.tags.get("selfemo.scores")
    if not known:
        return Decision(False, f"the champion, version {champion.version}, has no scores to compare with")
    return gate.decide(predictions(context, known), predictions(context, scores), context.config)


def after_decision(context: Context, version: Any, decision: Decision, champion: str, scores: str) -> str:
    """Move the aliases after a round.

    The loop's own champion may differ from the registry's: of an earlier run, or put there by hand. Then the
    challenger has to pass the gate against that one too. A version that was promoted once is left alone, so
    that a resumed run undoes nobody's rollback.

    Args:
        context: Of the run.
        version: The round's version of the model.
        decision: Of the round.
        champion: URI of the loop's champion before the round.
        scores: URI of the challenger's scores.

    Returns:
        What the registry came to, in words.
    """
    registry = context.registry
    if PROMOTED in version.tags:
        return "promoted before"
    registry.set_alias(CHALLENGER, version.version)
    current = registry.alias(CHAMPION)
    verdict = decision
    if decision.promoted and current is not None and current.source != champion:
        try:
            verdict = against_registry(context, scores)
        except UserError as error:  # scored on another corpus: not comparable, so not replaced
            verdict = Decision(False, f"the registry's champion is not comparable: {error.message}")
    if verdict.promoted:
        registry.promote(version.version, passed=True, reason=verdict.reason)
    return verdict.reason


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
        decision = Decision(False, reason or "forced")
    elif scores := version.tags.get("selfemo.scores"):
        decision = against_registry(context, scores)
    else:
        raise UserError(f"version {number} has no scores", where="registry", fix="use --force --reason WHY")
    previous = registry.promote(number, passed=decision.promoted, reason=decision.reason, force=force)
    return f"champion of {registry.model}: version {number} (was {previous or 'none'}): {decision.reason}"
