"""Streams are as OpenAI's client expects them, token by token, and a seeded answer is the same however it comes."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from selfemo.policy.engine import Sampling
from selfemo.serving.schema import ChatRequest
from selfemo.serving.service import Service
from tests.integration.serving.conftest import Served

HI: Any = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hello there, how are you?"}]


def test_a_stream_begins_with_the_role_and_ends_with_why_and_what_it_cost(running: Served) -> None:
    client = running.openai()
    asked: Any = {"model": "self-emo", "messages": HI, "max_tokens": 12, "seed": 4}
    whole = client.chat.completions.create(**asked)
    pieces = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    *chunks, last = pieces
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks)
    assert text == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks][-1] == whole.choices[0].finish_reason
    assert all(c.choices[0].finish_reason is None for c in chunks[:-1])
    assert len([c for c in chunks if c.choices[0].delta.content]) > 1  # it did not come in one piece
    assert last.choices == []
    assert last.usage is not None and whole.usage is not None
    assert last.usage.completion_tokens == whole.usage.completion_tokens <= 12
    assert {c.id for c in pieces} == {last.id}
    assert all(c.usage is None for c in chunks)


def test_raw_events_end_with_done_and_usage_comes_only_if_asked_for(running: Served) -> None:
    with running.http() as client:
        body = {"messages": HI, "max_tokens": 3, "stream": True, "n": 2}
        answer = client.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, done = [x.removeprefix("data: ") for x in answer.text.split("\n\n") if x]
    assert done == "[DONE]"
    rows = [json.loads(event) for event in events]
    assert {row["object"] for row in rows} == {"chat.completion.chunk"}
    assert all(len(row["choices"]) == 1 and "usage" not in row for row in rows)
    assert {row["choices"][0]["index"] for row in rows} == {0, 1}


def test_a_seeded_answer_does_not_depend_on_who_else_asks(running: Served) -> None:
    client = running.openai()

    def text(seed: int) -> str | None:
        messages: Any = [*HI, {"role": "user", "content": f"number {seed % 5}"}]
        asked: Any = {"max_tokens": 10 + seed % 3, "temperature": 0.9, "seed": seed}
        answer = client.chat.completions.create(model="self-emo", messages=messages, **asked)
        said: str | None = answer.choices[0].message.content
        return said

    alone = [text(seed) for seed in range(16)]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(text, range(16))) == alone


def test_a_greedy_answer_is_the_models_own(running: Served, service: Service) -> None:
    asked = {"messages": HI, "max_tokens": 8, "temperature": 0}
    with running.http() as client:
        answer = client.post("/v1/chat/completions", json=asked).json()
    prompt = service.chat(ChatRequest.model_validate(asked), "").prompt
    ((alone,),) = service.player.engine.sample([prompt], [0], Sampling(1, 8, 0.0))
    assert answer["choices"][0]["message"]["content"] == alone.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_is_never_said_nor_a_part_of_it(running: Served, stream: bool) -> None:
    with running.http() as client:
        body = {"messages": HI, "max_tokens": 20, "seed": 9}
        text = client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]
        stop = text[5:9]
        answer = client.post("/v1/chat/completions", json={**body, "stop": ["\x00never", stop], "stream": stream})
    if stream:
        rows = [json.loads(x.removeprefix("data: ")) for x in answer.text.split("\n\n") if x and "[DONE]" not in x]
        said = "".join(row["choices"][0]["delta"].get("content", "") for row in rows)
        reason = rows[-1]["choices"][0]["finish_reason"]
    else:
        (choice,) = answer.json()["choices"]
        said, reason = choice["message"]["content"], choice["finish_reason"]
    assert said == text[: text.index(stop)]
    assert reason == "stop"


def test_the_likelihood_of_each_token_is_told(running: Served) -> None:
    client = running.openai()
    asked: Any = {"messages": HI, "max_tokens": 6, "logprobs": True, "top_logprobs": 3, "temperature": 0}
    whole = client.chat.completions.create(model="self-emo", **asked)
    tokens = whole.choices[0].logprobs
    assert tokens is not None and tokens.content
    for token in tokens.content:
        assert len(token.top_logprobs) == 3
        assert token.logprob == pytest.approx(max(t.logprob for t in token.top_logprobs))  # greedy
    pieces = client.chat.completions.create(model="self-emo", **asked, stream=True)
    streamed = [t for p in pieces if p.choices[0].logprobs for t in p.choices[0].logprobs.content or []]
    assert [t.token for t in streamed] == [t.token for t in tokens.content]
    assert [t.logprob for t in streamed] == pytest.approx([t.logprob for t in tokens.content], abs=1e-4)


def test_a_client_that_leaves_its_stream_makes_room(running: Served) -> None:
    with running.http() as client:
        body = {"messages": HI, "max_tokens": 1000, "stream": True, "temperature": 2, "n": 4}
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = answer.iter_lines()  # held: the stream is closed with it
            next(lines)
            assert running.scheduler.held == 1
    free = threading.Event()
    for _ in range(600):
        if running.scheduler.held == 0 and running.scheduler.stepper.idle():
            break
        free.wait(0.05)
    assert running.scheduler.held == 0
    assert running.scheduler.stepper.idle()
