"""The section ``canary``: what cannot be meant is refused, and no step's address depends on it."""

from __future__ import annotations

import pytest

from selfemo import config as configuration
from selfemo.config.run import SECTIONS
from selfemo.errors import UserError


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{share: 0}", "share"),
        ("{share: 51}", "share"),
        ("{hours: 24, most_hours: 24}", "most_hours: 24 must be more than hours, 24"),
        ("{requests: 30}", "requests: 30 must be no fewer than judged_from, 50"),
        ("{judged_from: 5}", "judged_from"),
        ("{ask: 10}", "ask: 10 conversations are too few to be judged: ask 0, or at least 20"),
        ("{prometheus: prometheus}", "no address of a server"),
        ("{canary: {url: 'http://localhost:8000', series: 'job=\"c\"'}}", "are one server"),
        ("{champion: {url: 'http://a:b@host', series: ''}}", "holds credentials"),
        ("{weight: 10}", "weight"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: str, said: str) -> None:
    with pytest.raises(UserError, match="canary") as refused:
        configuration.load(None, [f"canary={given}"])
    assert said in str(refused.value)


def test_there_is_none_unless_it_is_said_and_no_step_depends_on_it() -> None:
    without = configuration.load(None, [])
    assert without.canary is None
    assert configuration.Config.from_json(without.to_json()) == without
    with_one = configuration.load(None, ["canary={share: 5}"])
    assert all(with_one.digest(step) == without.digest(step) for step in SECTIONS)
