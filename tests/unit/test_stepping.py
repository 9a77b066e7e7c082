"""Requests that are worked on together: each gets what it would get alone, and what they share is computed once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfemo.policy.engine import Sampling
from selfemo.policy.stepping import Ask, Broken, Drawn, LikelihoodAsk, LikelihoodsFound, SampleAsk, Stepper
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.trees.stepper import TreeStepper
from selfemo.policy.weights import load_model, load_tokenizer
from selfemo.policy.whole_calls import WholeCalls

RNG = np.random.default_rng(0)
TRUNK = RNG.integers(10, 300, 60).tolist()
PROMPTS = [TRUNK[:n] + RNG.integers(10, 300, 7).tolist() for n in (20, 40, 60)] + [RNG.integers(10, 300, 9).tolist()]


@pytest.fixture(scope="module")
def engine(tiny: Path) -> TransformersEngine:
    return TransformersEngine(load_model(str(tiny)), load_tokenizer(str(tiny)))


def run(stepper: Stepper, asks: Sequence[SampleAsk | LikelihoodAsk], each: int = 0) -> dict[Ask, Any]:
    """Work until all is done; every so many steps another ask joins. Tokens of completions, or scores, by ask."""
    waiting = list(asks)
    drawn: dict[Ask, list[list[int]]] = {a: [[] for _ in range(a.sampling.n)] for a in asks if isinstance(a, SampleAsk)}
    found: dict[Ask, Any] = dict(drawn)
    steps = 0
    while waiting or not stepper.idle():
        while waiting and (not each or steps % each == 0):
            stepper.add(waiting.pop(0))
            if each:
                break
        steps += 1
        for event in stepper.step():
            if isinstance(event, Drawn):
                drawn[event.ask][event.index].append(event.token)
            else:
                assert isinstance(event, LikelihoodsFound)
                found[event.ask] = event.log_likelihoods
    return found


def sampled(engine: TransformersEngine, ask: SampleAsk) -> list[list[int]]:
    """What the engine draws for it alone."""
    (group,) = engine.sample([ask.prompt], [ask.seed], ask.sampling)
    return [list(c.ids) for c in group]


def asks() -> list[SampleAsk]:
    settings = [Sampling(1, 9), Sampling(3, 6, 0.7), Sampling(1, 12, 0.0), Sampling(2, 5, 1.0, 0.8), Sampling(1, 1)]
    return [SampleAsk(PROMPTS[i % len(PROMPTS)], 7 + i, how) for i, how in enumerate(settings * 2)]


@pytest.mark.parametrize("each", [0, 1, 3])
@pytest.mark.parametrize("together", [1, 3, 32])
def test_a_seeded_answer_does_not_depend_on_its_company(engine: TransformersEngine, each: int, together: int) -> None:
    some = asks()
    found = run(TreeStepper(engine, together), some, each)
    assert [found[a] for a in some] == [sampled(engine, a) for a in some]


def test_scores_are_those_of_the_engine_whoever_else_is_asked(engine: TransformersEngine) -> None:
    answers = [[1, 2, 3], [1, 2], [4], [1, 5, 6, 7]]
    scores = [
        LikelihoodAsk(PROMPTS[:2], [answers, answers[:2]]),
        LikelihoodAsk(PROMPTS, [answers] * 4),
        LikelihoodAsk(PROMPTS[2:], [answers] * 2),
    ]
    found = run(TreeStepper(engine, 8), [scores[0], *asks()[:4], *scores[1:]], 2)
    for ask in scores:
        expected = engine.log_likelihoods(ask.prompts, ask.answers)
        got = found[ask]
        assert isinstance(got, tuple)
        for mine, theirs in zip(got, expected, strict=True):
            assert mine == pytest.approx(theirs, abs=1e-4)


class Whole:
    """An engine of which nothing is known but the protocol."""

    def __init__(self, engine: TransformersEngine) -> None:
        self.sample, self.log_likelihoods = engine.sample, engine.log_likelihoods


def test_an_engine_that_answers_whole_calls_gives_the_same(engine: TransformersEngine) -> None:
    some: list[SampleAsk | LikelihoodAsk] = [*asks(), LikelihoodAsk(PROMPTS[:2], [[[1, 2], [3]]] * 2)]
    whole = WholeCalls(Whole(engine), [int(e) for e in engine.ends], 32)
    found, expected = run(whole, some), run(TreeStepper(engine, 32), some)
    for ask in some:
        if isinstance(ask, SampleAsk):
            assert found[ask] == expected[ask]
        else:
            assert np.allclose(np.array(found[ask]), np.array(expected[ask]), atol=1e-4)


def test_what_waits_for_whole_calls_and_is_alike_becomes_one_call(engine: TransformersEngine) -> None:
    whole = WholeCalls(Whole(engine), [], 3)
    alike = [SampleAsk(PROMPTS[0], i, Sampling(1, 2)) for i in range(4)]
    for ask in [alike[0], SampleAsk(PROMPTS[0], 9, Sampling(1, 3)), *alike[1:]]:
        whole.add(ask)
    whole.cancel(alike[1])
    assert {e.ask for e in whole.step()} == {alike[0], alike[2], alike[3]}
    assert len({e.ask for e in whole.step()}) == 1
    assert whole.idle()


def test_a_request_that_breaks_a_call_breaks_no_other(engine: TransformersEngine) -> None:
    some = [SampleAsk(PROMPTS[0], 1, Sampling(1, 3)), SampleAsk([10**9], 1, Sampling(1, 3))]
    whole = WholeCalls(Whole(engine), [int(e) for e in engine.ends], 8)
    for ask in some:
        whole.add(ask)
    events = whole.step()
    assert [e.token for e in events if isinstance(e, Drawn)] == sampled(engine, some[0])[0]
    assert [e.ask for e in events if isinstance(e, Broken)] == [some[1]]
    assert whole.idle()


def test_why_a_completion_ended_is_told_alike(engine: TransformersEngine) -> None:
    ask = SampleAsk(PROMPTS[0], 1, Sampling(8, 30, 1.6))
    ends: list[dict[tuple[int, int], str]] = []
    for stepper in (TreeStepper(engine, 8), WholeCalls(Whole(engine), [int(e) for e in engine.ends], 8)):
        stepper.add(ask)
        drawn = []
        while not stepper.idle():
            drawn += [e for e in stepper.step() if isinstance(e, Drawn)]
        ends.append({(e.index, sum(x.index == e.index for x in drawn)): e.end for e in drawn if e.end})
    assert ends[0] == ends[1]
    assert len(ends[0]) == 8


def test_what_requests_share_is_computed_once(engine: TransformersEngine) -> None:
    stepper = TreeStepper(engine, 8)
    run(stepper, [SampleAsk([*TRUNK, 5 + i], i, Sampling(1, 1)) for i in range(8)])
    assert stepper.figures.computed == len(TRUNK) + 8  # also where all come at once
    before = stepper.figures.computed
    run(stepper, [SampleAsk([*TRUNK, 5, 6, 7], 1, Sampling(2, 1))])
    assert stepper.figures.computed - before <= 3
    assert stepper.figures.kept > 0


def test_nothing_is_shared_between_spaces(engine: TransformersEngine) -> None:
    stepper = TreeStepper(engine, 8)
    run(stepper, [SampleAsk(TRUNK, 1, Sampling(1, 1), space=space) for space in ("a", "b", "a")])
    assert stepper.figures.computed == 2 * len(TRUNK) + 1


@pytest.mark.parametrize("tokens", [0, 100, 400])
def test_with_little_memory_requests_wait_and_trunks_go(engine: TransformersEngine, tokens: int) -> None:
    some = asks()
    stepper = TreeStepper(engine, 32, tokens)
    most = 0
    for ask in some:
        stepper.add(ask)
    drawn: dict[Ask, list[list[int]]] = {a: [[] for _ in range(a.sampling.n)] for a in some}
    while not stepper.idle():
        for event in stepper.step():
            assert isinstance(event, Drawn)
            drawn[event.ask][event.index].append(event.token)
        most = max(most, len(stepper.begun()))
        assert stepper.trunks.tokens <= tokens
    assert [drawn[a] for a in some] == [sampled(engine, a) for a in some]
    assert most == 1 if tokens == 0 else most >= 1


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_requests_that_are_given_up_trouble_nobody(engine: TransformersEngine, data: st.DataObject) -> None:
    some = asks()
    stepper = TreeStepper(engine, 4)
    drawn: dict[Ask, list[list[int]]] = {a: [[] for _ in range(a.sampling.n)] for a in some}
    gone: set[Ask] = set()
    for ask in some:
        stepper.add(ask)
    while not stepper.idle():
        for event in stepper.step():
            assert isinstance(event, Drawn)
            assert event.ask not in gone
            drawn[event.ask][event.index].append(event.token)
        if data.draw(st.booleans()):
            ask = data.draw(st.sampled_from(some))
            index = data.draw(st.sampled_from([None, 0])) if ask.sampling.n == 1 else None
            stepper.cancel(ask, index)
            gone.add(ask) if index is None else None
    for ask in set(some) - gone:
        for mine, theirs in zip(drawn[ask], sampled(engine, ask), strict=True):
            assert mine == theirs[: len(mine)]
    assert not stepper.slabs.slabs


def test_one_sample_may_be_given_up_and_the_others_go_on(engine: TransformersEngine) -> None:
    ask = SampleAsk(PROMPTS[0], 3, Sampling(3, 12, 1.3))
    expected = sampled(engine, ask)
    stepper = TreeStepper(engine, 4)
    stepper.add(ask)
    drawn: list[list[int]] = [[], [], []]
    while not stepper.idle():
        for event in stepper.step():
            assert isinstance(event, Drawn)
            drawn[event.index].append(event.token)
        if len(drawn[1]) == 2:
            stepper.cancel(ask, 1)
    assert [drawn[0], drawn[2]] == [expected[0], expected[2]]
    assert drawn[1] == expected[1][:2]


def test_a_long_prompt_does_not_keep_others_from_their_next_token(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfemo.policy.trees.stepper.PASS_TOKENS", 16)
    stepper = TreeStepper(engine, 4)
    short, long = (
        SampleAsk(PROMPTS[3], 1, Sampling(1, 8, 0.0)),
        SampleAsk(RNG.integers(10, 300, 90).tolist(), 1, Sampling(1, 2)),
    )
    stepper.add(short)
    stepper.step()
    stepper.add(long)
    for _ in range(4):
        assert [e.ask for e in stepper.step()] == [short]  # one token a step, while the other's prompt is computed


def test_a_model_whose_layers_do_more_than_attend_is_not_stepped(engine: TransformersEngine) -> None:
    layer = engine.model.model.layers[1].self_attn
    layer.sinks = torch.zeros(2)
    try:
        assert engine.stepper(4) is None
    finally:
        del layer.sinks
    assert isinstance(engine.stepper(4), TreeStepper)


def test_layers_that_see_a_window_see_it_alone(tiny: Path, tmp_path: Path) -> None:
    windowed = {"use_sliding_window": True, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
    for file in tiny.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tiny / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | windowed))
    plain = load_model(str(tmp_path)).eval()
    prompt = PROMPTS[2]

    def next_of(ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            logs: torch.Tensor = plain(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        return logs

    greedy: list[int] = []
    while len(greedy) < 12:
        greedy.append(int(next_of([*prompt, *greedy]).argmax()))
    stepper = TreeStepper(TransformersEngine(load_model(str(tmp_path)), load_tokenizer(str(tmp_path))), 4)
    stepper.ends = np.array([-1])
    asks = [SampleAsk(p, 1, Sampling(n, 12, 0.0)) for p, n in ((prompt, 1), (PROMPTS[3], 1), (prompt, 2))]
    scores = LikelihoodAsk([prompt], [[[7, 8], [9]]])
    found = run(stepper, [*asks, scores], 2)
    assert found[asks[0]] == [greedy]
    assert found[asks[2]] == [greedy, greedy]
    first = next_of(prompt)
    expected = (float(first[7] + next_of([*prompt, 7])[8]), float(first[9]))
    (got,) = found[scores]
    assert got == pytest.approx(expected, abs=1e-4)
