"""What is computed otherwise on a tree than by itself is refused, with the architecture's name and the difference."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from selfemo import config as configuration
from selfemo.config import Config
from selfemo.errors import UserError
from selfemo.policy.load import load_engine
from selfemo.policy.trees import attention, check
from selfemo.policy.trees.layer import AttentionLayer
from selfemo.policy.weights import load_model, load_tokenizer
from selfemo.training.warmup import warm_up
from tests.unit.models.families import config, model

FORGOTTEN = {"Mistral": "sliding_window", "Gemma 2": "softcap", "gpt-oss": "sinks", "Granite": "scaling"}


@pytest.mark.parametrize(("family", "what"), FORGOTTEN.items())
def test_what_a_layer_asks_for_cannot_be_forgotten(family: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part of a layer's call counts: without it the check fails."""
    without: dict[str, Any] = {what: None}
    monkeypatch.setattr(attention, "AttentionLayer", lambda *given: replace(AttentionLayer(*given), **without))
    name = type(config(family)).__name__.removesuffix("Config")
    with pytest.raises(
        UserError, match=rf"^here: {name} gives something else on a tree .* differ by up to [\d.]+ nats"
    ):
        check.configured(config(family), "here")


def test_logits_that_a_model_scales_after_its_head_are_the_samplers_too() -> None:
    """Granite divides them, Gemma 2 caps them: the check would see a sampler that multiplies by the head alone."""
    found = check.difference(model(config("Granite")))
    assert found.nats < 1e-3
    assert found.spread > 0.1


@pytest.mark.parametrize("family", ["Llama 3", "Gemma 3", "gpt-oss"])
def test_weights_pass_in_half_precision_too(family: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    check.weights(model(config(family), deviation=0.05).bfloat16(), "here")
    assert "checked in" in caplog.text


def _nan(made: torch.nn.Module) -> None:
    next(made.parameters()).data[:] = float("nan")


def _noisy(made: Any) -> None:
    made.model.layers[0].self_attn.register_forward_hook(lambda _, __, out: (out[0] + torch.randn_like(out[0]), out[1]))


@pytest.mark.parametrize(
    ("spoil", "problem"), [(_nan, "no numbers"), (_noisy, "LlamaForCausalLM gives something else")]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_give_something_else_are_refused(
    spoil: Callable[[torch.nn.Module], None], problem: str, dtype: torch.dtype
) -> None:
    made = model(config("Llama 3")).to(dtype)
    spoil(made)
    with pytest.raises(UserError, match=problem):
        check.weights(made, "here")


@pytest.fixture
def convolutions(tiny: Path, tmp_path: Path) -> str:
    """LFM2: half its layers are convolutions along the sequence."""
    from transformers import Lfm2Config, Lfm2ForCausalLM

    kinds = ["conv", "full_attention"]
    shape = {
        "vocab_size": 600,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "layer_types": kinds,
    }
    Lfm2ForCausalLM(Lfm2Config(**shape, num_attention_heads=4, num_key_value_heads=2)).save_pretrained(tmp_path)
    load_tokenizer(str(tiny)).save_pretrained(tmp_path)
    return str(tmp_path)


def test_an_engine_and_a_training_step_refuse_what_they_cannot_compute(convolutions: str, tmp_path: Path) -> None:
    named = "Lfm2ForCausalLM has layers of kind"
    with pytest.raises(UserError, match=named):
        load_engine(convolutions, configuration.load(None, []))
    with pytest.raises(UserError, match=named):
        warm_up(convolutions, [], {}, Config(), tmp_path / "work", tmp_path / "out", lambda *_: None)
    assert not (tmp_path / "work").exists()


def test_a_model_is_left_as_it_was(tiny: Path) -> None:
    made = load_model(str(tiny)).train()
    check.weights(made, "here")
    assert made.training
    assert all(weight.grad is None for weight in made.parameters())
