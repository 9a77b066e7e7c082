"""A tree's attention in pieces, and whole trees at a time: reading, hearing, and learning the turns of some dialogues.

python benchmarks/pieces.py [--dialogues 8] [--pairs 3] [--sizes 32 64 128] [--precision float32]

Whole trees are pieces of more rows than any tree has. Each is timed once to warm up, then they take turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from harness import machine
from subjects import SPACES, bfloat16, dialogues, directory, model, parser

from selfemo.method.player import Player
from selfemo.method.prompts import Prompter
from selfemo.policy.trees import pieces
from selfemo.policy.trees.packing import log_probs_of_packs
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.trees.tree import split
from selfemo.policy.weights import load_tokenizer

WHOLE, PACK = 1 << 30, 2_048


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sizes", type=int, nargs="+", default=[64], help="rows of a piece")
    given = options.parse_args()
    half, tokenizer = bfloat16(given), load_tokenizer(directory(given.model))
    where, found = dialogues(given.dialogues, given.seed)
    weights, learner = model(given.model, half), model(given.model, False)
    player = Player(TransformersEngine(weights, tokenizer), Prompter(tokenizer), given.model)
    TransformersEngine(learner, tokenizer)  # it is called on trees from now on
    histories = [player.prompter.past(d.turns, t + 1) for d in found for t in range(len(d.turns))]
    spaces = [SPACES[d.corpus] for d in found for _ in d.turns]
    prompts, answers = player.questions(histories, spaces)
    rows = [(p, a) for p, some in zip(prompts, answers, strict=True) for a in some]
    packs = split([[*p, *a] for p, a in rows], PACK)

    def learn() -> None:
        with torch.autocast(learner.device.type, torch.bfloat16, enabled=half):
            scores = log_probs_of_packs(learner, [p for p, _ in rows], [a for _, a in rows], packs)
        (-scores.logprobs.mean()).backward()
        learner.zero_grad()

    parts: dict[str, Callable[[], object]] = {
        "read": lambda: player.read(histories, spaces),
        "hear": lambda: player.hear(histories, spaces),
        "learn": learn,
    }
    print(f"{machine()}\n{where}: {len(found)} dialogues, {len(histories)} turns; medians of {given.pairs}, seconds\n")
    print(f"| | whole trees | {' | '.join(f'{size} rows: seconds, times faster' for size in given.sizes)} |")
    print("|---" * (2 + len(given.sizes)) + "|")
    for name, part in parts.items():
        took: dict[int, list[float]] = {size: [] for size in (WHOLE, *given.sizes)}
        for turn in range(given.pairs + 1):
            for size, seconds in took.items():
                pieces.ROWS = size
                started = time.perf_counter()
                part()
                if turn:
                    seconds.append(time.perf_counter() - started)
        cells = [f"{statistics.median(took[WHOLE]):.2f}"]
        for size in given.sizes:
            ratios = sorted(w / s for w, s in zip(took[WHOLE], took[size], strict=True))
            middle = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            cells.append(f"{statistics.median(took[size]):.2f}, {middle}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
