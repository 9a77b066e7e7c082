"""The contract of an engine, run against every engine that can be installed here."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfemo import config as configuration
from selfemo.errors import UserError
from selfemo.policy.engine import Engine, Sampling
from selfemo.policy.load import load_engine

PROMPTS = [[5, 6, 7, 8, 9], [5, 6, 7, 30, 31, 32], [40, 41]]


@pytest.fixture(scope="module", params=["transformers", "vllm"])
def engine(request: pytest.FixtureRequest, tiny: Path) -> Engine:
    if request.param == "vllm":
        pytest.importorskip("vllm", reason="vLLM is not installed: it needs an environment of its own")
    return load_engine(str(tiny), configuration.load(None, [f"policy.engine={request.param}"]))[0]


def test_each_prompt_gets_its_samples_in_order(engine: Engine) -> None:
    finished: list[int] = []
    groups = engine.sample(PROMPTS, [1, 2, 3], Sampling(4, 6), finished.append)
    assert [len(g) for g in groups] == [4, 4, 4]
    assert all(1 <= len(c.ids) <= 6 for g in groups for c in g)
    assert sum(finished) == 3


def test_greedy_answers_do_not_depend_on_company(engine: Engine) -> None:
    greedy = Sampling(1, 8, temperature=0)
    together = engine.sample(PROMPTS, [0] * 3, greedy)
    assert [engine.sample([p], [9], greedy)[0] for p in PROMPTS] == together


def test_nothing_asked_nothing_answered(engine: Engine) -> None:
    assert engine.sample([], [], Sampling(2, 4)) == []


def test_a_missing_vllm_says_how_to_get_it(tiny: Path) -> None:
    import importlib.util

    if importlib.util.find_spec("vllm"):
        pytest.skip("vLLM is installed")
    with pytest.raises(UserError, match="vLLM is not installed"):
        load_engine(str(tiny), configuration.load(None, ["policy.engine=vllm"]))
