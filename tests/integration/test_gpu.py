"""What can only be seen on a GPU: compiled FlexAttention with gradients, and DeepSpeed. Skipped without one."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.integrations.flex_attention import flex_attention_forward

from selfemo.config import Config
from selfemo.policy import compute
from selfemo.policy.trees import attention
from selfemo.policy.trees.attention import enable
from selfemo.policy.trees.packing import log_probs
from selfemo.policy.weights import load_model
from tests.conftest import ROOT
from tests.integration import test_processes as processes

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def _scored(directory: Path, turns: int, checkpoints: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and gradients of a pack, in bfloat16 autocast over float32 weights, as in training."""
    rng = np.random.default_rng(0)
    history = rng.integers(10, 300, 40 * turns).tolist()
    prompts = [[*history[: 40 * (t + 1)], 301, 302] for t in range(turns) for _ in range(2)]
    answers = [rng.integers(10, 300, 3).tolist() for _ in prompts]
    model = load_model(str(directory)).cuda().train()
    enable(model)
    if checkpoints:
        model.gradient_checkpointing_enable()
    with torch.autocast("cuda", torch.bfloat16):
        found = log_probs(model, prompts, answers).logprobs
    found.sum().backward()
    return found.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("checkpoints", [False, True])
def test_flex_attention_and_its_gradients_are_sdpas(
    tiny_of_each_kind: Path, checkpoints: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_flex = []

    def noted(*given: Any, **named: Any) -> Any:
        by_flex.append(1)
        return flex_attention_forward(*given, **named)

    monkeypatch.setattr(compute, "FLEX_TOKENS", 500)
    monkeypatch.setattr(attention, "flex_attention_forward", noted)
    values, gradient = _scored(tiny_of_each_kind, 20, checkpoints)
    assert by_flex
    monkeypatch.setattr(compute, "FLEX_TOKENS", 10**9)
    count = len(by_flex)
    expected, plain_gradient = _scored(tiny_of_each_kind, 20, checkpoints)
    assert len(by_flex) == count
    assert torch.allclose(values, expected, atol=0.05)
    assert (gradient - plain_gradient).norm() / plain_gradient.norm() < 0.02


def test_a_pack_of_a_few_tokens_is_scored(tiny_of_each_kind: Path) -> None:
    values, _ = _scored(tiny_of_each_kind, 1, False)
    assert torch.isfinite(values).all()


@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
def test_deepspeed_on_one_gpu_trains_as_plain_training_does(
    small_local: Config, tiny: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    if importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")
    monkeypatch.setenv("PYTHONPATH", f"{os.environ.get('PYTHONPATH', '')}:{ROOT}")
    one = processes.history(processes.settings(small_local, "one"), tiny)
    config = processes.settings(small_local, strategy, processes=1, strategy=strategy)
    processes.same(processes.history(config, tiny), one)
    assert f"1 processes train together: DEEPSPEED ZeRO-{strategy[-1]}" in processes.said(config)
