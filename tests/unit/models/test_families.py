"""The families that users have: what the sampler and the pack of a training step give is a plain forward pass's."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfemo.errors import UserError
from selfemo.policy.engine import Sampling
from selfemo.policy.miniature import shrink
from selfemo.policy.stepping import Drawn, LikelihoodAsk, LikelihoodsFound, SampleAsk
from selfemo.policy.trees import check, pieces
from selfemo.policy.trees.attention import PackedAttention, block_mask, enable
from selfemo.policy.trees.layer import AttentionLayer
from selfemo.policy.trees.packing import log_probs
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.trees.tree import grow
from selfemo.policy.weights import load_model, load_tokenizer
from tests.unit.models.families import FAMILIES, config, model

CPU = torch.device("cpu")


def _prompts() -> tuple[list[list[int]], list[list[int]]]:
    """Prompts that share their starts, on two trunks, all longer than the windows of 7; and answers."""
    draw = np.random.default_rng(4)
    trunk, other = draw.integers(10, 590, 30).tolist(), draw.integers(10, 590, 12).tolist()
    prompts = [trunk[:n] + draw.integers(10, 590, 3).tolist() for n in (30, 22, 22, 16)] + [other, trunk[:22]]
    return prompts, [draw.integers(10, 590, n).tolist() for n in (3, 1, 12, 2, 9, 4)]


def _plain(reference: torch.nn.Module, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Log-probabilities of an answer by one pass over the sequence alone."""
    logits = reference(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits.float(), -1)[torch.arange(len(answer)), torch.tensor(answer)]


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_are_as_likely_as_a_plain_pass_says(family: str, tiny: Path) -> None:
    engine = TransformersEngine(model(config(family)), load_tokenizer(str(tiny)))
    reference = model(config(family))
    prompts, answers = _prompts()
    groups = engine.sample(prompts, range(len(prompts)), Sampling(3, 12))
    scores = engine.log_likelihoods(prompts, [[a] for a in answers])
    with torch.no_grad():
        for prompt, group, answer, (score,) in zip(prompts, groups, answers, scores, strict=True):
            for completion in group:
                plain = _plain(reference, prompt, list(completion.ids))
                assert plain.numpy() == pytest.approx(completion.logprobs, abs=1e-4)
            assert float(_plain(reference, prompt, answer).sum()) == pytest.approx(score, abs=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_servers_steps_give_what_whole_calls_give_or_the_family_is_not_stepped(family: str, tiny: Path) -> None:
    made = config(family)
    engine = TransformersEngine(model(made), load_tokenizer(str(tiny)))
    stepper = engine.stepper(4)
    if stepper is None:
        kinds = (getattr(made, "attn_logit_softcapping", None), family == "gpt-oss")
        assert any(kinds), "soft caps and sinks are what a step does not compute"
        return
    prompts, answers = _prompts()
    asks = [LikelihoodAsk([p], [[a]]) for p, a in zip(prompts, answers, strict=True)]
    found: dict[object, object] = {}
    for ask in asks:  # each joins when the one before has begun
        stepper.add(ask)
        found |= {event.ask: event.log_likelihoods for event in stepper.step() if isinstance(event, LikelihoodsFound)}
    while not stepper.idle():
        found |= {event.ask: event.log_likelihoods for event in stepper.step() if isinstance(event, LikelihoodsFound)}
    for ask, expected in zip(asks, engine.log_likelihoods(prompts, [[a] for a in answers]), strict=True):
        assert found[ask] == (pytest.approx(expected, abs=1e-3),)
    draw = SampleAsk(prompts[0], 5, Sampling(2, 12))
    stepper.add(draw)
    drawn: list[list[int]] = [[], []]
    while not stepper.idle():
        for event in stepper.step():
            if isinstance(event, Drawn):
                drawn[event.index].append(event.token)
    assert drawn == [list(c.ids) for c in engine.sample([prompts[0]], [5], Sampling(2, 12))[0]]


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_a_pack_are_those_of_separate_sequences(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "ROWS", 10)
    packed, apart = model(config(family)).train(), model(config(family)).train()
    enable(packed)
    prompts, answers = _prompts()
    found = log_probs(packed, prompts, answers).logprobs
    found.sum().backward()
    for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        plain = _plain(apart, prompt, answer)
        assert torch.allclose(found[i, : len(answer)], plain, atol=1e-4)
        plain.sum().backward()
    for (name, one), other in zip(packed.named_parameters(), apart.parameters(), strict=True):
        if other.grad is not None:
            assert torch.allclose(one.grad, other.grad, atol=1e-4, rtol=1e-3), name


@pytest.mark.parametrize("family", FAMILIES)
def test_their_architectures_pass_the_check(family: str) -> None:
    check.configured(config(family), family)


sequences = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), min_size=1, max_size=8)


