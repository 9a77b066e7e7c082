"""A randomly initialised model of a base's architecture and a tiny width: what a dry run uses in its place.

Depth, attention (heads, shared keys and values, normalised queries), tied embeddings and the vocabulary stay, so what
goes wrong with the real model's shape, tokenizer or launch goes wrong here too, in minutes. Defined here.
"""

from __future__ import annotations

from pathlib import Path

from selfemo.errors import UserError
from selfemo.policy.weights import load_tokenizer

HEAD = 8
"""Width of an attention head."""


def shrink(base: str, out: Path, seed: int = 0) -> int:
    """Save such a model, with the base's tokenizer.

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
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = load_tokenizer(base)
    config = AutoConfig.from_pretrained(base, trust_remote_code=False)
    needed = ("hidden_size", "intermediate_size", "num_attention_heads")
    if missing := [name for name in needed if not hasattr(config, name)]:
        raise UserError(
            f"its configuration has no {missing[0]}", where=base, fix="a dry run knows Llama- and Qwen-like decoders"
        )
    config.hidden_size = HEAD * config.num_attention_heads
    config.intermediate_size = 2 * config.hidden_size
    if hasattr(config, "head_dim"):
        config.head_dim = HEAD
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return int(model.num_parameters())
