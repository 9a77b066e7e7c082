"""Sharing computation changes nothing but its cost: every result here is compared with the plain way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from torch.nn.attention.flex_attention import create_block_mask

from selfemo.policy import compute
from selfemo.policy.engine import Completion, Sampling
from selfemo.policy.trees import attention, packing
from selfemo.policy.trees.attention import PackedAttention, block_mask, enable, inputs
from selfemo.policy.trees.forest import Forest
from selfemo.policy.trees.packing import log_probs, log_probs_of_packs
from selfemo.policy.trees.sampler import TransformersEngine, batches, draw
from selfemo.policy.trees.tree import grow, split
from selfemo.policy.weights import load_model, load_tokenizer

tokens = st.lists(st.integers(0, 3), min_size=1, max_size=12)
forests = st.lists(tokens, min_size=1, max_size=12)


def _turns(base: int) -> list[list[int]]:
    history = [base + i for i in range(40)]
    return [[*history[: 10 * t], 900, 901] for t in range(1, 5)]


def test_turns_of_one_dialogue_make_one_tree_and_dialogues_stay_apart() -> None:
    tree = grow(_turns(100) + _turns(200))
    assert [stop - start for start, stop in tree.spans] == [40 + 4 * 2] * 2
    assert batches(_turns(100) + _turns(200), [8 * 16] * 8) == [[[3, 2, 1, 0], [7, 6, 5, 4]]]


def test_a_prompt_with_long_answers_does_not_part_the_others() -> None:
    prompts = _turns(100) + _turns(200)
    room = [8] * 7 + [2_000]
    assert len(batches(prompts, room, 2_048)) == 2
    assert len(batches(prompts, [max(room)] * 8, 2_048)) == 8


def test_equal_prompts_have_answers_of_their_own() -> None:
    found = batches([[1, 2, 3]] * 100, [900] * 100, 2_048)
    assert max(sum(map(len, batch)) for batch in found) == 2


@given(forests)
def test_batches_hold_every_prompt_once(prompts: list[list[int]]) -> None:
    found = batches(prompts, [2 * 4] * len(prompts))
    assert sorted(i for batch in found for tree in batch for i in tree) == list(range(len(prompts)))


def _tree() -> tuple[list[list[int]], list[list[int]]]:
    rng = np.random.default_rng(0)
    trunk = rng.integers(10, 300, 30).tolist()
    prompts = [trunk[:n] + rng.integers(10, 300, 5).tolist() for n in (8, 20, 30, 30)]
    prompts += [prompts[1], rng.integers(10, 300, 9).tolist()]
    return prompts, [rng.integers(10, 300, n).tolist() for n in (3, 1, 4, 2, 5, 3)]


@pytest.mark.parametrize(("rows", "heat"), [(512, 1.0), (3, 0.7)])
def test_packed_log_probabilities_and_gradients_equal_separate_ones(
    tiny_of_each_kind: Path, monkeypatch: pytest.MonkeyPatch, rows: int, heat: float
) -> None:
    """Also where distributions are worked through a few at a time."""
    monkeypatch.setitem(packing.ROWS, "cpu", rows)
    model = load_model(str(tiny_of_each_kind))
    enable(model)
    prompts, answers = _tree()
    scores = log_probs(model, prompts, answers, heat, entropies=True)
    packed, entropy = scores.logprobs, scores.entropies
    assert entropy is not None
    packed.sum().backward()
    gradient = model.model.layers[0].mlp.up_proj.weight.grad.clone()
    model.zero_grad()
    total = torch.zeros(())
    for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        logs = torch.log_softmax(logits / heat, -1)
        each = logs[torch.arange(len(answer)), torch.tensor(answer)]
        assert torch.allclose(packed[i, : len(answer)], each, atol=1e-4)
        assert torch.allclose(entropy[i, : len(answer)], -(logs.exp() * logs).sum(-1), atol=1e-4)
        assert not packed[i, len(answer) :].any()
        total = total + each.sum()
    total.backward()
    plain = model.model.layers[0].mlp.up_proj.weight.grad
    assert (gradient - plain).norm() / plain.norm() < 1e-4


def test_packs_score_as_one_pass_does_and_logits_are_divided_by_the_temperature(tiny: Path) -> None:
    model = load_model(str(tiny))
    enable(model)
    prompts, answers = _tree()
    with torch.no_grad():
        whole = log_probs(model, prompts, answers, temperature=0.7, entropies=True)
        packs = split([[*p, *a] for p, a in zip(prompts, answers, strict=True)], 40)
        parts = log_probs_of_packs(model, prompts, answers, packs, temperature=0.7, entropies=True)
        logits = model(torch.tensor([prompts[0] + answers[0]])).logits[0, len(prompts[0]) - 1 : -1]
    assert len(packs) >= 3
    assert torch.allclose(whole.logprobs, parts.logprobs, atol=1e-5)
    assert whole.entropies is not None and parts.entropies is not None
    assert torch.allclose(whole.entropies, parts.entropies, atol=1e-5)
    assert log_probs(model, prompts, answers).entropies is None
    plain = torch.log_softmax(logits / 0.7, -1)[range(len(answers[0])), answers[0]]
    assert torch.allclose(whole.logprobs[0, : len(answers[0])], plain, atol=1e-4)


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(1, 200)), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_the_block_mask_is_the_one_that_torch_finds_by_looking_at_every_pair(branches: list[tuple[int, int]]) -> None:
    trunk = list(range(400))
    tree = grow([[*trunk[:n], *range(1000 * i, 1000 * i + own)] for i, (n, own) in enumerate(branches, 1)])
    end, size = torch.from_numpy(tree.end), len(tree.ids)
    found = block_mask(tree.end, torch.device("cpu"))
    torchs = create_block_mask(lambda b, h, q, k: (k <= q) & (q < end[k]), None, None, size, size, device="cpu")
    assert found.shape == torchs.shape
    for kind in ("kv", "full_kv"):
        counts, indices = (getattr(found, f"{kind}_{of}") for of in ("num_blocks", "indices"))
        assert torch.equal(counts, getattr(torchs, f"{kind}_num_blocks"))
        expected = getattr(torchs, f"{kind}_indices")
        for row, count in enumerate(counts[0, 0].tolist()):
            assert torch.equal(indices[0, 0, row, :count], expected[0, 0, row, :count])


def test_flex_attention_is_for_gpus_and_large_packs_in_half_precision() -> None:
    gpu = torch.device("cuda")
    large = PackedAttention(grow([list(range(compute.FLEX_TOKENS))]), gpu)
    assert large._flexible(torch.bfloat16, 64)
    assert not large._flexible(torch.float32, 64)
    assert not large._flexible(torch.bfloat16, 8)  # heads of a dry run's miniature
    assert not PackedAttention(grow([list(range(100))]), gpu)._flexible(torch.bfloat16, 64)
    assert not PackedAttention(large.tree, torch.device("cpu"))._flexible(torch.bfloat16, 64)


def test_flex_attention_agrees_with_sdpa(tiny_of_each_kind: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uncompiled here; `tests/integration/test_gpu.py` compiles it, and compares gradients."""
    from torch.nn.attention.flex_attention import flex_attention

    def plain(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float) -> tuple[torch.Tensor, None]:
        return flex_attention(query, key, value, block_mask=mask, scale=scaling, enable_gqa=True).transpose(1, 2), None

    monkeypatch.setattr(attention, "flex_attention_forward", plain)
    model = load_model(str(tiny_of_each_kind))
    enable(model)
    prompts, answers = _tree()
    tree = grow([p + a for p, a in zip(prompts, answers, strict=True)])
    with torch.no_grad():
        by_flex, by_sdpa = (
            model(**inputs(tree.ids, tree.depth, PackedAttention(tree, model.device, flex), model.device)).logits
            for flex in (True, False)
        )
    assert torch.allclose(by_flex, by_sdpa, atol=1e-4)


