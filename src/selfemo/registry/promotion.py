"""Promotion: by the loop or by hand, through one gate, under one lock; and Git made to agree with it.

The alias in the registry is the truth. Who changes it holds a lock in the store, since the registry itself lets the
last writer win (:mod:`selfemo.registry.moves` has the order of the writes). Git follows: at once where a person
promotes, by the reconciler (:func:`selfemo.registry.served.synchronise`) otherwise. Where a canary is configured, what
passes the gate serves a share of the traffic first (:mod:`selfemo.registry.canary`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

from selfemo.errors import GateClosed, UserError
from selfemo.method import gate
from selfemo.method.evaluation import corrected_predictions, labels_of, predictions
from selfemo.method.gate import Decision, NotComparable
from selfemo.registry import canary
from selfemo.registry.champion import PROMOTED, ROLLED_BACK
from selfemo.registry.moves import kept
from selfemo.registry.served import reference, synchronise
from selfemo.registry.surroundings import Surroundings
from selfemo.registry.versions import CHALLENGER, CHAMPION
from selfemo.store.artifacts import Manifest
from selfemo.store.lock import SECONDS, Lease, Lost, held

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOP_WAITS = SECONDS + 60.0
"""Seconds that the loop waits for somebody else's promotion; a person is told at once. Longer than a lock outlives its
holder: a step that was killed inside is not kept out, when it is tried again, by itself."""


@contextmanager
def locked(context: Surroundings, wait: float = 0.0) -> Iterator[Lease]:
    """The one place at a time where a model's champion may change.

    Raises:
        Busy: If somebody else is there.
    """
    uri = context.store.uri("locks", f"promotion-{quote(context.registry.model, safe='')}")
    with held(context.store.backend(uri), uri, wait=wait) as lease:
        yield lease


def alone(context: Surroundings, work: Callable[[Lease], T], wait: float = 0.0) -> T:
    """Do some work under the lock; all of it once more if the lock was lost on the way.

    Raises:
        Busy: If somebody else holds it.
        Lost: If it was lost twice.
    """
    try:
        with locked(context, wait) as lease:
            return work(lease)
    except Lost as lost:
        log.warning("%s; once more", lost.message)
    with locked(context, LOOP_WAITS) as lease:
        return work(lease)


def decisions(context: Surroundings) -> list[Manifest]:
    """Manifests of the decisions of the current attempt at the run, by round."""
    tags = context.registry.client.get_run(context.registry.parent).data.tags
    found = [context.store.manifest(uri) for uri in json.loads(tags.get("selfemo.decisions", "[]"))]
    return sorted((m for m in found if m is not None), key=lambda m: int(m.inputs["round"]))


def against_registry(context: Surroundings, evaluation_uri: str) -> Decision:
    """What the gate says of a policy's scores against the champion that the registry has now."""
    champion = context.registry.versions.alias(CHAMPION)
    if champion is None:
        if gone := context.registry.champion.gone():
            return Decision(False, f"the champion, version {gone}, is gone: roll back, or promote one with --force")
        return Decision(True, "there was no champion")
    where = champion.tags.get("selfemo.scores", "")
    if where and context.store.manifest(where) is None:
        raise UserError(
            f"the scores of the champion, version {champion.version}, are gone",
            where=where,
            fix="restore them, or promote another version with `selfemo promote --force`",
        )
    known = predictions(context.store, where)
    if not known:
        return Decision(False, f"the champion, version {champion.version}, has no scores to compare with")
    spaces = labels_of(context.store, evaluation_uri)
    decision = gate.check(known, predictions(context.store, evaluation_uri), spaces, context.config)
    before, ours = (corrected_predictions(context.store, uri) for uri in (where, evaluation_uri))
    if [(r.dialogue, r.turn, r.gold) for r in before] != [(r.dialogue, r.turn, r.gold) for r in ours]:
        return decision  # of different days, on which different turns had been corrected
    return gate.with_corrections(decision, before, ours, spaces, context.config)


def after_decision(context: Surroundings, version: Any, decision: Decision, champion: str, evaluation_uri: str) -> str:
    """Move the aliases after a round.

    The loop's own champion may differ from the registry's: of an earlier run, or put there by hand. Then the
    challenger has to pass the gate against that one too. A version that was promoted once is left alone, so
    that a resumed run undoes nobody's rollback; so is one that the collapse guard of any run stopped.

    Args:
        context: Of the run.
        version: The round's version of the model.
        decision: Of the round.
        champion: URI of the loop's champion before the round.
        evaluation_uri: URI of the challenger's evaluation.

    Returns:
        What the registry came to, in words.

    Raises:
        UserError: If the registry or an artifact cannot be read or written; the same step again ends right.
    """
    registry = context.registry
    if said := _before(version):
        if registry.champion.moves.cut_off() or registry.canary.moves.cut_off():  # after the last tag that says so
            alone(context, lambda lease: recover(context, lease), LOOP_WAITS)
        return said
    registry.versions.set_alias(CHALLENGER, version.version)
    if not decision.promoted:
        return decision.reason

    def promote(lease: Lease) -> str:
        recover(context, lease)  # the promotion may have been cut off the last time
        now = registry.versions.get(version.version)
        if said := _before(now):
            return said
        if stopped := stopped_by_guard(now):  # in another run: this one began from it, and has nothing to say of it
            return stopped
        current = registry.versions.alias(CHAMPION)
        decided = decision
        if current is None:
            first = against_registry(context, evaluation_uri)
            decided = decision if first.promoted else first
        elif current.source not in (champion, version.source):
            try:
                decided = against_registry(context, evaluation_uri)
            except NotComparable as error:  # any other error may pass, and the step is tried again
                decided = Decision(False, f"the registry's champion is not comparable: {error.message}")
        if not decided.promoted:
            return decided.reason
        running = registry.canary.running()
        if context.config.canary is not None and running is not None:  # nor does the loop wait: it may take days
            return f"version {running.version} is canary just now, and this one passed the gate: {decided.reason}"
        evidence = _evidence(decided, evaluation_uri, current)
        return _put(context, str(version.version), current, decided, evidence, lease)

    return alone(context, promote, LOOP_WAITS)