@given(sequences, st.integers(1, 14), st.integers(1, 20), st.integers(0, 3))
@settings(max_examples=100)
def test_a_window_holds_the_nearest_tokens_of_a_nodes_own_path(
    rows: list[list[int]], window: int, size: int, seed: int
) -> None:
    """Attention over the tree, in pieces of any size, and FlexAttention's mask, against attention over each path."""
    tree = grow(rows, 0.5)
    draw = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(1, 2, len(tree.ids), 4, generator=draw) for _ in range(3))
    with patch.object(pieces, "ROWS", size):
        found = PackedAttention(tree, CPU, flex=False).attend(AttentionLayer(None, 0.7, window), query, key, value)
    seen = torch.zeros(len(tree.ids), len(tree.ids), dtype=torch.bool)
    for path in tree.paths:
        for place, node in enumerate(path):
            near = path[max(0, place + 1 - window) : place + 1]
            seen[node, near] = True
            weight = torch.softmax(query[0, :, node, None] @ key[0, :, near].transpose(1, 2) * 0.7, -1)
            assert torch.allclose(found[0, node], (weight @ value[0, :, near])[:, 0], atol=1e-5)
    blocks = block_mask(tree.end, CPU, tree.depth, window)
    places = torch.arange(len(tree.ids))
    assert torch.equal(blocks.mask_mod(0, 0, places[:, None], places[None, :]), seen)


def test_a_piece_has_the_keys_that_its_rows_see_and_no_ended_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "ROWS", 4)
    trunk = list(range(12))
    tree = grow([[*trunk[:n], *range(100 * n, 100 * n + 6)] for n in (6, 9, 12)])
    found = list(pieces.pieces(tree, None, CPU, torch.float32))
    assert tree.spans == [(0, 30)] and [(p.start, p.stop) for p in found] == [
        (n, min(n + 4, 30)) for n in range(0, 30, 4)
    ]
    for piece in found:
        keys = range(piece.stop) if piece.keys is None else piece.keys.tolist()
        seen = {int(n) for row in range(piece.start, piece.stop) for n in range(row + 1) if row < tree.end[n]}
        assert piece.bias is not None and set(keys) == seen
    assert sum(p.bias.numel() for p in found if p.bias is not None) < len(tree.ids) ** 2 / 2


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 150)), min_size=1, max_size=4), st.integers(1, 400))
@settings(max_examples=20, deadline=None)
def test_the_block_mask_of_a_window_looks_into_every_block_that_holds_something(
    branches: list[tuple[int, int]], window: int
) -> None:
    trunk = list(range(300))
    tree = grow([[*trunk[:n], *range(1000 * i, 1000 * i + own)] for i, (n, own) in enumerate(branches, 1)])
    blocks, size = block_mask(tree.end, CPU, tree.depth, window), len(tree.ids)
    place = torch.arange(size)
    seen = blocks.mask_mod(0, 0, place[:, None], place[None, :])
    looked, whole = (torch.zeros(-(-size // 128), -(-size // 128), dtype=torch.bool) for _ in range(2))
    for found, kind in ((looked, "kv"), (whole, "full_kv")):
        counts, indices = (getattr(blocks, f"{kind}_{of}")[0, 0] for of in ("num_blocks", "indices"))
        for row, count in enumerate(counts.tolist()):
            found[row, indices[row, :count].long()] = True
    for q, k in np.ndindex(*looked.shape):
        part = seen[q * 128 : (q + 1) * 128, k * 128 : (k + 1) * 128]
        assert not part.any() or looked[q, k] or whole[q, k]
        assert not whole[q, k] or part.all()


def test_a_prompt_beyond_the_positions_that_a_tree_may_hold_is_refused(tiny: Path) -> None:
    engine = TransformersEngine(model(config("Phi-4-mini")), load_tokenizer(str(tiny)))
    engine.sample([list(range(10, 250))], [0], Sampling(1, 16))
    with pytest.raises(UserError, match="257 tokens long; on a tree this model reads 256"):
        engine.sample([list(range(10, 251))], [0], Sampling(1, 16))
    with pytest.raises(UserError, match="257 tokens long"):
        engine.log_likelihoods([list(range(10, 260))], [[[5] * 7]])


def test_a_dry_runs_miniature_of_layers_that_differ_can_be_loaded(tiny: Path, tmp_path: Path) -> None:
    config("Gemma 4").save_pretrained(tmp_path / "base")
    load_tokenizer(str(tiny)).save_pretrained(tmp_path / "base")
    assert shrink(str(tmp_path / "base"), tmp_path / "small") == load_model(str(tmp_path / "small")).num_parameters()
