"""What the sidecar keeps of the chats that pass it, and what people say of them; behind it is a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selfemo.data.feedback import corrected
from selfemo.serving.service import Service
from tests.integration.serving.behind import FIRST, Before, Behind, before, listening
from tests.integration.serving.conftest import Served, served
from tests.spaces import SPACES

YES = {"x-selfemo-collect": "yes"}
CHAT: list[Any] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "I lost my keys, call me: +1 202 555 0143."},
]
CHATS = "/v1/chat/completions"


@pytest.fixture(scope="module")
def policy(service: Service) -> Iterator[Served]:
    yield from served(service, "key")


@pytest.fixture
def keeping(policy: Served, tmp_path: Path) -> Iterator[Before]:
    with before(policy.url, tmp_path / "kept") as found:
        yield found


def chat(keeping: Before, headers: dict[str, str] | None = None, stream: bool = False) -> Any:
    """A chat as OpenAI's client asks for it: the head of its answer, and what parses the rest."""
    ask: Any = keeping.openai().chat.completions.with_raw_response
    given = YES | (headers or {})
    return ask.create(model="self-emo", messages=CHAT, max_tokens=4, seed=1, stream=stream, extra_headers=given)


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_is_kept_redacted_under_the_id_that_the_header_says(
    keeping: Before, policy: Served, stream: bool
) -> None:
    answer = chat(keeping, stream=stream)
    parsed = answer.parse()
    texts = [p.choices[0].delta.content or "" for p in parsed] if stream else [parsed.choices[0].message.content]
    asked: Any = {"model": "self-emo", "messages": CHAT, "max_tokens": 4, "seed": 1}
    direct = policy.openai("key").chat.completions.create(**asked)
    assert "".join(texts) == direct.choices[0].message.content
    (kept,) = keeping.kept()
    assert kept.id == answer.headers["x-selfemo-dialogue"]
    assert (kept.corpus, kept.split) == ("sample", "train")
    assert [(t.speaker, t.text, t.gold) for t in kept.turns] == [("User", "I lost my keys, call me: [NUMBER].", None)]
    assert not any(word in "".join(keeping.log) for word in ("keys", "collected"))


def test_nothing_is_kept_of_who_has_not_agreed(keeping: Before) -> None:
    for given in ({"x-selfemo-collect": "no"}, {"x-selfemo-collect": "", "x-selfemo-conversation": "mine"}):
        assert "x-selfemo-dialogue" not in chat(keeping, given).headers
    with keeping.http(authorization="Bearer key") as client:
        for both in (("yes", "no"), ("no", "yes")):
            headers = [("x-selfemo-collect", value) for value in both]
            told = client.post(CHATS, json={"model": "self-emo", "messages": CHAT, "max_tokens": 1}, headers=headers)
            assert told.status_code == 200 and "x-selfemo-dialogue" not in told.headers
    with keeping.http(authorization="Bearer key", **YES) as client:
        told = client.post("/v1/emotions", json={"turns": [{"speaker": "Ann", "text": "We won!"}]})
        assert told.status_code == 200 and "x-selfemo-dialogue" not in told.headers  # it is no chat
    assert keeping.kept() == [] and not keeping.collector.place.pieces()


def test_nothing_is_kept_of_whom_the_server_behind_refuses(keeping: Before) -> None:
    with keeping.http(**YES) as client:
        asked = {"model": "self-emo", "messages": CHAT}
        refused = client.post(CHATS, json=asked, headers={"authorization": "Bearer wrong"})
        other = client.post(CHATS, json={**asked, "model": "other"}, headers={"authorization": "Bearer key"})
    assert (refused.status_code, other.status_code) == (401, 404)
    assert not {"x-selfemo-dialogue"} & {*refused.headers, *other.headers}
    assert keeping.kept() == []


