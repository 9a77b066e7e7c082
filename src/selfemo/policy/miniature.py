"""Randomly initialised models of a base's architecture and a tiny width.

One that a dry run uses in the base's place: depth, attention (heads, shared keys and values, normalised queries), tied
embeddings and the vocabulary stay, so what goes wrong with the real model's shape, tokenizer or launch goes wrong here
too, in minutes. And one that is as small as an architecture gets, with a window of a few tokens, to try the
architecture on (:mod:`selfemo.policy.trees.check`). Defined here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfemo.errors import UserError
from selfemo.policy.weights import load_tokenizer, read_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HEAD = 8
"""Width of an attention head."""
WINDOW = 6
"""Of the smallest model: a prompt of some ten tokens passes it."""
VOCABULARY = 64
"""Of the smallest model; its tokens 0 to 2 stand for whatever the architecture calls special."""

_SMALL = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "word_embed_proj_dim", "dim", "hidden_dim"), 4 * HEAD),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "d_ff"), 48),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "attention_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    "num_key_value_heads": 2,
    **dict.fromkeys(("num_experts_per_tok", "moe_k"), 2),
    **dict.fromkeys(("head_dim", "v_head_dim", "qk_rope_head_dim", "qk_nope_head_dim"), HEAD),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 2 * HEAD),
    "qk_head_dim": 2 * HEAD,
    "rotary_dim": HEAD // 2,
    **dict.fromkeys(("n_group", "topk_group"), 1),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY),
    **dict.fromkeys(("hidden_size_per_layer_input", "laurel_rank"), HEAD),
    **dict.fromkeys(("sliding_window", "attention_chunk_size"), WINDOW),
    **dict.fromkeys(("attn_logit_softcapping", "final_logit_softcapping"), 1.0),  # so that it caps
    "query_pre_attn_scalar": HEAD,
}
"""Numbers of a configuration, and the most that the smallest model has of them."""
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_LEAST_LAYERS = 4
_MOST_PARAMETERS = 30_000_000


def shrink(base: str, out: Path, seed: int = 0) -> int:
    """Save what a dry run uses, with the base's tokenizer.

    Args:
        base: Directory or hub id; its configuration and tokenizer are read, its weights are not.
        out: Directory to write.
        seed: Of the weights.

    Returns:
        Number of its parameters.

    Raises:
        UserError: If the base cannot be read, or is of an architecture whose width has other names.
    """
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(base)
    config = read_config(base)
    needed = ("hidden_size", "intermediate_size", "num_attention_heads")
    if missing := [name for name in needed if not hasattr(config, name)]:
        raise UserError(
            f"its configuration has no {missing[0]}", where=base, fix="a dry run knows Llama- and Qwen-like decoders"
        )
    config.hidden_size = HEAD * config.num_attention_heads
    config.intermediate_size = 2 * config.hidden_size
    if config.is_heterogeneous:  # layers that differ (Gemma 4) are alike here
        config.per_layer_config, config.global_head_dim = None, HEAD
    if hasattr(config, "head_dim"):
        config.head_dim = HEAD
    if rope := getattr(config, "rope_parameters", None):
        _fit_factors(rope, HEAD)
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return int(model.num_parameters())


def smallest(config: Any) -> PreTrainedModel:
    """A model of a configuration's architecture with large random weights: what it does wrongly shows in its logits.

    All that is no size stays as it is, layers of each kind included.

    Args:
        config: Of any decoder.

    Raises:
        Exception: Of any kind, where the architecture's sizes hang together in ways that are not known here.
    """
    import torch
    from transformers import AutoModelForCausalLM

    made = type(config).from_dict(_reduced(config.to_dict()))
    with torch.device("meta"):
        count = sum(p.numel() for p in AutoModelForCausalLM.from_config(made).parameters())
    if count > _MOST_PARAMETERS:
        raise ValueError(f"it has {count:,} parameters at the least")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(made, dtype=torch.float32).eval()
        with torch.no_grad():
            for weight in model.parameters():
                noise = torch.randn_like(weight) * 0.3
                weight.copy_(noise if weight.dim() > 1 else weight.nan_to_num() + noise)  # norms stay about one
    return model  # type: ignore[no-any-return]  # the library has no types


def _reduced(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration, or a part of it, with the least numbers."""
    depth = next((values[name] for name in _LAYERS if isinstance(values.get(name), int)), 0)
    by_layer = [v for k, v in values.items() if isinstance(v, list) and len(v) == depth > 0]
    kinds = [tuple(map(str, kind)) for kind in zip(*by_layer, strict=True)]
    layers = max(_LEAST_LAYERS, *(kinds.index(kind) + 1 for kind in set(kinds)), 0)
    shared = layers if values.get("num_kv_shared_layers") else 0  # after as many that have keys of their own
    found = {name: _reduced_value(name, value, depth, layers + shared) for name, value in values.items()}
    if shared:
        found["num_kv_shared_layers"] = shared
    if values.get("num_key_value_heads") == values.get("num_attention_heads") is not None:
        found["num_key_value_heads"] = found["num_attention_heads"]
    return found


def _reduced_value(name: str, value: Any, depth: int, layers: int) -> Any:
    if name in ("id2label", "label2id", "architectures"):
        return None
    if name == "head_dim" and value is None:
        return HEAD
    if isinstance(value, dict):
        if value and all(str(key).isdecimal() for key in value):
            return {key: _reduced(one) for key, one in value.items() if int(key) < layers}
        found = _reduced(value)
        _fit_factors(found, HEAD)
        return found
    if isinstance(value, list):
        return (
            [min(v, 2) for v in value]
            if name.endswith("token_id")
            else value[:layers]
            if len(value) == depth
            else value
        )
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    if "drop" in name:
        return 0.0 if isinstance(value, float) else 0
    if name.endswith("token_id"):
        return min(value, 2)
    return min(value, layers if name in _LAYERS else _SMALL.get(name, value))


def _fit_factors(rope: dict[str, Any], head: int) -> None:
    """Cut LongRoPE's factors, one for each pair of a head's dimensions, to a narrower head."""
    for name in ("short_factor", "long_factor"):
        if isinstance(rope.get(name), list):
            turned = int(head * rope.get("partial_rotary_factor", 1.0))
            rope[name] = rope[name][: turned // 2]