def test_a_model_with_tree_attention_is_otherwise_as_it_was(tiny_of_each_kind: Path) -> None:
    plain, enabled = load_model(str(tiny_of_each_kind)), load_model(str(tiny_of_each_kind))
    enable(enabled)
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 9]])
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    with torch.no_grad():
        assert torch.equal(plain(ids, attention_mask=mask).logits, enabled(ids, attention_mask=mask).logits)


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
    assert [[c.ids for c in g] for g in together] == [[c.ids for c in g] for g in alone]
    assert together != engine.sample(prompts, range(100, 100 + len(prompts)), Sampling(4, 8))
    assert all(isinstance(c, Completion) and 1 <= len(c.ids) <= 8 for g in together for c in g)


def test_log_probabilities_of_samples_are_those_of_a_full_forward_pass(tiny_of_each_kind: Path) -> None:
    model = load_model(str(tiny_of_each_kind))
    engine = TransformersEngine(model, load_tokenizer(str(tiny_of_each_kind)))
    prompts, _ = _tree()
    for sampling in (Sampling(4, 9), Sampling(2, 5, temperature=0.5, top_p=0.8), Sampling(1, 5, temperature=0)):
        for prompt, group in zip(prompts, engine.sample(prompts, range(len(prompts)), sampling), strict=True):
            for completion in group:
                with torch.no_grad():
                    logits = model(torch.tensor([[*prompt, *completion.ids]])).logits[0, len(prompt) - 1 : -1]
                plain = torch.log_softmax(logits, -1)[range(len(completion.ids)), completion.ids]
                assert plain.numpy() == pytest.approx(completion.logprobs, abs=1e-4)


