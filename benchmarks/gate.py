"""How often the gate promotes by chance, and what it finds, by number of dialogues: the old rule against the test.

python benchmarks/gate.py [--trials 2000] [--seed 7]

Simulated, so that the truth is known: MELD's labels in the shares of its dev split, TURNS turns a dialogue. In SAME of
the turns champion and challenger give one answer, right with probability RIGHT but for a dialogue's own difficulty;
elsewhere each answers for itself, its logit moved by an effect of its own on the dialogue, so that turns of a dialogue
are correlated. A better challenger has a share of its wrong answers put right; a worse one has right ones put wrong.

Old rule: the lower 95 % bound of a paired bootstrap over dialogues is above 0. The test: a paired permutation test
over dialogues, p at most 2.5 %. Both draw 999 times, to be done in minutes.

Falls, which keep the champion: the old rule took any fall of the figure by more than DROP on any corpus; now it also
has to be beyond chance, by the same test the other way round at 10 %. Shown are both for one corpus, and for two of a
run together.
"""

from __future__ import annotations

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy is imported: matrices this small gain nothing from threads

import time

import numpy as np

from selfemo import hardware
from selfemo.config.sections import Gate
from selfemo.data.divide import LEAST_DIALOGUES
from selfemo.method.gate import ALPHA, DROP_ALPHA, p_value
from selfemo.method.tallies import interval, resample, scores_of, tallies

DIALOGUES = (2, 4, 6, 8, 16, 32, 64, 114)
"""The last is MELD's dev split."""
TURNS, SAME, RIGHT = 10, 0.7, 0.55
DIFFICULTY, OWN = 0.5, 0.5
"""Deviations of logits by dialogue: of both policies together, and of each for itself."""
SHARES = np.array([470, 163, 150, 153, 111, 22, 40]) / 1109
MENDED = (0.0, 0.1, 0.2)
"""Share of a better challenger's wrong answers that are right: none is no difference."""
BROKEN = (0.0, 0.1, 0.2, 0.3)
"""Share of a worse challenger's right answers that are wrong."""
DROP = Gate().max_drop
DRAWS = 999


def pairs(
    rng: np.random.Generator, trials: int, dialogues: int, mended: float = 0.0, broken: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Confusion matrices ``(trials, D, m, m + 1)`` of champion and challenger."""
    m, shape = len(SHARES), (trials, dialogues, TURNS)
    gold = rng.choice(m, shape, p=SHARES)
    logit = np.log(RIGHT / (1 - RIGHT)) + rng.normal(0, DIFFICULTY, (trials, dialogues, 1))

    def answers(logits: np.ndarray) -> np.ndarray:
        right = rng.random(shape) < 1 / (1 + np.exp(-logits))
        wrong = rng.choice(m, shape, p=SHARES)
        wrong = np.where(wrong == gold, (gold + rng.integers(1, m, shape)) % m, wrong)
        return np.where(right, gold, wrong)

    common, same = answers(logit), rng.random(shape) < SAME
    said = [np.where(same, common, answers(logit + rng.normal(0, OWN, (trials, dialogues, 1)))) for _ in range(2)]
    said[1] = np.where(rng.random(shape) < mended, gold, said[1])
    said[1] = np.where(
        (said[1] == gold) & (rng.random(shape) < broken), (gold + rng.integers(1, m, shape)) % m, said[1]
    )
    counts = np.zeros((2, trials, dialogues, m, m + 1), dtype=np.int64)
    at = np.ogrid[:trials, :dialogues, :TURNS]
    for matrix, predicted in zip(counts, said, strict=True):
        np.add.at(matrix, (at[0], at[1], gold, predicted), 1)
    return counts[0], counts[1]


def bound(old: np.ndarray, new: np.ndarray, drawn: np.ndarray) -> float:
    """Lower bound of the old rule."""
    flat = [(drawn @ c.reshape(len(c), -1)).reshape(-1, *c.shape[1:]) for c in (old, new)]
    return interval(scores_of(flat[1]).weighted_f1 - scores_of(flat[0]).weighted_f1)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    start = time.monotonic()
    print(f"{given.trials} simulated comparisons a figure, seed {given.seed}; promoted, in per cent of them")
    for mended in MENDED:
        print(f"\n{'dialogues':>9} {'mean gain':>9} {'bootstrap bound':>15} {'permutation test':>16}")
        for dialogues in DIALOGUES:
            rng = np.random.default_rng([given.seed, dialogues, int(100 * mended)])
            old, new = pairs(rng, given.trials, dialogues, mended)
            gain = scores_of(new.sum(1)).weighted_f1 - scores_of(old.sum(1)).weighted_f1
            drawn = resample(dialogues, DRAWS, given.seed).astype(np.float64)
            bounds = np.array([bound(a, b, drawn) for a, b in zip(old, new, strict=True)])
            ps = np.array([p_value(tallies(a), tallies(b), given.seed, DRAWS) for a, b in zip(old, new, strict=True)])
            shares = 100 * np.mean(bounds > 0), 100 * np.mean(ps <= ALPHA)
            note = "" if dialogues >= LEAST_DIALOGUES else "  (refused)"
            print(f"{dialogues:>9} {gain.mean():>+9.3f} {shares[0]:>15.1f} {shares[1]:>16.1f}{note}", flush=True)
    print(f"\nkept from promotion for a fall by more than {DROP:g}, in per cent")
    for broken in BROKEN:
        print(f"\n{'dialogues':>9} {'mean gain':>9} {'estimate':>9} {'and test':>9} {'of two':>9} {'and test':>9}")
        for dialogues in DIALOGUES[DIALOGUES.index(LEAST_DIALOGUES) :]:
            rng = np.random.default_rng([given.seed, dialogues, int(100 * broken), 1])
            old, new = pairs(rng, given.trials, dialogues, broken=broken)
            gain = scores_of(new.sum(1)).weighted_f1 - scores_of(old.sum(1)).weighted_f1
            fell = gain < -DROP
            tested = np.zeros_like(fell)
            for i in np.flatnonzero(fell):
                tested[i] = p_value(tallies(new[i]), tallies(old[i]), given.seed, DRAWS) <= DROP_ALPHA
            one = [100 * np.mean(rule) for rule in (fell, tested)]
            two = [100 - (100 - share) ** 2 / 100 for share in one]
            figures = " ".join(f"{share:>9.1f}" for share in (*one, *two))
            print(f"{dialogues:>9} {gain.mean():>+9.3f} {figures}", flush=True)
    print(f"\n{time.monotonic() - start:.0f} s; numpy {np.__version__}, {hardware.describe()}, one thread")


if __name__ == "__main__":
    main()
