"""More than one pass over what a round keeps, beside one: is more learnt from the same targets?

python benchmarks/passes.py --place DIRECTORY [--passes 1 2]

From the warm-up and the readings of the first round of `slow_teacher.py` (made if they are not there). Beside each
stands the same number of steps on the labelled dialogues alone, since a second pass replays these once more as well.
"""

from __future__ import annotations

from demo_gate import NOTHING_EARNED
from trial import Trial, parser, with_settings


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--passes", type=int, nargs="+", default=[1, 2])
    given = options.parse_args()
    trial = Trial.meld(given)
    warm = trial.warmed()
    answers = {"warm-up": trial.answers("warm-up", warm)}
    rows = trial.read("round-1", warm, trial.unlabelled(1, given.dialogues), trial.config)
    over = {}
    for passes in given.passes:
        config = with_settings(trial.config, grpo__epochs=passes)
        samples = trial.samples(rows, config)
        for name, used in (("replay", with_settings(config, **NOTHING_EARNED)), ("round-1", config)):
            kept = name if passes == 1 else f"{name}-{passes}-passes"
            answers[kept] = trial.answers(kept, trial.learnt(kept, warm, samples, used))
            over[kept] = "warm-up"
        trial.table("passes", answers, over)


if __name__ == "__main__":
    main()
