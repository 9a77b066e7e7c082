"""Requests that are worked on together: each gets what it would get alone, and what they share is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from selfemo.policy.engine import Sampling
from selfemo.policy.stepping import Ask, Drawn, SampleAsk, ScoreAsk, Stepper
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.trees.stepper import TreeStepper
from selfemo.policy.weights import load_model, load_tokenizer

RNG = np.random.default_rng(0)
TRUNK = RNG.integers(10, 300, 60).tolist()
PROMPTS = [TRUNK[:n] + RNG.integers(10, 300, 7).tolist() for n in (20, 40, 60)] + [RNG.integers(10, 300, 9).tolist()]


@pytest.fixture(scope="module")
def engine(tiny: Path) -> TransformersEngine:
    return TransformersEngine(load_model(str(tiny)), load_tokenizer(str(tiny)))


def run(stepper: Stepper, asks: Sequence[SampleAsk | ScoreAsk], each: int = 0) -> dict[Ask, object]:
    """Work until all is done; every so many steps another ask joins. Tokens of completions, or scores, by ask."""
    waiting = list(asks)
    drawn: dict[Ask, list[list[int]]] = {a: [[] for _ in range(a.sampling.n)] for a in asks if isinstance(a, SampleAsk)}
    found: dict[Ask, object] = dict(drawn)
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
                found[event.ask] = event.scores
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
        ScoreAsk(PROMPTS[:2], [answers, answers[:2]]),
        ScoreAsk(PROMPTS, [answers] * 4),
        ScoreAsk(PROMPTS[2:], [answers] * 2),
    ]
    found = run(TreeStepper(engine, 8), [scores[0], *asks()[:4], *scores[1:]], 2)
    for ask in scores:
        expected = engine.score(ask.prompts, ask.answers)
        got = found[ask]
        assert isinstance(got, tuple)
        for mine, theirs in zip(got, expected, strict=True):
            assert mine == pytest.approx(theirs, abs=1e-4)
