"""Score and filter one million understanding predictions, in groups of 8 over 7 labels, and find the near-duplicates
among 50,000 turns, on one core.

python benchmarks/filter.py
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy is imported: one core is the claim

import platform
import statistics
import time

import numpy as np

from selfemo.data.labels import MELD
from selfemo.method.flywheel.duplicates import NearDuplicates
from selfemo.method.flywheel.reasons import Reason, reasons_of_groups
from selfemo.method.flywheel.texts import shingles

GROUPS, SIZE, M, REPEATS = 125_000, 8, 7, 5
TURNS, PART, THRESHOLD = 50_000, 1_500, 0.8


def data() -> np.ndarray:
    """Groups around a label each, some noisy, with second labels and unparseable predictions."""
    rng = np.random.default_rng(0)
    centre = rng.integers(0, M, (GROUPS, 1))
    stray = rng.random((GROUPS, SIZE)) < rng.random((GROUPS, 1))
    label = np.where(stray, rng.integers(0, M, (GROUPS, SIZE)), centre)
    second = np.where(rng.random((GROUPS, SIZE)) < 0.2, 1 << rng.integers(0, M, (GROUPS, SIZE)), 0)
    masks = (1 << label) | second
    masks[rng.random((GROUPS, SIZE)) < 0.02] = 0
    return masks.astype(np.uint16)


def naive(masks: np.ndarray) -> int:
    """The same reasons with Python sets, on a part of the data."""
    kept = 0
    for row in masks:
        sets = [{i for i in range(M) if m >> i & 1} for m in row.tolist()]
        share = [sum(i in s for s in sets) / SIZE for i in range(M)]
        target = {i for i in range(M) if share[i] >= 0.5} or {max(range(M), key=share.__getitem__)}
        agree, score = [], []
        for s in sets:
            rest = [(share[i] * SIZE - (i in s)) / (SIZE - 1) for i in range(M)]
            low = sum(min(i in s, rest[i]) for i in range(M))
            high = sum(max(i in s, rest[i]) for i in range(M))
            agree.append((low + 0.1) / (high + 0.1) if s else 0.0)
            score.append((len(s & target) + 0.1) / (len(s | target) + 0.1) if s else 0.0)
        if sum(agree) / SIZE >= 0.3 and max(score) - min(score) >= 1e-9:
            kept += sum(x >= 0.3 for x in score)
    return kept


def turns() -> list[str]:
    """Turns of 1 to 30 words, common ones as common as in speech; a fifth are copies, half of these changed."""
    rng = np.random.default_rng(0)
    made: list[str] = []
    for length in rng.geometric(0.1, TURNS).clip(1, 30):
        words = [f"w{n}" for n in rng.zipf(1.3, length) % 20_000]
        if made and rng.random() < 0.2:
            words = made[rng.integers(len(made))].split()
            if rng.random() < 0.5:
                words[rng.integers(len(words))] = "changed"
        made.append(" ".join(words))
    return made


def distinct(found: list[set[str]]) -> int:
    """How many are no near-duplicate of an earlier one that is none."""
    index, kept = NearDuplicates(THRESHOLD), 0
    for one in found:
        if not index.near(one):
            index.add(one)
            kept += 1
    return kept


def compared(found: list[set[str]]) -> int:
    """The same, each with each."""
    kept: list[set[str]] = []
    for one in found:
        if not any(len(one & other) >= THRESHOLD * len(one | other) for other in kept):
            kept.append(one)
    return len(kept)


def duplicates() -> None:
    """Time the index, and compare it with comparing each with each, on a part."""
    found = [shingles(text) for text in turns()]
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        kept = distinct(found)
        seconds.append(time.process_time() - start)
    print(f"{TURNS:,} turns, {kept:,} kept, in {statistics.median(seconds):.2f} s of CPU, median of {REPEATS}")
    assert compared(found[:PART]) == distinct(found[:PART]), "the two disagree"
    print(f"comparing each with each keeps the same of {PART:,}")


def main() -> None:
    masks = data()
    affinity = MELD.affinity({"anger~disgust": 0.5})
    for name, matrix in (("plain", None), ("with affinity", affinity)):
        seconds = []
        for _ in range(REPEATS):
            start = time.process_time()
            assessed = reasons_of_groups(masks, M, affinity=matrix)
            seconds.append(time.process_time() - start)
        print(f"{name}: {masks.size:,} predictions in {statistics.median(seconds):.2f} s of CPU, median of {REPEATS}")
    part = masks[:5000]
    start = time.process_time()
    by_hand = naive(part)
    slow = (time.process_time() - start) * len(masks) / len(part)
    start = time.process_time()
    plain = reasons_of_groups(part, M)
    assert by_hand == (plain.reasons == Reason.KEPT).sum(), "the two disagree"
    fast = (time.process_time() - start) * len(masks) / len(part)
    print(f"Python sets would take {slow:.1f} s: {slow / fast:.0f} times as long, same reasons on {len(part):,} groups")
    print(f"numpy {np.__version__}, {platform.machine()}, {platform.processor() or platform.system()}, one thread")
    print(
        "reasons:",
        {Reason(c).name.lower(): int(n) for c, n in zip(*np.unique(assessed.reasons, return_counts=True), strict=True)},
    )
    duplicates()


if __name__ == "__main__":
    main()