def test_a_conversation_that_goes_on_is_one_and_its_name_counts_with_the_key(
    keeping: Before, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = {"x-selfemo-conversation": "mine"}
    first = chat(keeping, mine)
    monkeypatch.setattr(f"{__name__}.CHAT", [*CHAT, {"role": "assistant", "content": "Oh."}, CHAT[1]])
    second = chat(keeping, mine)
    assert first.headers["x-selfemo-dialogue"] == second.headers["x-selfemo-dialogue"]
    assert [len(d.turns) for d in keeping.kept()] == [3]
    with listening(Behind()) as (url, _), before(url, tmp_path / "more") as anybody:  # who lets every key in
        names = []
        for key in ("one", "two", "one"):
            with anybody.http(authorization=f"Bearer {key}", **YES, **mine) as client:
                names.append(client.post(CHATS, json={"messages": CHAT}).headers["x-selfemo-dialogue"])
    assert names[0] == names[2] != names[1]


def test_what_the_server_behind_has_kept_is_not_kept_twice(tmp_path: Path) -> None:
    behind = Behind((200, [(b"x-selfemo-dialogue", b"sample/collected/theirs")], b"{}"))
    with listening(behind) as (url, _), before(url, tmp_path) as keeping, keeping.http(**YES) as client:
        answer = client.post(CHATS, json={"messages": CHAT})
        assert answer.headers.get_list("x-selfemo-dialogue") == ["sample/collected/theirs"]
        assert keeping.kept() == []


def test_a_share_is_kept(policy: Served, tmp_path: Path) -> None:
    with before(policy.url, tmp_path, share=1e-9) as keeping:
        assert "x-selfemo-dialogue" not in chat(keeping).headers
        assert keeping.kept() == []


@pytest.mark.parametrize("path", [CHATS, "/openai/v1/chat/completions"])
def test_what_is_more_than_text_passes_and_is_not_kept(tmp_path: Path, path: str) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    bodies: list[Any] = [
        [{"role": "user", "content": [picture]}],
        [*CHAT, {"role": "assistant", "content": None, "tool_calls": calls}],
        [*CHAT, {"role": "tool", "tool_call_id": "c", "content": "1"}],
        [{"role": "user", "content": "a" * 8_001}],
        "no messages",
    ]
    behind = Behind()
    behind.may.set()
    with listening(behind) as (url, _), before(url, tmp_path) as keeping, keeping.http(**YES) as client:
        for messages in bodies:
            answer = client.post(path, json={"messages": messages})
            assert (answer.status_code, answer.content) == (200, b"{}")
            assert "x-selfemo-dialogue" not in answer.headers
        large = client.post(path, json={"messages": CHAT, "user": "a" * (1 << 20)})  # more bytes than are copied
        assert large.status_code == 200 and "x-selfemo-dialogue" not in large.headers
        answer = client.post(path, json={"messages": CHAT, "stream": True, "tools": [{"type": "function"}]})
        assert answer.content.startswith(FIRST) and "x-selfemo-dialogue" in answer.headers
        assert len(keeping.kept()) == 1
    assert len(behind.asked) == len(bodies) + 2


def test_a_correction_becomes_gold(keeping: Before) -> None:
    name = chat(keeping).headers["x-selfemo-dialogue"]
    body = {"dialogue": name, "turn": 0, "labels": ["Sad"], "who": "ada"}
    with keeping.http(authorization="Bearer key") as client:
        said = client.post("/v1/feedback", json=body)
    assert (said.status_code, said.json()["labels"], said.json()["who"]) == (200, ["sadness"], "ada")
    made = corrected(keeping.kept(), keeping.collector.place.corrections(), SPACES)
    assert [t.gold for t in made.dialogues[0].turns] == [("sadness",)]


@pytest.mark.parametrize(
    ("key", "body", "status", "words"),
    [
        ("wrong", {}, 401, "bearer token"),
        ("key", {"dialogue": "chatcmpl-1"}, 400, "as x-selfemo-dialogue had it"),  # ids of answers are not ours
        ("key", {"labels": ["despair"]}, 400, "labels of sample: "),
        ("key", {"who": "a" * (1 << 20)}, 413, "at most"),
    ],
)
def test_what_is_no_correction_is_refused_here(
    keeping: Before, key: str, body: dict[str, Any], status: int, words: str
) -> None:
    good = {"dialogue": "sample/collected/1", "turn": 0, "labels": ["joy"]}
    with keeping.http(authorization=f"Bearer {key}") as client:
        answer = client.post("/v1/feedback", json=good | body)
    assert answer.status_code == status and words in answer.json()["error"]["message"]
    assert not keeping.collector.place.pieces()
