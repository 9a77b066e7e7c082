"""All decoders of transformers, as small as they get: computed right on trees, or refused by name. Nothing between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from selfemo.errors import UserError
from selfemo.policy.engine import Sampling
from selfemo.policy.miniature import smallest
from selfemo.policy.trees import check
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.weights import load_tokenizer

KINDS = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
GROUPS = 6
"""Tests, so that processes can share them; each decoder takes some 0.1 s."""

RIGHT = {
    *("llama", "qwen2", "qwen3", "qwen3_moe", "gemma", "gemma2", "gemma3", "gemma3_text", "gemma4_text", "mistral"),
    *("ministral", "phi", "phi3", "olmo", "olmo2", "olmo3", "smollm3", "granite", "cohere2", "gpt_oss", "opt", "gpt2"),
}
REFUSED = {
    *("lfm2_moe", "qwen3_next", "qwen3_5", "falcon_h1", "mamba", "mamba2", "jamba", "rwkv", "recurrent_gemma"),
    *("bloom", "falcon", "bert", "t5gemma", "bart", "llama4"),
} & set(KINDS)


def _default(kind: str) -> Any:
    """The configuration that an architecture has by itself; None where it has none."""
    try:
        return AutoConfig.for_model(kind)
    except Exception:  # one that is made of others, which it must be given
        return None


def _refusal(config: Any, kind: str) -> str:
    """Why an architecture is refused; empty if it is not."""
    try:
        check.configured(config, kind)
    except UserError as error:
        return error.message
    return ""


def _worst(config: Any, tokenizer: Any) -> float:
    """Largest difference of a sampled token's log-probability from a plain pass with the library's own attention."""
    engine, reference = TransformersEngine(smallest(config), tokenizer), smallest(config)
    reference.set_attn_implementation("eager")
    draw = np.random.default_rng(3)
    trunk = draw.integers(8, 60, 20).tolist()
    prompts = [trunk[:n] + draw.integers(8, 60, 2).tolist() for n in (20, 20, 13)]
    worst = 0.0
    for prompt, group in zip(prompts, engine.sample(prompts, range(3), Sampling(2, 5)), strict=True):
        for completion in group:
            ids = torch.tensor(completion.ids)
            with torch.no_grad():
                logits = reference(input_ids=torch.tensor([[*prompt, *completion.ids]])).logits[0, len(prompt) - 1 : -1]
            plain = logits.float().log_softmax(-1).gather(1, ids[:, None])[:, 0]
            worst = max(worst, float((plain - torch.tensor(completion.logprobs)).abs().max()))
    return worst


@pytest.mark.parametrize("group", range(GROUPS))
def test_a_decoder_is_computed_as_it_is_by_itself_or_refused_by_name(group: int, tiny: Path) -> None:
    tokenizer, right, refused, wrong = load_tokenizer(str(tiny)), set(), set(), {}
    for kind in KINDS[group::GROUPS]:
        config = _default(kind)
        if config is None:
            continue
        if reason := _refusal(config, kind):
            assert type(config).__name__.removesuffix("Config") in reason
            refused.add(kind)
            continue
        right.add(kind)
        if (worst := _worst(config, tokenizer)) > 1e-3:
            wrong[kind] = worst
    assert not wrong
    mine = set(KINDS[group::GROUPS])
    assert mine & RIGHT <= right
    assert mine & REFUSED <= refused
