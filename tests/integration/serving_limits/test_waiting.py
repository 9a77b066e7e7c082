"""How many requests wait for the engine, and what becomes of a request whose client has left."""

from __future__ import annotations

import http.client
import json
from typing import Any

import openai
import pytest

from tests.integration.serving_limits.clients import in_threads, joined
from tests.integration.serving_limits.served import CHAT, Start


def test_health_is_answered_while_45_chats_wait(start: Start) -> None:
    running = start()
    threads, results = in_threads(45, lambda i: running.chat(f"chat {i}"))
    running.holds(45)
    for _ in range(3):
        assert running.ask("GET", "/healthz")[:2] == (200, {"status": "ok", "model": "self-emo"})
    assert running.ask("GET", "/v1/models")[0] == 200
    assert results == []  # all of them wait still
    running.engine.may.set()
    joined(threads)
    assert [status for status, _, _ in results] == [200] * 45
    assert sorted(body["choices"][0]["message"]["content"] for _, body, _ in results) == sorted(
        f"chat {i}" for i in range(45)
    )


def test_no_more_wait_than_may_and_the_rest_are_told_to_come_again(start: Start) -> None:
    running = start(together=1, waiting=2, retry_seconds=7)
    threads, results = in_threads(1, lambda _: running.chat("at work"))
    running.begun(1)
    more, _ = in_threads(2, lambda i: results.append(running.chat(f"waits {i}")))
    running.holds(3)
    status, body, headers = running.chat("one too many")
    assert (status, body["error"]["type"], headers["retry-after"]) == (429, "rate_limit_error", "7")
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{running.port}/v1", api_key="x", max_retries=0)
    with pytest.raises(openai.RateLimitError, match="2 requests wait already"):
        client.chat.completions.create(model="self-emo", messages=CHAT["messages"])
    assert running.ask("POST", "/v1/chat/completions", {"messages": []})[0] == 400  # what is wrong need not wait
    running.engine.may.set()
    joined([*threads, *more])
    assert [r[0] for r in results if isinstance(r, tuple)] == [200] * 3
    assert running.chat("later")[0] == 200
    assert "one too many" not in running.engine.begun


def test_nothing_is_done_for_a_client_that_left_and_its_place_is_free(start: Start) -> None:
    running = start(together=1, waiting=1)
    threads, _ = in_threads(1, lambda _: running.chat("at work"))
    running.begun(1)
    leaver = http.client.HTTPConnection("127.0.0.1", running.port)
    body = {"messages": [{"role": "user", "content": "leaves"}]}
    leaver.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    running.holds(2)
    assert running.chat("full")[0] == 429
    leaver.close()
    running.holds(1)
    more, stays = in_threads(1, lambda _: running.chat("stays"))
    running.holds(2)
    running.engine.may.set()
    joined([*threads, *more])
    assert stays[0][0] == 200
    assert running.engine.begun == ["at work", "stays"]


def test_the_answer_of_a_client_that_left_in_the_middle_of_it_troubles_nobody(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    running = start()
    leaver = http.client.HTTPConnection("127.0.0.1", running.port)
    leaver.request("POST", "/v1/chat/completions", json.dumps(CHAT), {"content-type": "application/json"})
    running.begun(1)
    leaver.close()
    threads, results = in_threads(1, lambda _: running.chat("next"))
    running.saw(2)
    running.engine.may.set()
    joined(threads)
    assert results[0][0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_a_stream_comes_whole_through_all_this(start: Start) -> None:
    running = start("secret")
    running.engine.may.set()
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{running.port}/v1", api_key="secret")
    messages: Any = [{"role": "user", "content": "say it"}]
    pieces = client.chat.completions.create(model="self-emo", messages=messages, stream=True)
    assert "".join(p.choices[0].delta.content or "" for p in pieces) == "say it"
