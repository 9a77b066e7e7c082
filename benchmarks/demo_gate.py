"""Is a round of the demo promoted, on how many seeds, and does it take more than its labelled dialogues once more?

python benchmarks/demo_gate.py --place DIRECTORY [--seeds 7 1 2 3 4 5] [--set warmup.epochs=1 ...]

For each seed the demo's warm-up and one round from it, understanding alone, through the demo's own guard and gate on
the held-out dialogues of the sample corpus: once as it is, and once with the labelled dialogues again in as many steps
and no reward for anything (`replay` of the study), which says what the round's own labels add.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from subjects import SPACES
from trial import Trial, with_settings

from selfemo import config as configuration
from selfemo import hardware
from selfemo.method import gate, guard

DEMO = Path("configs/demo.yaml")
NOTHING_EARNED = {
    "rewards__align": 0.0,
    "rewards__consistency": 0.0,
    "rewards__format": 0.0,
    "grpo__entropy": 0.0,
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--place", type=Path, required=True, help="directory of what is kept; one for each setting")
    options.add_argument("--seeds", type=int, nargs="+", default=[7, 1, 2, 3, 4, 5])
    options.add_argument("--without-replay", action="store_true", help="the round alone")
    options.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings other than the demo's")
    given = options.parse_args()
    print(f"{hardware.describe()}; sample corpus, {' '.join(given.set) or 'as the demo has it'}", flush=True)
    print("| seed | policy | accuracy | gain [95 %] | p | promoted |\n|---|---|---|---|---|---|")
    for seed in given.seeds:
        config = configuration.load(DEMO, [*given.set, f"seed={seed}"])
        trial = Trial.sample(given.place, config)
        warm = trial.warmed()
        before = trial.answers("warm-up", warm)
        print(
            f"| {seed} | warm-up | {np.mean([r.predicted[:1] == r.gold[:1] for r in before]):.3f} | | | |", flush=True
        )
        rows = trial.read("round-1", warm, trial.unlabelled(1, config.selfplay.corpus_dialogues), config)
        found = trial.filtered(rows, config)
        if alarm := guard.of_rollouts(found.metrics, config.guard):
            print(f"| {seed} | round-1 | stopped: {alarm} | | | False |", flush=True)
            continue
        replayed = [] if given.without_replay else [("replay", with_settings(config, **NOTHING_EARNED))]
        for name, used in (("round-1", config), *replayed):
            after = trial.answers(name, trial.learnt(name, warm, found.samples, used))
            decided = gate.check(before, after, SPACES, config)
            gained = decided.gains["sample"]
            right = np.mean([r.predicted[:1] == r.gold[:1] for r in after])
            gain = f"{gained.gain:+.3f} [{gained.low:+.3f}, {gained.high:+.3f}]"
            print(f"| {seed} | {name} | {right:.3f} | {gain} | {gained.p:.4f} | {decided.promoted} |", flush=True)


if __name__ == "__main__":
    main()
