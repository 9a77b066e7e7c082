"""Sampling and scoring: trees against transformers' own `generate` and forward passes, same model, same tokens.

python benchmarks/sampling.py [--model qwen3-0.6b --precision bfloat16] [--dialogues 3]
export SELFEMO_DATA to measure on MELD dev; else the dialogues are the sample corpus's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from harness import compare, machine, repeat
from subjects import bfloat16, dialogues, directory, model, parser, random_prompts, turn_prompts

from selfemo.method.prompts import Prompter
from selfemo.policy.engine import Sampling
from selfemo.policy.trees.attention import enable
from selfemo.policy.trees.packing import log_probs_of_packs
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.trees.tree import split
from selfemo.policy.weights import load_tokenizer

GROUP = 8


def trees(name: str, bf16: bool, prompts: list[list[int]], tokens: int, to_the_end: bool) -> Any:
    """All prompts at once."""
    engine = TransformersEngine(model(name, bf16), load_tokenizer(directory(name)))
    if to_the_end:
        engine.ends = np.array([-1])  # every completion is of full length, as the other variant's

    def once() -> float:
        groups = engine.sample(prompts, range(len(prompts)), Sampling(GROUP, tokens))
        return float(np.mean([len(c.ids) for g in groups for c in g]))

    return repeat(once)


def generate(name: str, bf16: bool, batches: list[list[list[int]]], tokens: int, to_the_end: bool) -> Any:
    """One `generate` for each batch of prompts of equal length."""
    plain = model(name, bf16)
    end = plain.generation_config.eos_token_id
    length = {"min_new_tokens": tokens} if to_the_end else {}

    @torch.no_grad()
    def once() -> float:
        lengths = []
        for batch in batches:
            ids = torch.tensor(batch, device=plain.device)
            out = plain.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                num_return_sequences=GROUP,
                max_new_tokens=tokens,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                pad_token_id=end,
                **length,
            )[:, ids.shape[1] :]
            ended = (out == end).int()
            lengths += torch.where(ended.any(1), ended.argmax(1) + 1, out.shape[1]).tolist()
        return float(np.mean(lengths))

    return repeat(once)


def rows_of(found: list[Any], name: str) -> tuple[list[list[int]], list[list[int]]]:
    """Each turn's prompt with its gold answer."""
    tokenizer = load_tokenizer(directory(name))
    answers = [list(Prompter(tokenizer).answer(u.gold or ("neutral",))) for d in found for u in d.turns]
    return turn_prompts(found, tokenizer), answers


def score_trees(name: str, bf16: bool, prompts: list[list[int]], answers: list[list[int]]) -> Any:
    """Log-probabilities of all answers, in packs of 2,048 tokens."""
    plain = model(name, bf16)
    enable(plain)

    @torch.no_grad()
    def once() -> list[float]:
        packs = split([p + a for p, a in zip(prompts, answers, strict=True)], 2048)
        return log_probs_of_packs(plain, prompts, answers, packs).logprobs.sum(1).tolist()

    return repeat(once)


def score_turns(name: str, bf16: bool, prompts: list[list[int]], answers: list[list[int]]) -> Any:
    """One forward pass a turn."""
    plain = model(name, bf16)

    @torch.no_grad()
    def once() -> list[float]:
        sums = []
        for prompt, answer in zip(prompts, answers, strict=True):
            ids = torch.tensor([prompt + answer], device=plain.device)
            logits = plain(ids, logits_to_keep=len(answer) + 1).logits[0, :-1].float()
            each = logits.log_softmax(-1)[range(len(answer)), answer]
            sums.append(float(each.sum()))
        return sums

    return repeat(once)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--scored", type=int, default=10, help="dialogues to score")
    options.add_argument("--only", choices=["prompts", "dialogues", "scoring"])
    given = options.parse_args()
    name, bf16, pairs, seed = given.model, bfloat16(given), given.pairs, given.seed
    kind = "bfloat16" if bf16 else "float32"
    directory(name)  # made once, not in both variants

    def wanted(part: str) -> bool:
        return given.only in (None, part)

    print(f"{name}, {kind}, seed {seed}; {machine()}")
    if wanted("prompts"):
        prompts = random_prompts(4, 300, seed)
        for tokens in (8, 32):
            title = f"4 separate prompts of 300 tokens, {GROUP} samples of {tokens} tokens"
            compare(
                title,
                (trees, name, bf16, prompts, tokens, True),
                (generate, name, bf16, [prompts], tokens, True),
                pairs,
                "completions",
                4 * GROUP,
            )
    if wanted("dialogues"):
        where, found = dialogues(given.dialogues, seed)
        prompts = turn_prompts(found, load_tokenizer(directory(name)))
        title = f"{len(prompts)} turns of {len(found)} dialogues of {where}, {GROUP} samples of up to 16 tokens each"
        ours, stock = compare(
            title,
            (trees, name, bf16, prompts, 16, False),
            (generate, name, bf16, [[p] for p in prompts], 16, False),
            pairs,
            "completions",
            len(prompts) * GROUP,
        )
        mean = [float(np.mean([m.result for m in variant])) for variant in (ours, stock)]
        print(
            f"mean length of a completion: ours {mean[0]:.1f} tokens, stock {mean[1]:.1f}; mean prompt "
            f"{np.mean([len(p) for p in prompts]):.0f}"
        )
    if wanted("scoring"):
        where, found = dialogues(given.scored, seed)
        prompts, answers = rows_of(found, name)
        title = f"log-probability of the gold answer for {len(prompts)} turns of {len(found)} dialogues of {where}"
        ours, stock = compare(
            title,
            (score_trees, name, bf16, prompts, answers),
            (score_turns, name, bf16, prompts, answers),
            pairs,
            "turns",
            len(prompts),
        )
        worst = np.abs(np.array(ours[-1].result) - np.array(stock[-1].result)).max()
        print(f"largest difference of an answer's log-probability: {worst:.1e}")


if __name__ == "__main__":
    main()
