"""Who is let in: a client that has the key, and one that calls the machine by its own name."""

from __future__ import annotations

import pytest

from selfemo.serving.command import HOSTS
from tests.integration.serving_limits.clients import answered, sent
from tests.integration.serving_limits.served import MIB, Start


@pytest.mark.parametrize("path", ["/v1/models", "/v1/emotions", "/docs", "/openapi.json", "/nowhere"])
def test_where_there_is_a_key_only_health_is_open(start: Start, path: str) -> None:
    running = start("secret")
    for given in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic secret"},
        {"authorization": "secret"},
    ):
        status, body, headers = running.ask("GET", path, **given)
        assert (status, body["error"]["code"]) == (401, 401)
        assert headers["www-authenticate"] == "Bearer"
    assert running.ask("GET", path, authorization="Bearer secret")[0] != 401
    assert running.ask("GET", path, authorization="bearer secret")[0] != 401  # schemes have no case
    assert running.ask("GET", "/healthz")[1]["status"] == "ok"


def test_without_the_key_a_body_is_not_read(start: Start) -> None:
    running = start("secret")
    head = "POST /v1/emotions HTTP/1.1\nhost: x\ncontent-type: application/json\ncontent-length: 40000000\n\n"
    with running.open() as connection:
        out = sent(connection, head, b"x" * 100_000, 40_000_000)
        assert answered(connection)[0] == 401
    assert out < 40_000_000, "the rest was not taken: the connection was closed"
    assert running.counted.bytes < 2 * MIB, "and what came was dropped after a bound"


def test_a_client_that_asks_before_it_sends_a_body_is_told_at_once(start: Start) -> None:
    running = start("secret")
    with running.open() as connection:
        sent(
            connection,
            "POST /v1/emotions HTTP/1.1\nhost: x\ncontent-length: 40000000\nexpect: 100-continue\n\n",
            b"",
            0,
        )
        assert answered(connection)[0] == 401  # and not 100
    assert running.counted.bytes == 0


def test_a_name_that_is_not_the_machines_own_is_refused_where_no_key_is_asked(start: Start) -> None:
    running = start(hosts=HOSTS)
    for name in ("localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"):
        assert running.ask("GET", "/v1/models", host=name)[0] == 200
    for name in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80"):
        assert running.ask("GET", "/v1/models", host=name)[0] == 400
        assert running.ask("GET", "/healthz", host=name)[0] == 400
