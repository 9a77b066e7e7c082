"""Is a mean of the rounds' policies a better teacher, or a better policy, than the last one?

python benchmarks/slow_teacher.py --place DIRECTORY [--rounds 3]

Rounds of the study's method (understanding alone, no responder's voice), each from the policy of the one before. Then,
without further training: the mean of their weights, beside the mean of what each of them reads, as a policy and, pooled
with the bag of words, as a teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from subjects import SPACES
from trial import Trial, parser

from selfemo.data.records import Posterior, Scored
from selfemo.method.player import likeliest
from selfemo.method.voices import BELIEFS, RECOGNISER, WORDS, pool
from selfemo.method.words import words_of


def mean_weights(policies: Sequence[Path], out: Path) -> None:
    """A policy whose weights are the mean of others', with the tokenizer of the last."""
    from selfemo.policy.weights import load_model, load_tokenizer

    found = load_model(str(policies[-1]))
    every = [dict(load_model(str(p)).named_parameters()) for p in policies]
    for name, value in found.named_parameters():
        value.data = sum(weights[name].data for weights in every) / len(every)
    found.save_pretrained(out)
    load_tokenizer(str(policies[-1])).save_pretrained(out)


def mean_readings(answers: Sequence[Sequence[Scored]]) -> list[Scored]:
    """What several policies come to if the mean of their posteriors is taken."""
    return [_reading(rows[0], np.mean([r.posterior for r in rows], axis=0)) for rows in zip(*answers, strict=True)]


def with_words(trial: Trial, rows: Sequence[Scored]) -> list[Scored]:
    """A teacher: what a policy reads, pooled with a bag of words as the voices of a round are, unfitted."""
    turns = {(d.id, t): turn.text for d in trial.scored for t, turn in enumerate(d.turns)}
    space, words = SPACES["meld"], words_of(trial.labelled, trial.config.seed)["meld"]
    voices = {
        RECOGNISER: np.array([r.posterior for r in rows]),
        WORDS: np.array([words.read(turns[r.dialogue, r.turn], space) for r in rows]),
    }
    return [_reading(r, p) for r, p in zip(rows, pool(voices, BELIEFS), strict=True)]


def _reading(row: Scored, chances: np.ndarray) -> Scored:
    posterior: Posterior = tuple(float(p) for p in chances)
    return row.model_copy(update={"posterior": posterior, "predicted": likeliest(chances, SPACES[row.corpus])})


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    trial = Trial.meld(given)
    policies = [trial.warmed()]
    answers = {"warm-up": trial.answers("warm-up", policies[0])}
    for round in range(1, given.rounds + 1):
        rows = trial.read(f"round-{round}", policies[-1], trial.unlabelled(round, given.dialogues), trial.config)
        samples = trial.samples(rows, trial.config)
        policies.append(trial.learnt(f"round-{round}", policies[-1], samples, trial.config))
        last = answers[f"round {round}"] = trial.answers(f"round-{round}", policies[-1])
        mean = trial.made(f"mean-{round}", lambda _, out: mean_weights(policies, out))
        slow = answers[f"mean of weights to round {round}"] = trial.answers(f"mean-{round}", mean)
        both = mean_readings([answers["warm-up"], *(answers[f"round {r}"] for r in range(1, round + 1))])
        answers[f"mean of readings to round {round}"] = both
        over = {"round": "warm-up", "mean": f"round {round}"}
        trial.table("policies", answers, {n: over[n.split()[0]] for n in answers if n.endswith(f"round {round}")})
        teachers = {"last round": last, "mean of weights": slow, "mean of readings": both}
        taught = {name: with_words(trial, mine) for name, mine in teachers.items()}
        trial.table(
            "teachers, with the bag of words", taught, {name: "last round" for name in taught if name != "last round"}
        )


if __name__ == "__main__":
    main()
