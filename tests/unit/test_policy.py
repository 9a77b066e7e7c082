"""Sharing computation changes nothing but its cost: every result here is compared with the plain way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfemo.policy.engine import Completion, Sampling, TransformersEngine, draw
from selfemo.policy.packing import IGNORED, answer_log_probabilities, pack
from selfemo.policy.tree import common_prefix, plan
from selfemo.policy.weights import load_model, load_tokenizer

tokens = st.lists(st.integers(0, 3), min_size=1, max_size=12)


@given(st.lists(tokens, min_size=1, max_size=12))
def test_a_plan_covers_every_prompt_once_and_keeps_a_branch(prompts: list[list[int]]) -> None:
    trunks = plan(prompts)
    members = [m for t in trunks for m in t.members]
    assert sorted(i for i, _ in members) == list(range(len(prompts)))
    for trunk in trunks:
        for index, shared in trunk.members:
            assert prompts[index][:shared] == list(trunk.ids[:shared])
            assert shared < len(prompts[index])
            assert shared <= trunk.length


def test_turns_of_one_dialogue_make_one_trunk_and_dialogues_stay_apart() -> None:
    def turns(base: int) -> list[list[int]]:
        history = [base + i for i in range(40)]
        return [[*history[: 10 * t], 900, 901] for t in range(1, 5)]

    trunks = plan(turns(100) + turns(200))
    assert [len(t.members) for t in trunks] == [4, 4]
    assert trunks[0].length == 41


def test_common_prefix() -> None:
    assert common_prefix([1, 2, 3], [1, 2, 4]) == 2
    assert common_prefix([], [1]) == 0
    assert common_prefix([1], [1, 2]) == 1


@given(st.lists(st.tuples(tokens, tokens), min_size=1, max_size=6))
def test_a_packed_token_sees_its_own_prompt_and_nothing_else(pairs: list[tuple[list[int], list[int]]]) -> None:
    packed = pack([p for p, _ in pairs], [a for _, a in pairs])
    assert not np.triu(packed.visible, 1).any()
    for index, (prompt, answer) in enumerate(pairs):
        places = np.flatnonzero(packed.owner == index)
        assert packed.labels[places].tolist() == answer
        seen = np.flatnonzero(packed.visible[places[-1]])
        assert packed.ids[seen].tolist() == prompt + answer
        assert packed.positions[seen].tolist() == list(range(len(prompt) + len(answer)))
    assert (packed.labels != IGNORED).sum() == sum(len(a) for _, a in pairs)


def _tree() -> tuple[list[list[int]], list[list[int]]]:
    rng = np.random.default_rng(0)
    trunk = rng.integers(10, 300, 30).tolist()
    prompts = [trunk[:n] + rng.integers(10, 300, 5).tolist() for n in (8, 20, 30, 30)]
    prompts += [prompts[1], rng.integers(10, 300, 9).tolist()]
    return prompts, [rng.integers(10, 300, n).tolist() for n in (3, 1, 4, 2, 5, 3)]


def test_packed_log_probabilities_and_gradients_equal_separate_ones(tiny_of_each_kind: Path) -> None:
    model = load_model(str(tiny_of_each_kind))
    prompts, answers = _tree()
    packed, entropy = answer_log_probabilities(model, prompts, answers)
    packed.sum().backward()
    gradient = model.model.layers[0].mlp.up_proj.weight.grad.clone()
    model.zero_grad()
    total = torch.zeros(())
    for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        scores = torch.log_softmax(logits, -1)
        each = scores[torch.arange(len(answer)), torch.tensor(answer)]
        assert torch.allclose(packed[i, : len(answer)], each, atol=1e-4)
        assert torch.allclose(entropy[i, : len(answer)], -(scores.exp() * scores).sum(-1), atol=1e-4)
        assert not packed[i, len(answer) :].any()
        total = total + each.sum()
    total.backward()
    plain = model.model.layers[0].mlp.up_proj.weight.grad
    assert (gradient - plain).norm() / plain.norm() < 1e-4


def test_greedy_sampling_equals_generate(tiny_of_each_kind: Path) -> None:
    model, tokenizer = load_model(str(tiny_of_each_kind)), load_tokenizer(str(tiny_of_each_kind))
    engine = TransformersEngine(model, tokenizer)
    prompts, _ = _tree()
    sampled = engine.sample(prompts, [0] * len(prompts), Sampling(2, 12, temperature=0))
    for prompt, group in zip(prompts, sampled, strict=True):
        ids = torch.tensor([prompt])
        plain = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        expected = plain[0, len(prompt) :].tolist()
        assert list(group[0].ids) == expected
        assert group[0] == group[1]


def test_a_prompts_samples_depend_on_its_seed_alone(tiny: Path) -> None:
    engine = TransformersEngine(load_model(str(tiny)), load_tokenizer(str(tiny)))
    prompts, _ = _tree()
    together = engine.sample(prompts, range(len(prompts)), Sampling(4, 8))
    again = engine.sample(prompts, range(len(prompts)), Sampling(4, 8))
    alone = [engine.sample([p], [i], Sampling(4, 8))[0] for i, p in enumerate(prompts)]
    assert together == again
    assert together == alone
    assert together != engine.sample(prompts, range(100, 100 + len(prompts)), Sampling(4, 8))
    assert all(isinstance(c, Completion) and 1 <= len(c.ids) <= 8 for g in together for c in g)


def test_a_small_cache_budget_changes_nothing(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TransformersEngine(load_model(str(tiny)), load_tokenizer(str(tiny)))
    prompts, _ = _tree()
    whole = engine.sample(prompts, range(len(prompts)), Sampling(2, 6))
    monkeypatch.setattr("selfemo.policy.engine.CACHE_TOKENS", 1)
    finished: list[int] = []
    assert engine.sample(prompts, range(len(prompts)), Sampling(2, 6), finished.append) == whole
    assert finished == [1] * len(prompts)


def test_draws_follow_the_distribution() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2])).repeat(20000, 1)
    uniform = torch.from_numpy(np.random.default_rng(1).random(20000))
    counts = torch.bincount(draw(logits, uniform, Sampling(1, 1)), minlength=3).numpy()
    expected = np.array([0.5, 0.3, 0.2]) * 20000
    assert ((counts - expected) ** 2 / expected).sum() < 13.8  # chi-square, 2 degrees of freedom, p = 0.001
    nucleus = torch.bincount(draw(logits, uniform, Sampling(1, 1, top_p=0.6)), minlength=3)
    assert nucleus[2] == 0
    assert nucleus[0] / 20000 == pytest.approx(0.5 / 0.8, abs=0.02)
    cold = torch.bincount(draw(logits, uniform, Sampling(1, 1, temperature=0.1)), minlength=3)
    assert cold[0] > 19000
