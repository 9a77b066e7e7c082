"""SELF-GRPO steps on packed trees against stock trl.GRPOTrainer: same model, prompts, rewards and settings.

python benchmarks/training.py [--model qwen3-0.6b --precision bfloat16] [--only update|whole] [--on prompts|dialogues]

`update` is an optimizer step on given completions: reference and policy log-probabilities, loss, backward pass,
AdamW. `whole` samples too. export SELFEMO_DATA to measure on MELD dev; else on the sample corpus.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from harness import compare, machine
from subjects import bfloat16, dialogues, directory, model, parser, random_prompts, turn_prompts
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.models.utils import unwrap_model_for_generation

from selfemo.data.label_file import shipped_space
from selfemo.method.parsing import parse_understanding
from selfemo.method.prompts import Prompter
from selfemo.policy.engine import Sampling
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.weights import load_tokenizer
from selfemo.training.packed_grpo import PackedGrpoTrainer

MELD = shipped_space("meld")


GROUP = 8


class Turns(TrainerCallback):
    """An optimizer step is a turn of the benchmark."""

    def __init__(self, turn: Callable[[], None], done: Callable[[Any], None]) -> None:
        self.turn, self.done, self.trainer = turn, done, None

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.turn()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in logs:
            self.done((logs["loss"], logs["grad_norm"], logs["completions/mean_length"]))


def joy(completions: list[str], **_: Any) -> list[float]:
    """A reward of the project's own kind: does the answer name joy, and is it an answer?"""
    answers = [parse_understanding(text, MELD) for text in completions]
    return [("joy" in a.labels) + 0.1 * a.parsed + 0.001 * len(t) for a, t in zip(answers, completions, strict=True)]


def answer(tokenizer: Any, rng: np.random.Generator, tokens: int) -> list[int]:
    """A completion: random tokens, or, of no fixed length, one or two labels as a recogniser writes them."""
    if tokens:
        drawn: list[int] = rng.integers(100, 40_000, tokens).tolist()
        return drawn
    labels = rng.permutation(MELD.labels)[: 1 + (rng.random() < 0.3)]
    return list(Prompter(tokenizer).answer([str(label) for label in labels]))


def work(name: str, bf16: bool, prompts: list[list[int]], tokens: int, fixed: bool, packed: bool, steps: int) -> Any:
    """A trainer that takes a step a turn.

    Args:
        name: Of the model.
        bf16: Autocast.
        prompts: Of one step; every step takes them all.
        tokens: Of a completion; 0 is label sets, which are 16 at most.
        fixed: Completions are given, the same in both variants; else they are sampled.
        packed: Ours, else stock.
        steps: To make room for.
    """
    base: Any = PackedGrpoTrainer if packed else GRPOTrainer
    tokenizer = load_tokenizer(directory(name))

    class Trainer(base):
        def _tokenize_prompts(self, texts: list[str]) -> Any:
            return [prompts[int(t)] for t in texts], None, {}

        def _generate_single_turn(self, ids: Any, images: Any, fields: Any, count: int, *_: Any, **__: Any) -> Any:
            if fixed:
                rng = np.random.default_rng(self.state.global_step)
                return [answer(tokenizer, rng, tokens) for _ in ids], None
            if not packed:
                return super()._generate_single_turn(ids, images, fields, count)
            groups = ids[::count]
            with unwrap_model_for_generation(self.model_wrapped, self.accelerator) as plain:
                engine = TransformersEngine(plain, self.processing_class, autocast=bf16)
                sampled = engine.sample(groups, range(len(groups)), Sampling(count, tokens or 16))
            return [list(c.ids) for group in sampled for c in group], None

    rows = len(prompts) * GROUP
    settings = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        seed=0,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        max_steps=steps,
        num_generations=GROUP,
        max_completion_length=tokens or 16,
        beta=0.05,
        learning_rate=1e-6,
        loss_type="dapo",
        # Stock takes a group at a time, which is its lowest memory; ours cuts its rows into packs itself.
        per_device_train_batch_size=rows if packed else GROUP,
        gradient_accumulation_steps=1 if packed else len(prompts),
        shuffle_dataset=False,
        gradient_checkpointing=torch.cuda.is_available(),
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        dataloader_pin_memory=False,
    )
    extra = {"pack_tokens": 2048} if packed else {}

    def run(turn: Callable[[], None], done: Callable[[Any], None]) -> None:
        callback = Turns(turn, done)
        trainer = Trainer(
            model=model(name, False),
            reward_funcs=[joy],
            args=settings,
            processing_class=tokenizer,
            train_dataset=Dataset.from_dict({"prompt": [str(i) for i in range(len(prompts))]}),
            callbacks=[callback],
            **extra,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        raise SystemExit

    return run


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--only", choices=["update", "whole"])
    options.add_argument("--on", choices=["prompts", "dialogues"])
    options.add_argument("--prompts", type=int, default=2, help="how many separate prompts a step takes")
    options.set_defaults(dialogues=1)
    given = options.parse_args()
    name, bf16, pairs, seed = given.model, bfloat16(given), given.pairs, given.seed
    directory(name)
    print(f"{name}, {'bfloat16 autocast' if bf16 else 'float32'}, seed {seed}; {machine()}")
    separate = random_prompts(given.prompts, 300, seed)
    where, found = dialogues(given.dialogues, seed)
    turns = turn_prompts(found, load_tokenizer(directory(name)))
    subjects = {
        "prompts": (f"{given.prompts} separate prompts of 300 tokens, completions of 16", separate, 16),
        "dialogues": (
            f"all {len(turns)} turns of {len(found)} dialogue(s) of {where}, mean prompt "
            f"{np.mean([len(p) for p in turns]):.0f} tokens",
            turns,
            0,
        ),
    }
    for part, what in (("update", "update on given completions"), ("whole", "sample, reward and update")):
        for kind, (title, prompts, tokens) in subjects.items():
            if given.only in (None, part) and given.on in (None, kind):
                trees, other = (
                    (work, name, bf16, prompts, tokens, part == "update", packed, pairs + 2) for packed in (True, False)
                )
                named = f"{what}: groups of {GROUP} on {title}"
                ours, stock = compare(named, trees, other, pairs, "groups", len(prompts))
                report(ours, stock, part == "update")


def report(ours: list[Any], stock: list[Any], fixed: bool) -> None:
    """Whether both did the same."""
    lengths = [np.mean([m.result[2] for m in variant]) for variant in (ours, stock)]
    print(f"mean length of a completion: ours {lengths[0]:.1f} tokens, stock {lengths[1]:.1f}")
    if fixed:
        loss = max(abs(a.result[0] - b.result[0]) for a, b in zip(ours, stock, strict=True))
        norm = max(abs(a.result[1] - b.result[1]) / b.result[1] for a, b in zip(ours, stock, strict=True))
        print(f"largest difference over the steps: loss {loss:.1e}, gradient norm {norm:.1e} relative")


if __name__ == "__main__":
    main()
