"""Does the result hang on how the two questions are worded? The variants of a small study, in three wordings.

python benchmarks/wordings.py --place DIRECTORY [--wordings 0 1 2]

For each wording everything is done anew, from the warm-up on: the warm-up alone, the labelled dialogues again without
any reward, self-training on one's own labels, and the method (understanding alone, no responder's voice), one round
each.
"""

from __future__ import annotations

from dataclasses import replace

from demo_gate import NOTHING_EARNED
from trial import Trial, parser, variant, with_settings

from selfemo.method.prompts import Prompter

WORDINGS = (
    (Prompter.READ, Prompter.REPLY),
    (
        "What is {speaker} feeling in the line above?",
        "How does {speaker} feel when answering, and what does {speaker} say?",
    ),
    (
        "Name the emotion or emotions behind what {speaker} said last.",
        "Write the next line of {speaker}, after naming the emotions behind it.",
    ),
)
"""Of understanding and expression; the first is the product's."""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--wordings", type=int, nargs="+", default=[0, 1, 2], choices=range(len(WORDINGS)))
    given = options.parse_args()
    whole = Trial.meld(given)
    for number in given.wordings:
        Prompter.READ, Prompter.REPLY = WORDINGS[number]
        trial = replace(whole, place=whole.place / f"wording-{number}") if number else whole
        print(f"\n{Prompter.READ} / {Prompter.REPLY}", flush=True)
        warm = trial.warmed()
        answers = {"warm-up": trial.answers("warm-up", warm)}
        rows = trial.read("round-1", warm, trial.unlabelled(1, given.dialogues), trial.config)
        own = variant(given.seed, "self-training")
        alone = [r.model_copy(update={"posteriors": {"24": r.posteriors["24"]}}) for r in rows]
        for name, readings, config in (
            ("replay", rows, with_settings(trial.config, **NOTHING_EARNED)),
            ("self-training", alone, own),
            ("round-1", rows, trial.config),
        ):
            policy = trial.learnt(name, warm, trial.samples(readings, config), config)
            answers[name] = trial.answers(name, policy)
        trial.table(Prompter.READ, answers, {name: "warm-up" for name in answers if name != "warm-up"})


if __name__ == "__main__":
    main()