def _before(version: Any) -> str:
    """What became of a version in an earlier attempt at the step; empty if it never was champion, nor canary."""
    if PROMOTED in version.tags:
        return "promoted before"
    return "rolled back before" if version.tags.get(ROLLED_BACK) else canary.before(version)


def stopped_by_guard(version: Any) -> str:
    """That the collapse guard stopped a version, and why; empty if it did not."""
    why = version.tags.get("selfemo.stopped", "")
    return f"the guard stopped it: {why}" if why else ""


def recover(context: Surroundings, lease: Lease) -> None:
    """Finish the move that was cut off when the lock's last holder was killed, if there is one."""
    context.registry.champion.recover(lease)
    context.registry.canary.recover(lease)


def _put(
    context: Surroundings,
    number: str,
    champion: Any | None,
    decision: Decision,
    evidence: str,
    lease: Lease,
    *,
    force: bool = False,
    at_once: bool = False,
) -> str:
    """Make a version canary, where there are canaries and a champion beside which it can serve, or else champion."""
    registry, share = context.registry, context.config.canary
    gate_said: dict[str, Any] = {"passed": decision.promoted, "reason": decision.reason, "force": force}
    if share is not None and champion is not None and not at_once:
        registry.canary.start(number, str(champion.version), **gate_said, evidence=evidence, lease=lease)
        return f"canary of {registry.model}: version {number} beside version {champion.version}: {decision.reason}"
    previous = registry.champion.promote(number, **gate_said, evidence=evidence, lease=lease)
    registry.canary.recover(lease)  # which served beside another champion
    return f"champion of {registry.model}: version {number} (was {previous or 'none'}): {decision.reason}"


def _evidence(decision: Decision, evaluation_uri: str, champion: Any | None) -> str:
    """What the gate saw, for the version's tags."""
    against = champion.tags.get("selfemo.scores", "") if champion is not None else ""
    return json.dumps({**decision.to_dict(), "scores": evaluation_uri, "against": against})


def promote_version(
    context: Surroundings, number: str, *, force: bool = False, reason: str | None = None, at_once: bool = False
) -> str:
    """Compare a version with the champion on the scores both were registered with, and promote it if it is better.

    Args:
        context: Of the run; sections ``gate``, ``evaluation`` and ``mlflow`` count.
        number: The version.
        force: Promote whatever the gate says.
        reason: Why, with ``force``.
        at_once: Make it champion without having been canary; one that is canary just now is none any more then.

    Returns:
        What was done, in words.

    Raises:
        GateClosed: If the gate says no, or the collapse guard stopped the version.
        UserError: If the version was made champion by hand, has no scores, another is canary, or somebody else
            promotes just now.
    """
    config, registry = context.config, context.registry
    version = registry.versions.get(number)
    if config.gitops.repository:
        reference(context, version)  # what cannot be served is not promoted

    def promote(lease: Lease) -> tuple[str, str]:
        recover(context, lease)
        version, champion = registry.versions.get(number), registry.versions.alias(CHAMPION)
        if champion is not None and str(champion.version) == str(version.version):
            already = f"version {number} is the champion already"
            if PROMOTED not in version.tags:
                raise UserError(already, where=f"models:/{registry.model}@{CHAMPION}")
            return already, str(version.tags.get("selfemo.promotion_reason", ""))
        running = registry.canary.running()
        if running is not None and str(running.version) == str(version.version) and not at_once:
            return f"version {number} is canary already: selfemo canary show", running.tags.get(canary.REASON, "")
        evaluation_uri, stopped = version.tags.get("selfemo.scores", ""), stopped_by_guard(version)
        if force:
            decision = Decision(False, kept(reason or "forced"))
        elif stopped:
            raise GateClosed(
                f"version {number} is not promoted: {stopped}",
                where="guard",
                fix="promote another version, or use --force --reason WHY",
            )
        elif evaluation_uri:
            decision = against_registry(context, evaluation_uri)
        else:
            raise UserError(f"version {number} has no scores", where="registry", fix="use --force --reason WHY")
        evidence = _evidence(decision, evaluation_uri, champion)
        said = _put(context, number, champion, decision, evidence, lease, force=force, at_once=at_once)
        return said, decision.reason

    done, why = alone(context, promote)
    return f"{done}\n{synchronise(context, why)}"


def roll_back(context: Surroundings, reason: str) -> str:
    """Make the previous champion champion again, in the registry and in Git; what was done, in words.

    Raises:
        UserError: If there is no earlier champion, or somebody else promotes just now.
    """

    def back(lease: Lease) -> tuple[str, str]:
        done = context.registry.champion.rollback(reason, lease)
        context.registry.canary.recover(lease)  # which served beside the one that was rolled back
        return done

    was, now = alone(context, back)
    done = f"champion of {context.registry.model}: version {now} (was {was})"
    return f"{done}\n{synchronise(context, f'Rolled back from version {was}: {reason}')}"
