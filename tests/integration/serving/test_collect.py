"""Conversations that clients let the server keep, and what people say of them, by a real server and real clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessageParam

from selfemo.data.dialogue import Dialogue
from selfemo.data.feedback import Feedback, collected_id, corrected
from selfemo.data.redaction import Patterns
from selfemo.serving.collect import Collector, RetentionBounds
from selfemo.serving.service import Service
from tests.integration.serving.conftest import SECONDS, Served, served
from tests.spaces import SPACES

YES = {"x-selfemo-collect": "yes"}
TURNS = [
    {"speaker": "Ann Lee", "text": "Hello Ben, my number is +1 202 555 0143, or ann@example.org."},
    {"speaker": "Ben", "text": "Thank you, Ann. What a lovely day we had!"},
]
CHAT: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "I lost my keys again."},
]


@dataclass
class Keeping:
    """A server that keeps, and where."""

    server: Served
    collector: Collector
    place: Feedback

    def emotions(self, headers: dict[str, str], turns: list[dict[str, str]] = TURNS, **more: Any) -> Any:
        with self.server.http("key") as client:
            answer = client.post("/v1/emotions", json={"turns": turns, **more}, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer

    def say(self, status: int = 200, **body: Any) -> Any:
        with self.server.http("key") as client:
            answer = client.post("/v1/feedback", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def kept(self) -> list[Dialogue]:
        """What was written, once all of it is."""
        self.collector.close(SECONDS)
        return list(self.place.conversations())


@pytest.fixture
def keeping(service: Service, tmp_path: Path) -> Iterator[Keeping]:
    place = Feedback.at(str(tmp_path / "came back"))
    collector = Collector(place, Patterns().ready(), "self-emo", "d" * 64, RetentionBounds(seconds=0.1))
    for server in served(service, "key", collector=collector):
        yield Keeping(server, collector, place)
    collector.close(SECONDS)


def test_nothing_is_kept_of_who_has_not_agreed(keeping: Keeping) -> None:
    for headers in ({}, {"x-selfemo-collect": "no"}, {"x-selfemo-collect": ""}, {"x-selfemo-conversation": "mine"}):
        assert "x-selfemo-dialogue" not in keeping.emotions(headers).headers
    keeping.server.openai("key").chat.completions.create(model="self-emo", messages=CHAT, max_tokens=2)
    assert keeping.kept() == [] and not keeping.place.pieces()


def test_what_is_kept_is_redacted_and_is_a_corpus_without_labels(keeping: Keeping) -> None:
    answer = keeping.emotions(YES)
    (kept,) = keeping.kept()
    assert kept.id == answer.headers["x-selfemo-dialogue"] == collected_id("sample", kept.id.split("/")[2])
    assert (kept.corpus, kept.split) == ("sample", "train")
    assert [t.speaker for t in kept.turns] == ["Speaker 1", "Speaker 2"]
    assert [t.text for t in kept.turns] == [
        "Hello [NAME], my number is [NUMBER], or [EMAIL].",
        "Thank you, [NAME]. What a lovely day we had!",
    ]
    assert all(t.gold is None for t in kept.turns)
    text = b"".join(keeping.place.backend.read(piece.uri) or b"" for piece in keeping.place.pieces())
    assert not any(word in text for word in (b"Ann", b"Ben", b"555", b"example.org"))
    assert not any(word in "".join(keeping.server.log) for word in ("Ann", "collected"))


def test_what_was_read_lies_beside_it(keeping: Keeping) -> None:
    told = keeping.emotions(YES).json()["turns"]
    (kept,) = keeping.kept()
    readings = sorted(keeping.place.readings(), key=lambda row: row.turn)
    assert [(r.dialogue, r.turn, list(r.labels), r.chances) for r in readings] == [
        (kept.id, t["turn"], t["emotions"], t["scores"]) for t in told
    ]
    assert {(r.model, r.digest) for r in readings} == {("self-emo", "d" * 64)}


def test_a_conversation_that_goes_on_is_one(keeping: Keeping) -> None:
    first = keeping.emotions({**YES, "x-selfemo-conversation": "mine"}, TURNS[:1])
    second = keeping.emotions({**YES, "x-selfemo-conversation": "mine"})
    assert first.headers["x-selfemo-dialogue"] == second.headers["x-selfemo-dialogue"]
    session = keeping.emotions(YES, TURNS[:1], session=True).json()["session"]
    third = keeping.emotions(YES, TURNS[1:], session=session)
    kept = {d.id: len(d.turns) for d in keeping.kept()}
    assert kept == {second.headers["x-selfemo-dialogue"]: 2, third.headers["x-selfemo-dialogue"]: 2}


def test_turns_that_a_session_was_given_without_consent_are_not_kept_with_later_ones(keeping: Keeping) -> None:
    session = keeping.emotions({}, TURNS[:1], session=True).json()["session"]
    assert "x-selfemo-dialogue" not in keeping.emotions(YES, TURNS[1:], session=session).headers
    assert keeping.kept() == [] and not keeping.place.pieces()


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_is_known_by_the_id_of_its_answer(keeping: Keeping, stream: bool) -> None:
    asked = {"model": "self-emo", "messages": CHAT, "max_tokens": 2, "stream": stream}
    with keeping.server.http("key") as client:
        answer = client.post("/v1/chat/completions", json=asked, headers=YES)
    name = json.loads(answer.text.removeprefix("data: ").split("\n\n")[0])["id"]
    said = keeping.say(dialogue=name, turn=0, labels=["sadness"])
    (kept,) = keeping.kept()
    assert kept.id == answer.headers["x-selfemo-dialogue"] == said["dialogue"]
    assert [(t.speaker, t.text) for t in kept.turns] == [("User", "I lost my keys again.")]


def test_a_correction_becomes_gold(keeping: Keeping) -> None:
    name = keeping.emotions(YES).headers["x-selfemo-dialogue"]
    keeping.say(dialogue=name, turn=1, labels=["anger"], who="ada")
    said = keeping.say(dialogue=name, turn=1, labels=["Happy"], who="ada")
    assert (said["labels"], said["who"], said["turn"]) == (["joy"], "ada", 1)
    made = corrected(keeping.kept(), keeping.place.corrections(), SPACES)
    assert [t.gold for t in made.dialogues[0].turns] == [None, ("joy",)]
    keeping.say(dialogue=name, turn=1, labels=[])
    assert keeping.place.corrections() == []


def test_the_same_again_is_one_correction(keeping: Keeping) -> None:
    first, second = (keeping.say(dialogue="chatcmpl-1", turn=0, labels=["joy"]) for _ in range(2))
    assert first == second and first["who"].startswith("key ")
    assert len(keeping.place.pieces("corrections")) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"labels": ["despair"]}, "labels of sample: "),
        ({"dialogue": "sample/train/1"}, "was collected here"),
        ({"dialogue": "elsewhere/collected/1"}, "no such corpus"),
        ({"turn": -1}, "turn"),
        ({"text": "what was said"}, "text"),
    ],
)
def test_what_is_no_correction_is_refused(keeping: Keeping, body: dict[str, Any], words: str) -> None:
    good = {"dialogue": "sample/collected/1", "turn": 0, "labels": ["joy"]}
    assert words in keeping.say(400, **(good | body))["error"]["message"]
    assert not keeping.place.pieces()


def test_a_correction_that_cannot_be_written_is_said_not_to_be(keeping: Keeping, tmp_path: Path) -> None:
    (tmp_path / "came back").write_text("a file where the directory should be")
    body: dict[str, Any] = {"dialogue": "sample/collected/1", "turn": 0, "labels": ["joy"]}
    assert "could not be written" in keeping.say(503, **body)["error"]["message"]
    (tmp_path / "came back").unlink()
    keeping.say(**body)
    assert len(keeping.place.corrections()) == 1


def test_answers_go_on_where_nothing_can_be_written_and_the_loss_is_counted(keeping: Keeping, tmp_path: Path) -> None:
    (tmp_path / "came back").write_text("a file where the directory should be")
    for _ in range(3):
        keeping.emotions(YES)
    keeping.collector.close(SECONDS)
    with keeping.server.http() as client:
        figures = client.get("/metrics").text
    assert 'selfemo_collected_total{outcome="failed"} 3.0' in figures
    assert 'selfemo_collected_total{outcome="stored"} 0.0' in figures


def test_without_a_place_there_is_no_route(running: Served) -> None:
    with running.http() as client:
        assert client.post("/v1/feedback", json={}).status_code == 404
        assert "selfemo_collected" not in client.get("/metrics").text
