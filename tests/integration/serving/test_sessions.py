"""A conversation that goes on: its server remembers the turns, and computes new ones alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from selfemo.serving.sessions import SessionBounds
from tests.integration.serving.conftest import Served

TURNS = [
    {"speaker": "AnnBen"[3 * (i % 2) :][:3], "text": f"And then, on day {i}, we lost the other key again!"}
    for i in range(12)
]


def read(running: Served, key: str = "", status: int = 200, **body: Any) -> Any:
    with running.http(key) as client:
        answer = client.post("/v1/emotions", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_turn_by_turn_it_reads_what_the_whole_conversation_reads(running: Served) -> None:
    whole = read(running, turns=TURNS)["turns"]
    found = []
    for number, turn in enumerate(TURNS):
        answer = read(running, turns=[turn], session="mine", after=number)
        assert answer["session"] == "mine"
        found += answer["turns"]
    assert [t["turn"] for t in found] == list(range(12))
    for mine, theirs in zip(found, whole, strict=True):
        assert mine["emotions"] == theirs["emotions"]
        assert mine["scores"] == pytest.approx(theirs["scores"], abs=2e-4)  # rounded


def test_a_further_turn_costs_only_that_turn(start: Callable[..., Served], service: Any) -> None:
    running = start()
    figures = running.scheduler.stepper.figures
    costs, prompts = [], []
    answer: Any = {"session": True}
    for turn in TURNS:
        before = figures.computed
        answer = read(running, turns=[turn], session=answer["session"])
        costs.append(figures.computed - before)
        prompts.append(answer["usage"]["prompt_tokens"])
    prompter = service.player.prompter
    one_turn = prompts[1] - prompts[0]
    answers = sum(len(prompter.answer(labels)) for labels in (("neutral",), ("joy", "surprise"))) * 4
    question = 40
    assert prompts[-1] > 11 * (one_turn - 3)  # the prompt grows by every turn,
    assert max(costs[1:]) < one_turn + question + answers  # what is computed does not
    assert max(costs[1:]) - min(costs[1:]) <= 8
    assert answer["usage"]["cached_tokens"] >= prompts[-2] - question


def test_several_turns_at_once_and_the_last_alone(running: Served) -> None:
    first = read(running, turns=TURNS[:3], session=True)
    assert [t["turn"] for t in first["turns"]] == [0, 1, 2]
    then = read(running, turns=TURNS[3:6], session=first["session"], last_only=True)
    assert [t["turn"] for t in then["turns"]] == [5]


def test_turns_that_were_sent_before_are_not_taken_twice(running: Served) -> None:
    name = read(running, turns=TURNS[:2], session=True)["session"]
    error = read(running, status=409, turns=TURNS[1:2], session=name, after=1)["error"]
    assert error["message"] == "the session holds 2 turns, not 1"
    assert read(running, turns=TURNS[2:3], session=name, after=2)["turns"][0]["turn"] == 2


def test_one_that_is_gone_is_told_and_not_begun_anew(start: Callable[..., Served]) -> None:
    running = start(sessions=SessionBounds(number=2))
    names = [read(running, turns=TURNS[:1], session=True)["session"] for _ in range(3)]
    assert "begin another" in read(running, status=404, turns=TURNS[1:2], session=names[0])["error"]["message"]
    assert read(running, turns=TURNS[1:2], session=names[2])["turns"][0]["turn"] == 1
    with running.http() as client:
        assert client.delete(f"/v1/sessions/{names[2]}").status_code == 204
        assert client.delete(f"/v1/sessions/{names[2]}").status_code == 404
    read(running, status=404, turns=TURNS[1:2], session=names[2])


def test_what_could_not_be_read_is_not_remembered(start: Callable[..., Served]) -> None:
    running = start()
    name = read(running, turns=TURNS[:1], session=True)["session"]
    endless = {"speaker": "Ann", "text": "😀" * 600}  # more tokens than the model has positions
    assert "tokens long" in read(running, status=400, turns=[endless], session=name)["error"]["message"]
    assert read(running, turns=TURNS[1:2], session=name, after=1)["turns"][0]["turn"] == 1
    assert running.scheduler.held == 0


def test_keys_do_not_see_each_others_sessions_nor_what_they_computed(start: Callable[..., Served]) -> None:
    running = start("first second")
    name = read(running, "first", turns=TURNS[:4], session=True)["session"]
    read(running, "second", status=404, turns=TURNS[:1], session=name)
    assert read(running, "second", turns=TURNS[:4], last_only=True)["usage"]["cached_tokens"] == 0
    assert read(running, "second", turns=TURNS[:1], session="x")["turns"][0]["turn"] == 0
    assert read(running, "first", turns=TURNS[:1], session="x")["turns"][0]["turn"] == 0
    with running.http("second") as client:
        assert client.delete(f"/v1/sessions/{name}").status_code == 404


def test_a_long_conversation_is_read_by_its_window(running: Served) -> None:
    many = TURNS * 17
    assert len(many) > 200
    (last,) = read(running, turns=many, last_only=True)["turns"]
    assert last["turn"] == len(many) - 1
    assert "200 are read" in read(running, status=400, turns=many)["error"]["message"]
