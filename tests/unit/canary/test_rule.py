"""The rule tells a bad canary from a good one, and is not fooled by few requests or many looks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfemo.canary import rule
from selfemo.canary.rule import Disagreement, Says, Traffic
from selfemo.config.canary import CanarySettings

BOUNDS = CanarySettings()


def seen(requests: int, errors: int = 0, late: int = 0) -> Traffic:
    """So many requests, all within half a second but some that took between one and two."""
    fast = requests - late
    return Traffic(requests, errors, {0.25: fast // 2, 0.5: fast, 1.0: fast, 2.0: requests, math.inf: requests})


def test_below_a_number_of_requests_nothing_is_judged_however_bad_they_are() -> None:
    for champion, canary in ((seen(1000), seen(49, 49, 49)), (seen(49), seen(1000, 1000, 1000))):
        assert rule.errors(champion, canary, BOUNDS).says is Says.NOTHING_YET
        assert rule.seconds(champion, canary, BOUNDS).says is Says.NOTHING_YET


def test_errors_beyond_the_bound_and_beyond_chance_break_it() -> None:
    assert rule.errors(seen(900), seen(100, errors=20), BOUNDS).says is Says.BROKEN
    assert rule.errors(seen(900), seen(100, errors=2), BOUNDS).says is Says.WELL  # may be chance
    assert rule.errors(seen(900, errors=180), seen(100, errors=20), BOUNDS).says is Says.WELL  # both


def test_a_difference_within_the_bound_is_borne_however_sure_it_is() -> None:
    champion, canary = seen(1_000_000, errors=1_000), seen(1_000_000, errors=10_000)
    assert rule.errors(champion, canary, BOUNDS).says is Says.WELL
    assert rule.errors(champion, canary, CanarySettings(errors=0.005)).says is Says.BROKEN


def test_seconds_beyond_a_multiple_of_the_champions_break_it() -> None:
    assert rule.seconds(seen(900), seen(100, late=30), BOUNDS).says is Says.BROKEN
    assert rule.seconds(seen(900), seen(100, late=6), BOUNDS).says is Says.WELL  # one in twenty may, and chance
    assert rule.seconds(seen(900, late=300), seen(100, late=30), BOUNDS).says is Says.NEVER  # slow is what is usual
    assert rule.seconds(seen(900), seen(100, late=30), CanarySettings(slower=3)).says is Says.WELL


def test_disagreement_is_held_against_that_on_the_held_out_turns() -> None:
    assert rule.disagreement(Disagreement(60, 100, 400, 80), BOUNDS).says is Says.BROKEN
    assert rule.disagreement(Disagreement(35, 100, 400, 80), BOUNDS).says is Says.WELL  # 30 may
    assert rule.disagreement(Disagreement(60, 100, 400, 240), BOUNDS).says is Says.WELL  # they always did


@pytest.mark.parametrize("asked", [None, Disagreement(19, 19, 400, 80), Disagreement(60, 100, 0, 0)])
def test_what_cannot_be_compared_is_not_judged(asked: Disagreement | None) -> None:
    assert rule.disagreement(asked, BOUNDS).says is Says.NEVER


@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_who_looks_again_and_again_at_two_that_are_alike_rolls_back_less_often_than_the_chance_allows(
    rate: float,
) -> None:
    bounds, draw, wrong, tries = CanarySettings(errors=0.0, chance=0.1), np.random.default_rng(1), 0, 150
    for _ in range(tries):
        requests = errors = of_champion = 0
        while requests < 3200:
            more = max(10, requests // 10)
            requests += more
            errors += draw.binomial(more, rate)
            of_champion += draw.binomial(9 * more, rate)
            says = rule.errors(seen(9 * requests, of_champion), seen(requests, errors), bounds).says
            if says is Says.BROKEN:
                wrong += 1
                break
    assert wrong / tries <= bounds.chance


@given(st.integers(1, 10**9))
def test_the_level_falls_with_what_was_seen_and_never_reaches_nothing(requests: int) -> None:
    assert 0 < rule.level(2 * requests, BOUNDS) <= rule.level(requests, BOUNDS) < BOUNDS.chance


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8), st.floats(0.01, 0.99))
def test_a_percentile_lies_in_the_bucket_in_which_its_request_was_counted(counts: list[int], share: float) -> None:
    bounds = [*map(float, range(1, len(counts))), math.inf]
    cumulative = dict(zip(bounds, np.cumsum(counts).tolist(), strict=True))
    found = rule.percentile(cumulative, share)
    wanted = share * sum(counts)
    if sum(counts) == 0:
        assert math.isinf(found)
        return
    upper = min(le for le in bounds if cumulative[le] >= wanted and cumulative[le] > 0)
    lower = max((le for le in bounds if le < upper), default=0.0)
    assert lower <= found <= upper
