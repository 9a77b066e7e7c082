"""From a directory of weights and a configuration to an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selfemo.config import Config
from selfemo.policy.engine import Engine
from selfemo.policy.weights import load_model, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_engine(directory: str, config: Config) -> tuple[Engine, PreTrainedTokenizerBase]:
    """The configured engine with these weights, and their tokenizer."""
    tokenizer = load_tokenizer(directory)
    if config.policy.engine == "vllm":
        from selfemo.policy.vllm_engine import start

        return start(directory, tokenizer, config.policy), tokenizer
    import torch

    from selfemo.policy.trees.sampler import TransformersEngine

    model = load_model(directory, bf16=config.policy.bf16)
    if torch.cuda.is_available():
        model.to("cuda")
    return TransformersEngine(model, tokenizer), tokenizer
