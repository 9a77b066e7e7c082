"""What Prometheus reads of a server: every request once, whoever answered it."""

from __future__ import annotations

import pytest

from selfemo.serving.service import Service
from tests.integration.serving_limits.clients import in_threads, joined
from tests.integration.serving_limits.served import Start

CHATS, OTHER = 'path="/v1/chat/completions"', 'path="other"'


def test_requests_are_counted_by_path_and_status_and_scrapes_need_no_key(start: Start) -> None:
    running = start("secret", together=1, waiting=0)
    threads, _ = in_threads(1, lambda _: running.chat("at work", authorization="Bearer secret"))
    running.holds(1)
    assert running.chat("one too many", authorization="Bearer secret")[0] == 429
    assert running.chat("no key")[0] == 401
    for name in ("/", "/nosuch", "/v1/nosuch"):  # names that a client makes up are one figure
        assert running.ask("GET", name, authorization="Bearer secret")[0] == 404
    assert running.ask("GET", "/healthz")[0] == 200
    running.engine.may.set()
    joined(threads)
    running.holds(0)
    found = {name: value for name, value in running.figures().items() if name.startswith("selfemo_requests_total")}
    assert found == {
        f'selfemo_requests_total{{{CHATS},status="200"}}': 1,
        f'selfemo_requests_total{{{CHATS},status="429"}}': 1,
        f'selfemo_requests_total{{{CHATS},status="401"}}': 1,
        f'selfemo_requests_total{{{OTHER},status="404"}}': 3,
    }
    assert running.figures()[f"selfemo_request_seconds_count{{{CHATS}}}"] == 3
    assert running.figures()["process_resident_memory_bytes"] > 0


def test_a_client_that_left_is_counted_as_such(start: Start) -> None:
    running = start()
    with running.open() as connection:
        connection.sendall(b"POST /v1/emotions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        running.saw(1)
    running.shows('selfemo_requests_total{path="/v1/emotions",status="499"}', 1)


def test_an_answer_that_a_defect_ends_is_counted_as_the_500_that_its_client_sees(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(*_: object) -> None:
        raise RuntimeError("a defect")

    running = start()
    monkeypatch.setattr(Service, "reading", planted)
    status, _, _ = running.ask("POST", "/v1/emotions", {"turns": [{"speaker": "Ann", "text": "We won!"}]})
    assert status == 500
    running.shows('selfemo_requests_total{path="/v1/emotions",status="500"}', 1)
