"""A canary watched: it waits for its server, goes on, is rolled back, or becomes champion.

Each call looks once and does at most one thing, so it may be killed and called again anywhere. A canary is ended
under the lock of promotion, if the one that was looked at is still the canary then.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from selfemo.canary import rule, servers
from selfemo.canary.evidence import asked
from selfemo.canary.prometheus import traffic
from selfemo.canary.rule import Finding, Says
from selfemo.config.canary import CanarySettings
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.method.gate import Decision, NotComparable
from selfemo.registry.canary import ANSWERED, EVIDENCE, REASON, forced
from selfemo.registry.moves import MoveKind, now
from selfemo.registry.promotion import against_registry, alone, recover, stopped_by_guard
from selfemo.registry.served import BY_HAND, reference, synchronise
from selfemo.registry.versions import CANARY, CHAMPION, ENDED, STARTED
from selfemo.store.lock import Lease


class Became(Enum):
    """What a look came to."""

    NONE = "none"
    """There is no canary to look at."""
    WAITS = "waits"
    """It gets no traffic yet, or there is no champion to compare it with."""
    GOES_ON = "goes on"
    """The rule says nothing yet, and it keeps its share."""
    STOPPED = "rolled back"
    """It is canary no more, and the champion stays."""
    CHAMPION = "champion"
    """It has done well for long enough, and is champion now."""


@dataclass(frozen=True)
class LookResult:
    """What a look came to, and what was seen, a line each."""

    became: Became
    lines: tuple[str, ...]


def bounds_of(context: Context) -> CanarySettings:
    """The settings of the canary.

    Raises:
        UserError: If there are none.
    """
    if context.config.canary is None:
        fix = "give the configuration a section canary, such as canary: {share: 10}; docs/promotion.md has its settings"
        raise UserError("no canary is configured", where="canary", fix=fix)
    return context.config.canary


def check(context: Context, clock: Callable[[], float] = time.time) -> LookResult:
    """Look at the canary once, and end it if the rule or its time says so.

    Args:
        context: With a section ``canary``.
        clock: Tells the time, in seconds of Unix time.

    Raises:
        UserError: If nothing can be known: the registry, the store or Prometheus does not answer. The canary goes on.
    """
    bounds = bounds_of(context)
    canary, champion = alone(context, lambda lease: _found(context, lease))
    if canary is None:
        return LookResult(Became.NONE, (f"{context.registry.model} has no canary", synchronise(context)))
    number = str(canary.version)
    head = f"canary of {context.registry.model}: version {number}"
    if champion is None:
        return LookResult(Became.WAITS, (f"{head}: there is no champion to compare it with",))
    head += f" beside version {champion.version}"
    if not canary.tags.get(ANSWERED):
        words = _awaited(context, canary, bounds)
        became = Became.WAITS
    else:
        became, words = _judged(context, champion, canary, bounds, clock())
    started = _seconds(canary.tags.get(STARTED, ""), clock())
    if became in (Became.WAITS, Became.GOES_ON) and clock() - started > bounds.most_hours * 3600:
        became, words = Became.STOPPED, (f"undecided after {bounds.most_hours:g} hours: {words[0]}", *words[1:])
    if became in (Became.STOPPED, Became.CHAMPION):
        done = alone(context, lambda lease: _act(context, lease, canary, became, words))
        if done is None:
            return LookResult(Became.NONE, (f"{head}: somebody else decided meanwhile", synchronise(context)))
        became, said = done
        seen = words if became is Became.CHAMPION else words[1:]
        return LookResult(became, (head, said, *seen, synchronise(context, said)))
    return LookResult(became, (head, *words, synchronise(context)))


def stop(context: Context, reason: str) -> str:
    """Stop the canary on a person's word; what was done, in words.

    Raises:
        UserError: If there is none.
    """

    def ended(lease: Lease) -> str:
        context.registry.champion.recover(lease)
        return context.registry.canary.stop(f"stopped: {reason}", lease)

    number = alone(context, ended)
    done = f"version {number} of {context.registry.model} is canary no more"
    return f"{done}\n{synchronise(context, f'Canary {number} is stopped: {reason}')}"


@dataclass(frozen=True)
class CanaryStatus:
    """What the registry knows of the canary, or of the last one.

    Attributes:
        lines: In words.
        share: Of the traffic that the canary gets, in percent; 0 where there is none.
        started: When it became canary; empty where that is not known, or there is none.
        answers: Since when its server answers; empty as long as it was not seen to.
        reason: Why it is canary, or why the last is no more.
    """

    lines: tuple[str, ...]
    share: int = 0
    started: str = ""
    answers: str = ""
    reason: str = ""


def status(context: Context) -> CanaryStatus:
    """Say how the canary stands; no server is asked."""
    registry = context.registry
    canary = registry.canary.running()
    if canary is None:
        last = registry.canary.moves.last()
        if last is None or last.kind is not MoveKind.END:
            return CanaryStatus((f"{registry.model} has no canary",))
        said = f"{registry.model} has no canary; the last was version {last.before}: {last.reason}"
        return CanaryStatus((said,), reason=last.reason)
    started, answers, reason = (str(canary.tags.get(tag) or "") for tag in (STARTED, ANSWERED, REASON))
    share = context.config.canary.share if context.config.canary and answers else 0
    lines = (
        f"canary of {registry.model}: version {canary.version}, with {share} % of the traffic",
        f"started: {started or BY_HAND}",
        f"its server answers: {'since ' + answers if answers else 'not seen yet'}",
        f"reason: {reason or BY_HAND}",
    )
    return CanaryStatus(lines, share, started, answers, reason)


def _found(context: Context, lease: Lease) -> tuple[Any | None, Any | None]:
    """Canary and champion, when what was cut off is finished; an alias that a person moved gets its record."""
    recover(context, lease)
    registry = context.registry
    canary, champion = registry.canary.running(), registry.versions.alias(CHAMPION)
    if canary is not None and champion is not None and (canary.tags.get(ENDED) or not canary.tags.get(STARTED)):
        registry.canary.adopt(str(canary.version), str(champion.version), BY_HAND, lease)
        canary = registry.versions.get(str(canary.version))
    return canary, champion


def _awaited(context: Context, canary: Any, bounds: CanarySettings) -> tuple[str, ...]:
    """Whether its server answers by now, which is written down: from then on it gets its share."""
    is_now = servers.health(bounds.canary, "canary.canary.url")
    if not is_now.answers:
        return (f"it gets no traffic yet: {is_now.words}",)
    if is_now.digest not in ("", reference(context, canary).digest):
        return ("it gets no traffic yet: its server has other weights; is the change in Git merged and applied?",)

    def answers(lease: Lease) -> bool:
        recover(context, lease)
        if there := _same(context, canary):
            lease.renew()
            versions = context.registry.versions
            versions.client.set_model_version_tag(versions.model, str(canary.version), ANSWERED, now())
        return there

    if not alone(context, answers):
        return ("somebody else decided meanwhile",)
    return (f"its server answers, and it gets {bounds.share} % of the traffic from now on",)


def _judged(
    context: Context, champion: Any, canary: Any, bounds: CanarySettings, clock: float
) -> tuple[Became, tuple[str, ...]]:
    """What the rules say of a canary that has its share."""
    of_champion = servers.health(bounds.champion, "canary.champion.url")
    if not of_champion.answers:
        return Became.GOES_ON, (f"nothing is judged: {of_champion.words}",)
    of_canary = servers.health(bounds.canary, "canary.canary.url")
    if not of_canary.answers:
        return Became.STOPPED, (f"answers: {of_canary.words}",)
    for name, found, version in (("champion", of_champion, champion), ("canary", of_canary, canary)):
        if found.digest not in ("", reference(context, version).digest):
            said = f"nothing is judged: the {name}'s server has other weights than version {version.version}"
            return Became.GOES_ON, (said,)
    both = asked(context, champion, canary)
    hours = (clock - _seconds(canary.tags[ANSWERED], clock)) / 3600
    window = max(1, int(hours * 3600))  # no longer: what served there before is no concern of this one
    one, other = (traffic(bounds.prometheus, side, window) for side in (bounds.champion, bounds.canary))
    findings = (
        rule.errors(one, other, bounds),
        rule.seconds(one, other, bounds),
        rule.disagreement(both, bounds),
    )
    lines = tuple(f"{f.rule}: {f.says.value}: {f.words}" for f in findings)
    broken = [line for f, line in zip(findings, lines, strict=True) if f.says is Says.BROKEN]
    if broken:
        return Became.STOPPED, tuple(broken)
    own = other.requests - (both.asked if both else 0)  # what was asked here is no traffic
    if _enough(findings, own, hours, bounds):
        return Became.CHAMPION, lines
    need = f"{max(own, 0)} of {bounds.requests} requests, {hours:.1f} of {bounds.hours:g} hours"
    return Became.GOES_ON, (need, *lines)


def _enough(findings: tuple[Finding, ...], requests: int, hours: float, bounds: CanarySettings) -> bool:
    waits = any(f.says is Says.NOTHING_YET for f in findings)
    return not waits and requests >= bounds.requests and hours >= bounds.hours


def _act(
    context: Context, lease: Lease, canary: Any, became: Became, words: tuple[str, ...]
) -> tuple[Became, str] | None:
    """End the canary as it became; what was done, and in words. None if this is not the canary any more."""
    recover(context, lease)
    if not _same(context, canary):
        return None
    registry, number = context.registry, str(canary.version)
    stopped = "" if forced(canary) else stopped_by_guard(registry.versions.get(number))
    if became is Became.CHAMPION and stopped:  # a person moved the alias, or another run stopped it meanwhile
        became, words = Became.STOPPED, (stopped,)
    elif became is Became.CHAMPION and not canary.tags.get(EVIDENCE):  # a person moved the alias, past the gate
        try:
            decision = against_registry(context, canary.tags.get("selfemo.scores", ""))
        except NotComparable as error:
            decision = Decision(False, error.message)
        if not decision.promoted:
            became, words = Became.STOPPED, (f"it went past the gate, which says no: {decision.reason}",)
    if became is Became.CHAMPION:
        registry.champion.promote(
            number,
            passed=True,
            force=forced(canary),
            reason=f"{canary.tags.get(REASON, BY_HAND)}; it has been canary",
            evidence=canary.tags.get(EVIDENCE, ""),
            lease=lease,
        )
        registry.canary.end("it is champion", lease)
        return became, f"version {number} is champion"
    registry.canary.end(f"rolled back: {'; '.join(words)}", lease)
    return became, f"version {number} is rolled back: {words[0]}"


def _same(context: Context, canary: Any) -> bool:
    """Whether the canary that was looked at is still the canary, and was not ended and started again meanwhile."""
    is_now = context.registry.versions.alias(CANARY)
    return (
        is_now is not None
        and str(is_now.version) == str(canary.version)
        and is_now.tags.get(STARTED) == canary.tags.get(STARTED)
    )


def _seconds(when: str, otherwise: float) -> float:
    """Unix time of a tag's time."""
    try:
        return float(calendar.timegm(time.strptime(when, "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        return otherwise
