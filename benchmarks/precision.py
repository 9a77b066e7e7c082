"""bfloat16 against float32 on this machine: one product of matrices, one step of warm-up, one call of the sampler.

python benchmarks/precision.py [--dialogues 2] [--pairs 5]

What `policy.precision: auto` decides by (selfemo.policy.compute). A processor with more can be held back to AVX2, as
far as oneDNN and torch go: ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python benchmarks/precision.py
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from harness import machine
from subjects import dialogues, directory, parser, turn_prompts

from selfemo import hardware
from selfemo.config import load
from selfemo.data.corpora.table import shipped_spaces
from selfemo.method.prompts import Prompter
from selfemo.policy.engine import Sampling
from selfemo.policy.trees.attention import enable
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.weights import load_model, load_tokenizer
from selfemo.training.examples import collate, gold_examples, loss


def seconds(once: Callable[[], Any], times: int) -> float:
    """Median of some runs after one to warm up."""
    once()
    found = []
    for _ in range(times):
        started = time.perf_counter()
        once()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def main() -> None:
    given = parser(__doc__).parse_args()
    held_back = os.environ.get("ONEDNN_MAX_CPU_ISA")
    print(machine() + (f"; held back to {held_back}" if held_back else ""))
    print(f"auto takes {'bfloat16' if hardware.fast_bfloat16() else 'float32'}")
    base = directory(given.model)
    tokenizer = load_tokenizer(base)
    corpus, found = dialogues(given.dialogues, given.seed)
    examples = gold_examples(found, shipped_spaces(), Prompter(tokenizer), load(None), replies=4)
    prompts = turn_prompts(found, tokenizer)
    print(f"seed {given.seed}, {len(found)} dialogues of {corpus}, {len(prompts)} turns; medians of {given.pairs}\n")
    for bfloat16 in (False, True):
        dtype = torch.bfloat16 if bfloat16 else torch.float32
        left, right = torch.randn(2048, 576, dtype=dtype), torch.randn(576, 1536, dtype=dtype)
        product = seconds(partial(torch.matmul, left, right), given.pairs)
        model = load_model(base)
        enable(model)

        def step(model: Any = model, bfloat16: bool = bfloat16) -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                value = loss(model, collate(examples[:1]))
            value.backward()
            model.zero_grad()

        trained = seconds(step, given.pairs)
        engine = TransformersEngine(load_model(base, bf16=bfloat16), tokenizer)
        sampled = seconds(partial(engine.sample, prompts, range(len(prompts)), Sampling(8, 16)), given.pairs)
        rate = 2 * 2048 * 576 * 1536 / product / 1e9
        print(
            f"{'bfloat16' if bfloat16 else 'float32 '}  product {rate:6.0f} GFLOP/s   warm-up step {trained:7.2f} s   "
            f"sampling {len(prompts) / sampled:6.2f} turns/s",
            flush=True,
        )


if __name__ == "__main__":
    main()
