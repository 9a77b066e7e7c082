"""A run that would outgrow what a cluster keeps of it is refused before it begins."""

from __future__ import annotations

import re

import pytest

from pipelines import size
from selfemo import config as configuration
from selfemo.config import Config
from selfemo.errors import UserError
from tests.conftest import there


def of(rounds: int, shards: int) -> Config:
    return configuration.load(None, [f"loop.rounds={rounds}", f"launch.shards={shards}"])


@pytest.mark.parametrize(
    ("rounds", "shards", "kilobytes"),
    [(3, 8, 469), (5, 8, 605), (10, 8, 945), (10, 16, 1405)],  # KFP 2.17.0's compiler, node status gzipped
)
def test_the_estimate_is_that_of_the_model(rounds: int, shards: int, kilobytes: int) -> None:
    assert size.kilobytes(rounds, shards) == pytest.approx(kilobytes, rel=0.01)


def test_what_fits_is_said_with_its_size() -> None:
    assert re.search(r"469 of 1024 KB", size.check(of(3, 8)))


@pytest.mark.parametrize(("rounds", "shards"), [(10, 16), (10, 64), (5, 64)])
def test_what_does_not_is_refused_and_what_is_proposed_instead_fits(rounds: int, shards: int) -> None:
    with pytest.raises(UserError, match="a cluster takes 1024") as refused:
        size.check(of(rounds, shards))
    proposed = int(there(re.search(r"to (\d+)", str(refused.value))).group(1))
    size.check(of(rounds, proposed))
    with pytest.raises(UserError):
        size.check(of(rounds, proposed + 1))
