"""Rounds of the method on MELD in many variants, seeds and label budgets, several at a time on one GPU.

python benchmarks/rounds.py DO --place DIRECTORY --try 32/1,2,3/own,replay/1 104/1/own,replay/2 [--together 14]

DO is `run`, and `table` for the figures of what has been run. Each --try names label budget, seeds, variants and
rounds. Understanding alone, all unlabelled dialogues in every round. Choices are made on one half of 400 train
dialogues that nobody learns from, claims on the other and on dev.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from decisions import for_weighted_f1
from rounds_jobs import LARGEST, Case, Planner, answers_of, policies_of
from rounds_variants import VARIANTS, WORDINGS
from side_by_side import work
from subjects import SPACES
from trial import Trial, parser
from trial_table import table

from selfemo.data.records import Prediction
from selfemo.method.evaluation import scored

BUDGETS = (32, 104)


@dataclass(frozen=True)
class Asked:
    """What one ``--try`` asks for.

    Attributes:
        cases: Where.
        names: Variants.
        rounds: At most.
    """

    cases: tuple[Case, ...]
    names: tuple[str, ...]
    rounds: int

    @classmethod
    def of(cls, text: str) -> Asked:
        """Read ``BUDGET/SEEDS/VARIANTS[/ROUNDS[/WORDING]]``.

        Raises:
            ValueError: Says what is wrong.
        """
        budget, seeds, names, *more = text.split("/")
        rounds, wording = int(more[0]) if more else 3, int(more[1]) if len(more) > 1 else 0
        cases = tuple(Case(int(budget), int(seed), wording) for seed in seeds.split(","))
        if int(budget) not in BUDGETS or wording not in range(len(WORDINGS)):
            raise ValueError(f"budgets are {BUDGETS}, wordings 0 to {len(WORDINGS) - 1}")
        if unknown := [name for name in names.split(",") if name not in VARIANTS]:
            raise ValueError(f"no variant is called {unknown[0]!r}: {', '.join(VARIANTS)}")
        return cls(cases, tuple(names.split(",")), rounds)


def kept_answers(mine: Trial, policy: str) -> list[Prediction]:
    """What a policy's job kept, as records."""
    chances_NA = np.load(answers_of(mine, policy), allow_pickle=False) / LARGEST
    turns = [(d, t) for d in mine.scored for t, turn in enumerate(d.turns) if turn.gold]
    return [scored(d, t, SPACES[d.corpus], row_A) for (d, t), row_A in zip(turns, chances_NA, strict=True)]


def smaller(mine: Trial, pool: int | None) -> Trial:
    """With so many unlabelled dialogues, in a place of its own: policies that learnt from others are not its."""
    if pool is None:
        return mine
    return replace(mine, pool=mine.pool[:pool], place=mine.place.with_name(f"{mine.place.name}-of-{pool}"))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("do", choices=("run", "table"), metavar="DO")
    options.add_argument("--try", dest="asked", nargs="+", required=True, metavar="BUDGET/SEEDS/VARIANTS[/ROUNDS]")
    options.add_argument("--pool", type=int, help="only so many unlabelled dialogues")
    options.add_argument("--replies", type=int, default=0, help="prefixes that hindsight.py will look at")
    options.add_argument("--over", default="warm-up", help="the policy that a table's gains are over, such as own-1")
    options.add_argument("--for-f1", action="store_true", help="a table of answers chosen for the expected weighted F1")
    options.add_argument("--together", type=int, default=1, help="jobs at a time")
    options.add_argument("--seconds", type=float, default=float("inf"), help="after which what runs is stopped")
    given = options.parse_args()
    try:
        asked = [Asked.of(text) for text in given.asked]
    except ValueError as error:
        options.error(f"--try: {error}")
    trials = {case: case.trial(given) for case in dict.fromkeys(case for one in asked for case in one.cases)}
    trials = {case: smaller(mine, given.pool) for case, mine in trials.items()}
    if given.do == "table":
        return show(asked, trials, given.over, for_weighted_f1 if given.for_f1 else list)
    planner = Planner([(case, name, one.rounds) for one in asked for name in one.names for case in one.cases], trials)
    for case in asked[0].cases if given.replies else ():
        planner.replies(case, trials[case], given.replies)
    ended = work(planner.tidy(trials), given.together, given.seconds, given.place / "logs")
    (given.place / "ended.json").write_text(json.dumps(ended, indent=1))


def show(
    asked: Sequence[Asked],
    trials: Mapping[Case, Trial],
    over: str,
    decided: Callable[[Sequence[Prediction]], list[Prediction]] = list,
) -> None:
    """Tables of what is there, budget by budget and wording by wording; the last is of all dialogues together."""
    for budget, wording in dict.fromkeys((c.budget, c.wording) for c in trials):
        mine = {c.seed: t for c, t in trials.items() if (c.budget, c.wording) == (budget, wording)}
        policies = [
            policy
            for one in asked
            for name in one.names
            for policy in policies_of(name, one.rounds)
            if any((c.budget, c.wording) == (budget, wording) for c in one.cases)
        ]
        first, answers = next(iter(mine.values())), {}
        for policy in dict.fromkeys(policies):
            there = {s: t for s, t in mine.items() if answers_of(t, policy).is_file()}
            if there:
                answers[f"{policy} ({len(there)})"] = {s: decided(kept_answers(t, policy)) for s, t in there.items()}
        if not answers:
            print(f"{budget} labelled, wording {wording}: nothing was run")
            continue
        base = next((name for name in answers if name.startswith(f"{over} (")), next(iter(answers)))
        gains = {name: base for name in answers if name != base}
        title = f"{budget} labelled, wording {wording}, seeds {sorted(mine)}"
        table(title, answers, {**first.purposes, "in all": first.scored}, gains, first.config)


if __name__ == "__main__":
    main()
