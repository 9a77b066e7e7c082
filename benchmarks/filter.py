"""Score and filter one million corpus turns over 7 labels, and find near-duplicates among 50,000 turns, on one core.

python benchmarks/filter.py
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy is imported: one core is the claim

import statistics
import time

import numpy as np

from selfemo import hardware
from selfemo.data.label_file import shipped_space
from selfemo.method.flywheel.duplicates import NearDuplicates
from selfemo.method.flywheel.reasons import Reason, reasons_of_turns
from selfemo.method.flywheel.texts import shingles
from selfemo.method.rewards import Floats

MELD = shipped_space("meld")


COUNT, M, REPEATS = 1_000_000, 7, 5
TURNS, PART, THRESHOLD = 50_000, 1_500, 0.8


def data() -> Floats:
    """What a policy reads in turns, from all but sure to quite undecided."""
    rng = np.random.default_rng(0)
    weights = rng.standard_gamma(0.2 + 0.8 * rng.random((COUNT, 1)), (COUNT, M)) + 1e-9
    shares: Floats = weights / weights.sum(axis=1, keepdims=True)
    return shares


def naive(read: Floats) -> int:
    """How many are kept, with Python sets, on a part of the data."""
    kept = 0
    for row in read.tolist():
        target = {i for i in range(M) if row[i] >= 0.5} or {max(range(M), key=row.__getitem__)}
        sets = [{i} for i in range(M)]
        sure = sum(p * q * _iou(a, b) for p, a in zip(row, sets, strict=True) for q, b in zip(row, sets, strict=True))
        score = sum(p * _iou(a, target) for p, a in zip(row, sets, strict=True))
        kept += sure >= 0.3 and score >= 0.3
    return kept


def _iou(a: set[int], b: set[int]) -> float:
    return (len(a & b) + 0.1) / (len(a | b) + 0.1)


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
    read, answers = data(), MELD.answer_masks
    affinity = MELD.affinity_matrix({"anger~disgust": 0.5})
    for name, matrix in (("plain", None), ("with affinity", affinity)):
        seconds = []
        for _ in range(REPEATS):
            start = time.process_time()
            assessed = reasons_of_turns(read, answers, M, affinity=matrix)
            seconds.append(time.process_time() - start)
        print(f"{name}: {COUNT:,} turns in {statistics.median(seconds):.2f} s of CPU, median of {REPEATS}")
    part = read[:5000]
    start = time.process_time()
    by_hand = naive(part)
    slow = (time.process_time() - start) * len(read) / len(part)
    start = time.process_time()
    plain = reasons_of_turns(part, answers, M)
    assert by_hand == (plain.reasons == Reason.KEPT).sum(), "the two disagree"
    fast = (time.process_time() - start) * len(read) / len(part)
    print(f"Python sets would take {slow:.1f} s: {slow / fast:.0f} times as long, as many kept of {len(part):,}")
    print(f"numpy {np.__version__}, {hardware.describe()}, one thread")
    print(
        "reasons:",
        {Reason(c).name.lower(): int(n) for c, n in zip(*np.unique(assessed.reasons, return_counts=True), strict=True)},
    )
    duplicates()


if __name__ == "__main__":
    main()
