"""From a directory of weights and a configuration to an engine."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from selfemo.config import Config
from selfemo.config.engines import ENGINES
from selfemo.policy.engine import Engine
from selfemo.policy.weights import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_engine(directory: str, config: Config) -> tuple[Engine, PreTrainedTokenizerBase]:
    """The configured engine with these weights, and their tokenizer."""
    tokenizer = load_tokenizer(directory)
    module, _, start = ENGINES[config.policy.engine].partition(":")
    return getattr(import_module(module), start)(directory, tokenizer, config.policy), tokenizer
