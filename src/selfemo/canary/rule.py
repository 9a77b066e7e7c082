"""The rule by which a canary is rolled back: errors, seconds and disagreement, each held against its bound by a test.

A few requests say little, and who looks often sees chance make an outlier some time. So nothing is judged below a
number of requests, every test is one-sided and exact, and its level falls with the requests that have been seen: each
time they double, a smaller share of the whole chance is spent. Nothing has to be remembered from look to look.
``tests/unit/canary/test_rule.py`` counts how often two that are alike are told apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from selfemo.config.canary import FEWEST_ASKED, CanarySettings

TAIL = 0.05
"""Of the requests, those that take longer than the 95th percentile."""


class Says(Enum):
    """What a rule says of a canary."""

    NOTHING_YET = "not enough seen"
    """It has not answered often enough to tell."""
    WELL = "within its bound"
    """Nothing speaks against it beyond chance."""
    BROKEN = "beyond its bound"
    """It is worse than it may be, beyond chance: the canary is rolled back."""
    NEVER = "not judged"
    """The figure cannot be had, and will not be by waiting."""


@dataclass(frozen=True)
class Finding:
    """What a rule says, and of what, in words."""

    rule: str
    says: Says
    words: str


@dataclass(frozen=True)
class Traffic:
    """Requests of one of the two since the canary has its share.

    Attributes:
        requests: That were answered.
        errors: Of these, how many by an error of the server.
        seconds: How many took at most so many seconds, by the upper bounds of a histogram; the last is infinity.
    """

    requests: int
    errors: int
    seconds: Mapping[float, int]


@dataclass(frozen=True)
class Disagreement:
    """Conversations that both were asked for.

    Attributes:
        differ: In how many they gave different label sets.
        asked: How many both answered.
        held_out, held_out_differ: Held-out turns that both were evaluated on, and in how many they differed; 0 where
            their evaluations cannot be compared.
    """

    differ: int
    asked: int
    held_out: int
    held_out_differ: int


def level(requests: int, bounds: CanarySettings) -> float:
    """At what p a test that has seen so many requests of the canary tells it apart.

    The k-th doubling of ``judged_from`` gets a ``1 / 4k(k + 1)``-th of the chance. These add up to a quarter of it;
    the rest is for the looks within a doubling, which are much alike.
    """
    doubling = 1 + int(math.log2(max(requests / bounds.judged_from, 1)))
    return bounds.chance / (4 * doubling * (doubling + 1))


def errors(champion: Traffic, canary: Traffic, bounds: CanarySettings) -> Finding:
    """Whether more of the canary's answers are errors than of the champion's: Fisher's exact test."""
    from scipy.stats import fisher_exact

    few = _few("errors", champion.requests, canary.requests, bounds)
    if few is not None:
        return few
    table = [
        [canary.errors, canary.requests - canary.errors],
        [champion.errors, champion.requests - champion.errors],
    ]
    p = float(fisher_exact(table, alternative="greater").pvalue)
    more = canary.errors / canary.requests - champion.errors / champion.requests
    words = (
        f"{canary.errors} of {canary.requests} answers of the canary are errors, {champion.errors} of"
        f" {champion.requests} of the champion (p = {p:.2g}; {more:+.2%} with a bound of +{bounds.errors:.2%})"
    )
    broken = more > bounds.errors and p <= level(canary.requests, bounds)
    return Finding("errors", Says.BROKEN if broken else Says.WELL, words)


def seconds(champion: Traffic, canary: Traffic, bounds: CanarySettings) -> Finding:
    """Whether the canary's 95th percentile is beyond a multiple of the champion's.

    That is so if more than one in twenty of its requests takes longer: a binomial test. The bound is the next one of
    the histogram, up to which requests are counted and not estimated.
    """
    from scipy.stats import binomtest

    of_champion, of_canary = _all(champion), _all(canary)
    few = _few("seconds", of_champion, of_canary, bounds)
    if few is not None:
        return few
    usual = percentile(champion.seconds, 1 - TAIL)
    bound = next((le for le in sorted(champion.seconds) if le >= usual * bounds.slower), math.inf)
    if math.isinf(bound) or bound not in canary.seconds:
        return Finding(
            "seconds", Says.NEVER, f"the champion's 95th percentile, {usual:.2g} s, is at the histogram's end"
        )
    late = of_canary - canary.seconds[bound]
    p = float(binomtest(late, of_canary, TAIL, alternative="greater").pvalue)
    words = (
        f"{late} of {of_canary} answers of the canary took more than {bound:g} s (p = {p:.2g}; one in twenty may); the"
        f" champion's 95th percentile is {usual:.2g} s"
    )
    broken = p <= level(of_canary, bounds)
    return Finding("seconds", Says.BROKEN if broken else Says.WELL, words)


def disagreement(asked: Disagreement | None, bounds: CanarySettings) -> Finding:
    """Whether the two disagree in more conversations than their evaluations let expect: a binomial test.

    One turn of each conversation is asked for: turns of one conversation are no independent draws.
    """
    from scipy.stats import binomtest

    if asked is None:
        return Finding("disagreement", Says.NEVER, "nothing is asked: canary.ask is 0")
    if asked.asked < FEWEST_ASKED:
        said = f"both answered {asked.asked} conversations, and {FEWEST_ASKED} are needed"
        return Finding("disagreement", Says.NEVER, said)
    if not asked.held_out:
        said = f"they differ in {asked.differ} of {asked.asked} conversations; their evaluations cannot be compared"
        return Finding("disagreement", Says.NEVER, said)
    expected = asked.held_out_differ / asked.held_out
    most = min(expected + bounds.disagreement, 1.0)
    p = float(binomtest(asked.differ, asked.asked, most, alternative="greater").pvalue)
    words = (
        f"they differ in {asked.differ} of {asked.asked} conversations (p = {p:.2g}; {most:.0%} may, since they differ"
        f" in {expected:.0%} of the held-out turns)"
    )
    return Finding("disagreement", Says.BROKEN if p <= bounds.chance else Says.WELL, words)


def percentile(counts: Mapping[float, int], share: float) -> float:
    """A percentile of a histogram, with requests spread evenly in a bucket, as Prometheus takes it.

    Args:
        counts: Cumulative, by upper bound.
        share: In (0, 1).

    Returns:
        Seconds; infinity if it lies above the last finite bound.
    """
    wanted, below, start = share * max(counts.values(), default=0), 0, 0.0
    for le in sorted(counts):
        if counts[le] >= wanted and counts[le] > below:
            return le if math.isinf(le) else start + (le - start) * (wanted - below) / (counts[le] - below)
        below, start = counts[le], le
    return math.inf


def _all(traffic: Traffic) -> int:
    return max(traffic.seconds.values(), default=0)


def _few(rule: str, champion: int, canary: int, bounds: CanarySettings) -> Finding | None:
    if min(champion, canary) >= bounds.judged_from:
        return None
    said = f"{canary} requests of the canary and {champion} of the champion; {bounds.judged_from} of each are needed"
    return Finding(rule, Says.NOTHING_YET, said)
