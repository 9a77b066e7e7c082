"""The contract of an engine, run against every engine that can be installed here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from selfemo import config as configuration
from selfemo.config import Config
from selfemo.errors import UserError
from selfemo.policies import Policies
from selfemo.policy import adapters
from selfemo.policy.engine import Engine, Sampling
from selfemo.policy.load import load_engine
from selfemo.policy.stepping import Drawn, LikelihoodAsk, LikelihoodsFound, SampleAsk, stepper_of
from selfemo.policy.weights import load_model, load_tokenizer
from selfemo.store.artifacts import Store

PROMPTS = [[5, 6, 7, 8, 9], [5, 6, 7, 30, 31, 32], [40, 41]]

ENGINES = {
    "transformers": ["policy.engine=transformers", "policy.precision=float32"],
    "vllm": ["policy.engine=vllm", "policy.precision=float32"],
    "vllm, two copies": ["policy.engine=vllm", "policy.precision=float32", "policy.vllm.data_parallel=2"],
}


@pytest.fixture(scope="module", params=["whole", "adapter"])
def policy(request: pytest.FixtureRequest, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Weights as engines get them: a directory of whole ones, or an adapter's view."""
    if request.param == "whole":
        return str(tiny)
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(load_model(str(tiny)), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    torch.manual_seed(1)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    place = tmp_path_factory.mktemp("adapter")
    adapters.publish(adapted, place / "published", str(tiny))
    for file in tiny.glob("tokenizer*"):
        (place / "published" / file.name).write_bytes(file.read_bytes())
    (place / "published" / "chat_template.jinja").write_bytes((tiny / "chat_template.jinja").read_bytes())
    policies = Policies(Config(), Store(place.as_uri(), place), dict[str, str]().__getitem__, place / "cache")
    return policies.find(str(place / "published")).directory


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, policy: str) -> Engine:
    if "vllm" in request.param:
        pytest.importorskip("vllm", reason="vLLM is not installed: it needs an environment of its own")
    return load_engine(policy, configuration.load(None, ENGINES[request.param]))[0]


def test_each_prompt_gets_its_samples_in_order(engine: Engine) -> None:
    finished: list[int] = []
    groups = engine.sample(PROMPTS, [1, 2, 3], Sampling(4, 6), finished.append)
    assert [len(g) for g in groups] == [4, 4, 4]
    assert all(1 <= len(c.ids) <= 6 for g in groups for c in g)
    assert sum(finished) == 3


def test_greedy_answers_are_the_models_whatever_the_company(engine: Engine, policy: str) -> None:
    greedy = Sampling(1, 8, temperature=0)
    together = [group[0].ids for group in engine.sample(PROMPTS, [0] * 3, greedy)]
    assert [engine.sample([p], [9], greedy)[0][0].ids for p in PROMPTS] == together
    model = load_model(policy)
    for prompt, ids in zip(PROMPTS, together, strict=True):
        given = torch.tensor([prompt])
        plain = model.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=8, do_sample=False)
        assert plain[0, len(prompt) :].tolist() == list(ids)


def test_log_probabilities_are_the_models_own(engine: Engine, policy: str) -> None:
    model = load_model(policy)
    for prompt, group in zip(PROMPTS, engine.sample(PROMPTS, [1, 2, 3], Sampling(3, 6, temperature=0.7)), strict=True):
        for completion in group:
            with torch.no_grad():
                logits = model(torch.tensor([[*prompt, *completion.ids]])).logits[0, len(prompt) - 1 : -1]
            plain = torch.log_softmax(logits, -1)[range(len(completion.ids)), completion.ids]
            assert plain.numpy() == pytest.approx(completion.logprobs, abs=1e-4)


def test_given_answers_are_as_likely_as_the_model_says(engine: Engine, policy: str) -> None:
    model = load_model(policy)
    said = [3, 3, 3, *range(4, 30), 2]  # one answer may begin another: what declares emotions, and a whole reply
    answers = [[[9, 2], [9, 8, 2], [10, 2]], [said[:3], said, [8, *said]], [[7]]]
    finished: list[int] = []
    found = engine.log_likelihoods(PROMPTS, answers, finished.append)
    assert sum(finished) == 3
    for prompt, some, scores in zip(PROMPTS, answers, found, strict=True):
        for answer, score in zip(some, scores, strict=True):
            with torch.no_grad():
                logits = model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
            plain = torch.log_softmax(logits, -1)[range(len(answer)), answer].sum()
            assert score == pytest.approx(float(plain), abs=1e-3)
    assert engine.log_likelihoods(PROMPTS[:1], answers[:1]) == [pytest.approx(found[0], abs=1e-3)], (
        "whatever the company"
    )


def test_the_same_seed_gives_the_same_samples(engine: Engine) -> None:
    first, second = (engine.sample(PROMPTS, [1, 2, 3], Sampling(4, 6)) for _ in range(2))
    assert [[c.ids for c in g] for g in first] == [[c.ids for c in g] for g in second]


def test_nothing_asked_nothing_answered(engine: Engine) -> None:
    assert engine.sample([], [], Sampling(2, 4)) == []
    assert engine.log_likelihoods([], []) == []


def test_a_missing_vllm_says_how_to_get_it(tiny: Path) -> None:
    import importlib.util

    if importlib.util.find_spec("vllm"):
        pytest.skip("vLLM is installed")
    with pytest.raises(UserError, match="vLLM is not installed"):
        load_engine(str(tiny), configuration.load(None, ["policy.engine=vllm"]))


def test_a_server_works_on_requests_together_with_any_engine(engine: Engine, tiny: Path) -> None:
    end = load_tokenizer(str(tiny)).eos_token_id
    stepper = stepper_of(engine, [end], 8)
    samples = [SampleAsk(prompt, 1, Sampling(1, 6, 0.0)) for prompt in PROMPTS]
    scores = LikelihoodAsk(PROMPTS, [[[11], [11, 12]]] * 3)
    drawn: dict[SampleAsk, list[int]] = {ask: [] for ask in samples}
    found: tuple[tuple[float, ...], ...] = ()
    asks: tuple[SampleAsk | LikelihoodAsk, ...] = (*samples, scores)
    for ask in asks:
        stepper.add(ask)
    while not stepper.idle():
        for event in stepper.step():
            if isinstance(event, Drawn):
                drawn[event.ask].append(event.token)
            elif isinstance(event, LikelihoodsFound):
                found = event.log_likelihoods
    alone = engine.sample(PROMPTS, [1, 1, 1], Sampling(1, 6, 0.0))
    assert [tuple(drawn[ask]) for ask in samples] == [group[0].ids for group in alone]
    for mine, theirs in zip(found, engine.log_likelihoods(PROMPTS, scores.answers), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-3)
