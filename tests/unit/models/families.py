"""Tiny configurations of the families that users have, each with what it does otherwise than Llama."""

from __future__ import annotations

from typing import Any

SHAPE: dict[str, Any] = {
    "vocab_size": 600,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SLIDING = ["sliding_attention"] * 3 + ["full_attention"]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 0.75,
    "short_factor": [1.0, 1.1, 1.3],
    "long_factor": [1.0, 4.0, 9.0],
    "original_max_position_embeddings": 256,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}
BY_KIND = {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}, "full_attention": YARN}
GRANITE = {"attention_multiplier": 0.3, "embedding_multiplier": 3.0, "residual_multiplier": 0.4, "logits_scaling": 2.5}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama 3": ("llama", {"rope_parameters": LLAMA3}),
    "Qwen2": ("qwen2", {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 2}),
    "Qwen2.5": ("qwen2", {"tie_word_embeddings": True}),
    "Qwen3": ("qwen3", {"head_dim": 16}),
    "Gemma 3": (
        "gemma3_text",
        {"head_dim": 16, "sliding_window": 7, "query_pre_attn_scalar": 9, "layer_types": SLIDING},
    ),
    "Gemma 4": (
        "gemma4_text",
        {
            **{"head_dim": 8, "global_head_dim": 16, "sliding_window": 7, "layer_types": SLIDING},
            **{"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 600},
        },
    ),
    "Mistral": ("mistral", {"head_dim": 8, "sliding_window": 7}),
    "Phi-3": ("phi3", {"sliding_window": 7}),
    "Phi-4-mini": (
        "phi3",
        {"rope_parameters": LONG, "original_max_position_embeddings": 256, "tie_word_embeddings": True},
    ),
    "OLMo 2": ("olmo2", {}),
    "OLMo 3": ("olmo3", {"sliding_window": 7, "layer_types": SLIDING, "rope_parameters": BY_KIND}),
    "SmolLM3": ("smollm3", {"no_rope_layers": [1, 1, 0, 1]}),
    "Granite": ("granite", GRANITE),
    "Gemma 2": (
        "gemma2",
        {"head_dim": 16, "sliding_window": 7, "attn_logit_softcapping": 0.5, "final_logit_softcapping": 2.0},
    ),
    "gpt-oss": ("gpt_oss", {"head_dim": 8, "sliding_window": 7, "num_local_experts": 4, "num_experts_per_tok": 2}),
}


def config(family: str) -> Any:
    """The configuration of a family."""
    from transformers import AutoConfig

    kind, own = FAMILIES[family]
    return AutoConfig.for_model(kind, **(SHAPE | own))


def model(made: Any, attention: str = "eager", deviation: float = 0.2) -> Any:
    """A model with weights as large as make differences show, the same for the same configuration."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    found = AutoModelForCausalLM.from_config(made, dtype=torch.float32, attn_implementation=attention)
    with torch.no_grad():
        for weight in found.parameters():
            noise = torch.randn_like(weight) * deviation
            weight.copy_(noise if weight.dim() > 1 else weight + noise)
    return found.eval()
