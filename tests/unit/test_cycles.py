"""A scheduled run's name: its own for each time, the same when it is tried again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfemo import config as configuration
from selfemo import cycles
from selfemo.errors import UserError

CONFIG = configuration.load(None, ["run=nightly"])
PLACEHOLDER = "{{$.pipeline_job_schedule_time_utc}}"
"""What a task is given where nobody puts a time in its place: by KFP's local runner, and by backends before 2.17."""


def test_without_a_cycle_nothing_changes_whatever_the_time() -> None:
    assert cycles.of(CONFIG, "", PLACEHOLDER) is CONFIG


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1)), st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1))
)
def test_each_time_has_its_own_name_and_the_same_time_the_same(one: datetime, other: datetime) -> None:
    names = [
        cycles.of(CONFIG, cycles.SCHEDULED, t.replace(microsecond=0, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")).run
        for t in (one, other, one)
    ]
    assert names[0] == names[2]
    assert (names[0] == names[1]) is (one.replace(microsecond=0) == other.replace(microsecond=0))
    assert (names[0] < names[1]) is (one.replace(microsecond=0) < other.replace(microsecond=0))  # sorted by time


@given(st.integers(0, 2**31 - 1), st.sampled_from(["a", "20261126-030000", "b.c-d"]))
def test_each_cycle_has_a_seed_of_its_own_and_draws_who_is_scored_as_its_schedule_does(seed: int, name: str) -> None:
    schedule = CONFIG.model_copy(update={"seed": seed})
    one, same, other = (cycles.of(schedule, n) for n in (name, name, "other"))
    assert one.seed == same.seed != other.seed
    assert one.division_seed == other.division_seed == schedule.division_seed == seed
    assert one.cycle is not None and one.cycle.schedule == CONFIG.run


def test_a_cycle_without_anything_new_has_no_rounds() -> None:
    assert cycles.played(CONFIG, {}) is CONFIG and cycles.played(CONFIG, {"idle": ""}) is CONFIG
    idle = cycles.played(CONFIG, {"idle": "nothing came"})
    assert idle.loop.rounds == 0 and idle.loop.patience == CONFIG.loop.patience


def test_a_cycle_by_name_is_the_scheduled_one() -> None:
    scheduled = cycles.of(CONFIG, cycles.SCHEDULED, "2026-11-26T03:00:00Z")
    assert scheduled == cycles.of(CONFIG, "20261126-030000")
    assert scheduled.run == "nightly-20261126-030000"


@pytest.mark.parametrize(
    ("cycle", "time", "words"),
    [
        (cycles.SCHEDULED, PLACEHOLDER, "did not say when"),
        (cycles.SCHEDULED, "", "did not say when"),
        ("Tonight", "", "is no name"),
        ("../other", "", "is no name"),
    ],
)
def test_what_is_no_cycle_is_refused(cycle: str, time: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        cycles.of(CONFIG, cycle, time)


def test_a_name_that_gets_too_long_is_said() -> None:
    long = CONFIG.model_copy(update={"run": "n" * 60})
    with pytest.raises(UserError, match="run"):
        cycles.of(long, "20261126-030000")
