"""A server that is away is waited for; one that stays away is given up and named."""

from __future__ import annotations

import logging

import pytest

from selfemo.registry.client import Registry
from selfemo.registry.mlflow_client import Client, Unreachable
from selfemo.registry.versions import CHAMPION
from tests.conftest import there
from tests.unit.mlflow_client.faults import Server, Time


def test_a_server_that_is_down_for_a_while_is_waited_for(
    server: Server, registry: Registry, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    run = registry.round(1)
    server.stop()
    time.meanwhile = lambda now: server.start() if now > 20 and server._server is None else None
    with caplog.at_level(logging.INFO):
        registry.metrics(run, [(1, {"loss": 0.5})])
    assert [m.value for m in registry.client.get_metric_history(run, "loss")] == [0.5]
    said = [r.getMessage() for r in caplog.records if r.name == "selfemo.registry.mlflow_client"]
    assert len(said) == 2  # once when it went, once when it came: not a line for each try
    assert "trying again, for 180 s" in said[0]
    assert "answers again" in said[1]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_passes_by_itself_is_tried_again(server: Server, registry: Registry, time: Time, status: int) -> None:
    run = registry.round(1)
    server.fault = lambda path: (status, "text/plain", "busy") if time.now < 5 else None
    registry.tags(run, {"a": str(status)})
    assert registry.client.get_run(run).data.tags["a"] == str(status)


def test_a_server_that_stays_away_is_given_up_with_its_name(registry: Registry, server: Server, time: Time) -> None:
    server.stop()
    with pytest.raises(Unreachable, match="does not answer") as raised:
        registry.versions.alias(CHAMPION)
    assert raised.value.where == server.uri
    assert 180 <= time.now < 200
    server.start()


def test_a_write_that_decides_says_that_it_was_not_made(registry: Registry, server: Server, time: Time) -> None:
    version = registry.versions.register("s3://b/a", registry.round(1), {})
    server.fault = lambda path: (503, "text/plain", "no") if path.endswith("alias") else None
    with pytest.raises(Unreachable):
        registry.champion.promote(version, passed=True, reason="better")
    server.fault = lambda path: None
    assert registry.versions.alias(CHAMPION) is None
    registry.champion.promote(version, passed=True, reason="better")
    assert there(registry.versions.alias(CHAMPION)).version == version


def test_a_password_in_the_address_is_not_shown(server: Server, time: Time) -> None:
    server.stop()
    client = Client(server.uri.replace("://", "://bob:secret@"), 0, time.sleep, time.clock)
    with pytest.raises(Unreachable) as raised:
        client.get_run("x")
    assert raised.value.where == server.uri
    server.start()
