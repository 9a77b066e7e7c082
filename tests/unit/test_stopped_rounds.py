"""Rounds that the collapse guard stopped are reported, so that somebody is woken; a real MLflow store in a file."""

from __future__ import annotations

import json
import time

import pytest
from click.testing import CliRunner, Result

from selfemo import config as configuration
from selfemo.cli import main
from selfemo.registry.client import Registry


@pytest.fixture
def registry(mlflow_file: str) -> Registry:
    return Registry(mlflow_file, configuration.load(None, ["run=night"]))


def decided(registry: Registry, round: int, stopped: str, hours_ago: float = 0.0) -> None:
    run = registry.round(round)
    at = str(int((time.time() - hours_ago * 3600) * 1000))
    registry.tags(run, {"selfemo.stopped": stopped, "selfemo.decided_at": at})
    registry.finish(run)  # now, as when its pipeline is resumed


def asked(registry: Registry, *options: str) -> Result:
    """As another run's configuration asks: a CronJob knows only the installation's."""
    uri = f"mlflow.tracking_uri={registry.tracking_uri}"
    return CliRunner().invoke(main, ["stopped-rounds", "--set", uri, "--set", "run=any", *options])


def test_a_stopped_round_of_any_run_is_named_with_its_reason_and_fails_the_command(registry: Registry) -> None:
    decided(registry, 0, "")
    decided(registry, 1, "collapse: label entropy 0.10 is below 0.50")
    found = asked(registry)
    assert found.exit_code == 1
    assert found.output == "night round 1: collapse: label entropy 0.10 is below 0.50\n"
    told = asked(registry, "--json")
    reason = "collapse: label entropy 0.10 is below 0.50"
    assert json.loads(told.stdout) == {"hours": 24, "rounds": [{"name": "night round 1", "reason": reason}]}
    assert told.exit_code == 1


def test_one_of_long_ago_and_one_that_is_not_decided_wake_nobody(registry: Registry) -> None:
    decided(registry, 1, "collapse", hours_ago=25)
    registry.tags(registry.round(2), {"selfemo.stopped": "collapse"})  # its tags are there, its decision is not
    assert asked(registry).exit_code == 0
    assert asked(registry, "--within", "26").exit_code == 1


def test_where_nothing_ran_yet_nothing_was_stopped(registry: Registry) -> None:
    found = asked(registry)
    assert found.exit_code == 0, found.output
    assert found.output == "no round was stopped in the last 24 h\n"
