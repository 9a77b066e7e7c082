"""What sampling and an update cost as prompts and groups grow, for trees and without sharing.

python benchmarks/scaling.py [--model qwen3-0.6b --precision bfloat16]

Four separate prompts, completions of 16 random tokens: the tokens computed, the seconds to sample, and the seconds
of a forward and backward pass. "unshared" is what a stack computes that runs each sample with its own prompt.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from harness import machine
from subjects import bfloat16, directory, model, parser, random_prompts

from selfemo.policy.engine import Sampling
from selfemo.policy.trees.packing import log_probs
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.trees.tree import grow, split
from selfemo.policy.weights import load_tokenizer

PROMPTS, TOKENS = 4, 16


def seconds(once: Callable[[], None], repeats: int) -> float:
    """Median of some runs after one to warm up."""
    took = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        once()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        took.append(time.perf_counter() - start)
    return statistics.median(took[1:])


def main() -> None:
    given = parser(__doc__).parse_args()
    policy = model(given.model, bfloat16(given))
    engine = TransformersEngine(policy, load_tokenizer(directory(given.model)))
    engine.ends = np.array([-1])
    kind = "bfloat16" if bfloat16(given) else "float32"
    print(f"{given.model}, {kind}, seed {given.seed}, medians of {given.pairs}; {machine()}\n")
    print("| prompt tokens | group | tokens, trees | tokens, unshared | sampling s | forward and backward s |")
    print("|---|---|---|---|---|---|")
    for length, group in ((100, 8), (200, 8), (400, 8), (800, 8), (300, 4), (300, 8), (300, 16), (300, 32)):
        prompts = random_prompts(PROMPTS, length, given.seed)
        rng = np.random.default_rng(given.seed)
        rows = [p for p in prompts for _ in range(group)]
        answers = rng.integers(100, 40_000, (len(rows), TOKENS)).tolist()
        whole = [p + a for p, a in zip(rows, answers, strict=True)]

        def sample(prompts: list[list[int]] = prompts, group: int = group) -> None:
            engine.sample(prompts, range(len(prompts)), Sampling(group, TOKENS))

        def update(
            rows: list[list[int]] = rows, answers: list[list[int]] = answers, whole: list[list[int]] = whole
        ) -> None:
            policy.zero_grad()
            for pack in split(whole, 2048):
                log_probs(policy, [rows[i] for i in pack], [answers[i] for i in pack]).logprobs.mean().backward()

        took = [seconds(work, given.pairs) for work in (sample, update)]
        print(
            f"| {length} | {group} | {len(grow(whole).ids):,} | {sum(map(len, whole)):,} | "
            f"{took[0]:.2f} | {took[1]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
