"""What the rule of the canary asks of a server, asked of a real one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from selfemo.canary.prometheus import REQUESTS, SECONDS
from selfemo.canary.servers import compared, health, labels
from selfemo.config.canary import Server
from selfemo.data.dialogue import Dialogue
from selfemo.errors import UserError
from selfemo.serving.command import KEY
from tests.integration.serving.conftest import Served

WHERE = "canary.canary.url"


def at(served: Served) -> Server:
    return Server(url=served.url, series='job="serving"')


def test_it_says_what_it_serves_and_reads_the_last_turn(running: Served, dialogues: list[Dialogue]) -> None:
    assert health(at(running), WHERE).digest == "d" * 64
    read = labels(at(running), dialogues[0], WHERE)
    assert read
    unknown = dialogues[0].model_copy(update={"corpus": "nobodys"})
    assert labels(at(running), unknown, WHERE) is None
    assert compared(at(running), at(running), [*dialogues[:3], unknown]) == (0, 3)


def test_it_is_given_the_key_and_one_that_is_not_taken_is_no_fault_of_the_canary(
    start: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = start(key="secret")
    monkeypatch.setenv(KEY, "secret another")
    assert health(at(served), WHERE).answers
    monkeypatch.setenv(KEY, "wrong")
    with pytest.raises(UserError, match="does not take the key"):
        health(at(served), WHERE)


def test_one_that_is_away_is_asked_several_times_before_it_is_believed() -> None:
    waited: list[float] = []
    found = health(Server(url="http://127.0.0.1:9", series=""), WHERE, waited.append)
    assert not found.answers
    assert "Connection refused" in found.words
    assert len(waited) == 2


def test_prometheus_is_asked_for_what_a_server_tells(running: Served, dialogues: list[Dialogue]) -> None:
    labels(at(running), dialogues[0], WHERE)
    with running.http() as client:
        text = client.get("/metrics").text
    for metric in (REQUESTS[0], SECONDS[0]):
        assert f"{metric.partition('{')[0]}{{" in text
    assert 'path="/v1/emotions",status="200"' in text
