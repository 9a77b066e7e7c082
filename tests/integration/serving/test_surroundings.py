"""What operators see: ids, a log without text, figures, and how it stops."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.integration.serving.conftest import SECONDS, Served

SECRET = "my cat is called Ferdinand"
CHAT = {"messages": [{"role": "user", "content": SECRET}], "max_tokens": 4}


def test_a_request_keeps_its_id_if_it_is_a_safe_one(running: Served) -> None:
    with running.http() as client:
        for given, kept in (("abc-123", True), ("a" * 200, False), ("a\x7fb", False), ("<script>", False)):
            answer = client.post("/v1/chat/completions", json=CHAT, headers={"x-request-id": given})
            assert (answer.headers["x-request-id"] == given) is kept
        assert client.get("/nowhere").headers["x-request-id"]
        assert client.post("/v1/emotions", content=b"{").headers["x-request-id"]


def test_the_log_is_json_and_says_nothing_of_what_was_said(start: Callable[..., Served]) -> None:
    running = start()
    with running.http() as client:
        client.post("/v1/chat/completions", json=CHAT, headers={"x-request-id": "one"})
        client.post("/v1/emotions", json={"turns": [{"speaker": "Ferdinand", "text": SECRET}]})
        client.get(f"/{SECRET}?{SECRET}")
        client.get("/healthz")
    rows = [json.loads(line) for line in running.log]
    assert [(r["path"], r["status"]) for r in rows] == [
        ("/v1/chat/completions", 200),
        ("/v1/emotions", 200),
        ("other", 404),
    ]
    assert rows[0]["id"] == "one"
    assert rows[0]["prompt_tokens"] > 0 and rows[0]["completion_tokens"] > 0
    assert not any("Ferdinand" in line for line in running.log)


def test_figures_tell_tokens_steps_and_sessions(start: Callable[..., Served]) -> None:
    running = start()
    with running.http() as client:
        for _ in range(2):
            client.post("/v1/emotions", json={"turns": [{"speaker": "A", "text": SECRET}], "session": "s"})
        text = client.get("/metrics").text
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(figures["selfemo_sessions"]) == 1
    assert float(figures["selfemo_requests_waiting"]) == 0
    assert float(figures['selfemo_tokens_total{kind="computed"}']) > 0
    assert float(figures['selfemo_tokens_total{kind="reused"}']) > 0
    assert float(figures["selfemo_kept_tokens"]) > 0
    assert float(figures["selfemo_step_requests_count"]) >= 2


def test_told_to_stop_it_finishes_what_it_has_and_takes_nothing_new(start: Callable[..., Served]) -> None:
    running = start()
    long: Any = {**CHAT, "max_tokens": 400, "stream": True, "temperature": 2.0, "n": 4, "seed": 1}
    with running.http() as client, running.http() as other:
        with client.stream("POST", "/v1/chat/completions", json=long) as answer:
            lines = answer.iter_lines()
            next(lines)
            running.ask_to_stop()
            health = other.get("/healthz")
            assert (health.status_code, health.json()["status"]) == (503, "draining")
            assert other.get("/livez").status_code == 200
            refused = other.post("/v1/chat/completions", json=CHAT)
            assert (refused.status_code, refused.json()["error"]["type"]) == (503, "server_error")
            assert refused.headers["retry-after"]
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
    running.thread.join(SECONDS)
    assert not running.thread.is_alive()


def test_what_cannot_be_finished_in_time_is_told(start: Callable[..., Served]) -> None:
    running = start(stop_seconds=0)
    long: Any = {**CHAT, "max_tokens": 1000, "temperature": 2.0, "n": 16}
    with running.http() as client, ThreadPoolExecutor(1) as pool:
        waits = pool.submit(lambda: client.post("/v1/chat/completions", json=long))
        with (
            running.http() as other,
            other.stream("POST", "/v1/chat/completions", json={**long, "stream": True}) as answer,
        ):
            lines = answer.iter_lines()
            next(lines)
            while running.scheduler.held < 2:
                other.get("/livez")
            running.ask_to_stop()
            *_, last = [line for line in lines if line]
        assert json.loads(last.removeprefix("data: "))["error"]["type"] == "server_error"
        assert waits.result(SECONDS).status_code == 503
    running.thread.join(SECONDS)
    assert not running.thread.is_alive()


def test_an_engine_that_fails_is_told_and_goes_on(start: Callable[..., Served]) -> None:
    running = start()
    stepper: Any = running.scheduler.stepper
    step = stepper.step
    failures = iter([RuntimeError("out of memory")])

    def fails() -> Any:
        for failure in failures:
            raise failure
        return step()

    stepper.step = fails
    with running.http() as client:
        answer = client.post("/v1/chat/completions", json=CHAT)
        assert answer.status_code == 500
        assert "memory" not in answer.text
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