def test_a_small_cache_budget_changes_nothing(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TransformersEngine(load_model(str(tiny)), load_tokenizer(str(tiny)))
    prompts, _ = _tree()
    whole = engine.sample(prompts, range(len(prompts)), Sampling(2, 6))
    monkeypatch.setattr(compute, "CACHE_TOKENS", 1)
    finished: list[int] = []
    apart = engine.sample(prompts, range(len(prompts)), Sampling(2, 6), finished.append)
    assert [[c.ids for c in g] for g in apart] == [[c.ids for c in g] for g in whole]
    assert finished == [1] * len(prompts)


def test_a_forest_makes_room_as_it_grows(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TransformersEngine(load_model(str(tiny)), load_tokenizer(str(tiny)))
    prompts, _ = _tree()
    ample = engine.sample(prompts, range(len(prompts)), Sampling(8, 12))
    made = Forest.__init__
    monkeypatch.setattr(Forest, "__init__", lambda self, model, trees, room, keep: made(self, model, trees, 0, keep))
    scarce = engine.sample(prompts, range(len(prompts)), Sampling(8, 12))
    assert [[c.ids for c in g] for g in scarce] == [[c.ids for c in g] for g in ample]


def test_samples_follow_the_models_distribution(tiny: Path) -> None:
    """Chi-square over the first two tokens of 4,000 samples against the exact probabilities."""
    model = load_model(str(tiny))
    torch.manual_seed(0)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(4)  # a few likely tokens, as a trained model has
    prompt = list(range(20, 30))
    (group,) = TransformersEngine(model, load_tokenizer(str(tiny))).sample([prompt], [3], Sampling(4000, 2))
    with torch.no_grad():
        first = torch.softmax(model(torch.tensor([prompt])).logits[0, -1].double(), -1)
        chosen = torch.topk(first, 5).indices.tolist()
        expected = {}
        for token in chosen:
            second = torch.softmax(model(torch.tensor([[*prompt, token]])).logits[0, -1].double(), -1)
            for follower in torch.topk(second, 5).indices.tolist():
                expected[token, follower] = float(first[token] * second[follower]) * 4000
    expected = {pair: count for pair, count in expected.items() if count >= 5}
    assert len(expected) >= 5
    counts = {pair: sum(c.ids == pair for c in group) for pair in expected}
    rest, rest_expected = 4000 - sum(counts.values()), 4000 - sum(expected.values())
    statistic = sum((counts[p] - expected[p]) ** 2 / expected[p] for p in expected)
    statistic += (rest - rest_expected) ** 2 / rest_expected
    assert statistic < chi2.ppf(0.999, len(expected))


def test_draws_follow_the_distribution() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]]))
    uniform = torch.from_numpy(np.random.default_rng(1).random((1, 20000)))
    counts = torch.bincount(draw(logits, uniform, Sampling(1, 1))[0], minlength=3).numpy()
    expected = np.array([0.5, 0.3, 0.2]) * 20000
    assert ((counts - expected) ** 2 / expected).sum() < chi2.ppf(0.999, 2)
    nucleus = torch.bincount(draw(logits, uniform, Sampling(1, 1, top_p=0.6))[0], minlength=3)
    assert nucleus[2] == 0
    assert nucleus[0] / 20000 == pytest.approx(0.5 / 0.8, abs=0.02)
    cold = torch.bincount(draw(logits, uniform, Sampling(1, 1, temperature=0.1))[0], minlength=3)
    assert cold[0] > 19000
