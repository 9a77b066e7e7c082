"""What clients send, as they send it: read as they mean it, or refused by a message that names the field."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from tests.integration.serving.conftest import Served
from tests.spaces import SPACES

USER = {"role": "user", "content": "hi"}
LABELS = list(SPACES["sample"].labels)


def chat(running: Served, **fields: Any) -> tuple[int, Any]:
    with running.http() as client:
        body = {"messages": [USER], "max_tokens": 3, "seed": 1} | fields
        answer = client.post("/v1/chat/completions", json=body)
        return answer.status_code, answer.json()


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
        {"temperature": None, "top_p": None, "n": None, "stream": None, "stop": None, "max_tokens": 3},
        {"response_format": {"type": "text"}, "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}},
        {"tools": [], "tool_choice": "auto", "top_k": -1, "user": "me", "store": False, "metadata": {"a": "b"}},
        {"max_completion_tokens": 3, "max_tokens": None},
    ],
)
def test_these_mean_the_same_as_the_plain_form(running: Served, fields: dict[str, Any]) -> None:
    status, answer = chat(running, **fields)
    assert status == 200
    assert answer["choices"] == chat(running)[1]["choices"]


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "developer", "content": "Be brief."}, USER],
        [USER, {"role": "assistant", "content": None}, USER],
        [USER, USER, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}],
        [{"role": "user", "content": []}],
    ],
)
def test_messages_of_every_order_are_answered(running: Served, messages: list[Any]) -> None:
    assert chat(running, messages=messages)[0] == 200


def test_a_developer_is_a_system_and_parts_are_lines(running: Served) -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    one = chat(running, messages=[{"role": "developer", "content": "Be brief."}, parts])[1]
    other = chat(running, messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a\nb"}])[1]
    assert one["choices"] == other["choices"]


@pytest.mark.parametrize("none", [-1, None])
def test_who_names_no_seed_gets_one_drawn_for_the_request(
    running: Served, monkeypatch: pytest.MonkeyPatch, none: int | None
) -> None:
    asked = {"max_tokens": 24, "temperature": 2}
    seeded = [chat(running, seed=seed, **asked)[1]["choices"] for seed in (5, 6)]
    assert seeded[0] != seeded[1]
    drawn = iter([5, 6])
    monkeypatch.setattr("selfemo.serving.service.randbits", lambda _: next(drawn))
    assert [chat(running, seed=none, **asked)[1]["choices"] for _ in seeded] == seeded


def test_more_tokens_than_there_is_room_for_are_cut_to_the_room(running: Served) -> None:
    status, answer = chat(running, max_tokens=10**9, stop=["e", "a", "i", "o"])
    assert status == 200
    assert answer["usage"]["completion_tokens"] <= 1024


def test_a_body_in_chunks_is_read(running: Served) -> None:
    text = json.dumps({"messages": [USER], "max_tokens": 3}).encode()
    with running.http() as client:
        pieces = (text[i : i + 7] for i in range(0, len(text), 7))
        answer = client.post("/v1/chat/completions", content=pieces, headers={"content-type": "application/json"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"frequency_penalty": 2.0}, "frequency_penalty is not supported"),
        ({"presence_penalty": 1}, "presence_penalty is not supported"),
        ({"repetition_penalty": 1.1}, "repetition_penalty is not supported"),
        ({"top_k": 40}, "top_k is not supported"),
        ({"min_p": 0.1}, "min_p is not supported"),
        ({"logit_bias": {"1": 5}}, "logit_bias is not supported"),
        ({"tools": [{"type": "function"}]}, "tools is not supported"),
        ({"tool_choice": "required"}, "tool_choice is not supported"),
        ({"top_logprobs": 5}, "top_logprobs wants logprobs"),
        ({"chat_template": "{{ messages }}"}, "chat_template is not supported"),
        ({"structured_outputs": {"choice": ["a"]}}, "structured_outputs is not supported"),
        ({"xtc_probability": 0.5}, "xtc_probability is not supported"),
        ({"stop": ["a"] * 5}, "stop: Value should have at most 4 items"),
        ({"n": 17}, "n: "),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "type text here, not 'image_url'"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "tool_calls is not supported"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "role"),
        ({"response_format": {"type": "grammar"}}, "response_format: type is"),
    ],
)
def test_what_would_change_the_answer_and_is_not_supported_is_refused_by_name(
    running: Served, fields: dict[str, Any], said: str
) -> None:
    status, answer = chat(running, **fields)
    assert status == 400
    assert said in answer["error"]["message"]
    assert "Value error" not in answer["error"]["message"]


def test_what_is_no_json_is_told_so(running: Served) -> None:
    with running.http() as client:
        answer = client.post("/v1/emotions", content=b"{", headers={"content-type": "application/json"})
        empty = client.post("/v1/emotions", content=b"", headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "the body is not JSON"
    assert (empty.status_code, empty.json()["error"]["message"]) == (400, "the body: Field required")


Label = Literal["neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear"]


class Reading(BaseModel):
    emotions: list[Label]


class One(BaseModel):
    feeling: Literal["joy", "sadness"]


TALK: Any = [
    {"role": "system", "content": "Which emotions?"},
    {"role": "user", "content": "We won!", "name": "Ann"},
    {"role": "assistant", "content": "Oh no, my keys.", "name": "Ben"},
]


def test_openais_client_gets_the_label_set_as_a_model_of_its_own(running: Served) -> None:
    client = running.openai()
    parsed = client.chat.completions.parse(model="self-emo", messages=TALK, response_format=Reading)
    found = parsed.choices[0].message.parsed
    turns = [{"speaker": "Ann", "text": "We won!"}, {"speaker": "Ben", "text": "Oh no, my keys."}]
    with running.http() as http:
        exact = http.post("/v1/emotions", json={"turns": turns, "last_only": True}).json()["turns"][0]
    assert found is not None
    assert found.emotions == exact["emotions"]
    one = client.chat.completions.parse(model="self-emo", messages=TALK, response_format=One).choices[0].message.parsed
    assert one is not None
    scores = exact["scores"]
    assert scores[one.feeling] == max(scores["joy"], scores["sadness"])  # the likelier of those that it lets pass


def test_any_json_is_the_label_set_too_and_can_be_streamed(running: Served) -> None:
    answer = chat(running, messages=TALK, response_format={"type": "json_object"})[1]
    (label, *_) = json.loads(answer["choices"][0]["message"]["content"])["emotions"]
    assert label in LABELS
    with running.http() as client:
        body = {"messages": TALK, "stream": True, "response_format": {"type": "json_object"}}
        text = client.post("/v1/chat/completions", json=body).text
    rows = [json.loads(x.removeprefix("data: ")) for x in text.split("\n\n") if x and "[DONE]" not in x]
    said = "".join(row["choices"][0]["delta"].get("content", "") for row in rows)
    assert json.loads(said) == json.loads(answer["choices"][0]["message"]["content"])


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "object", "properties": {"age": {"type": "integer"}}}, "'age' has no enum of labels"),
        ({"type": "array", "items": {"enum": LABELS}}, "no object with properties"),
        ({"type": "object", "properties": {"e": {"enum": ["bored"]}}}, "bored are not those of one label space"),
        ({"type": "object", "properties": {"e": {"enum": LABELS, "pattern": "x"}}}, "'e' has 'pattern'"),
        ({"type": "object", "properties": {"e": {"enum": LABELS}}, "oneOf": []}, "it has 'oneOf'"),
        ({"type": "object", "properties": {"e": {"type": "array", "items": {"enum": LABELS}, "minItems": 3}}}, "'e'"),
    ],
)
def test_a_schema_that_is_not_the_label_sets_is_refused_and_says_why(
    running: Served, schema: dict[str, Any], said: str
) -> None:
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    status, answer = chat(running, response_format=asked)
    assert status == 400
    assert said in answer["error"]["message"]
