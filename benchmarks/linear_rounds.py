"""Rounds of the method with a linear policy: a slow teacher, more passes, more unlabelled dialogues.

python benchmarks/linear_rounds.py [--seeds 1 2 3 4 5] [--rounds 3]

A language model takes an hour for what a linear policy does in seconds, so many seeds and all dialogues of MELD can be
had. The policy is a softmax of sentence embeddings of the last two turns; all else is the product's own: the division,
the bag of words, the pool of voices, filter, targets, rewards, the exact objective with its entropy, the replay. It
says what the loop does to a policy, and not what it does to a language model, which knows more to begin with.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from subjects import SPACES
from trial import APART, Trial, variant
from trial_table import table

from selfemo import hardware
from selfemo.config import Config
from selfemo.data.dialogue import Dialogue, gold_counts
from selfemo.data.records import Prediction, Rollout
from selfemo.method.evaluation import scored
from selfemo.method.flywheel.filtering import filter_rollouts
from selfemo.method.player import written
from selfemo.method.reader import sentence_embedding
from selfemo.method.rewards import Floats
from selfemo.method.voices import WORDS
from selfemo.method.words import words_of
from selfemo.training.understanding import objective, rewards_of

SPACE = SPACES["meld"]
STEPS, RATE, DECAY = 400, 0.02, 3e-3
"""Of the warm-up: full batches, until it has converged; the decay keeps it from knowing all turns by heart."""
LEARNT = 20
"""Samples that a step of a round learns, as the study has them."""
TEACHERS = {"last round": "last", "mean of readings": "readings", "mean of weights": "weights"}

Turns = tuple[torch.Tensor, list[tuple[Dialogue, int]]]
"""Features ``(N, 512)`` of turns, and which they are."""


embedder = cache(sentence_embedding)


@cache
def features_of(texts: tuple[str, ...]) -> Floats:
    """Of every turn of a dialogue its embedding, and that of the turn before ``(T, 512)``."""
    said = embedder().transform(texts)
    return np.concatenate([said, np.concatenate([np.zeros_like(said[:1]), said[:-1]])], axis=1)


def turns_of(dialogues: Sequence[Dialogue]) -> Turns:
    """Every turn of some dialogues."""
    found = np.concatenate([features_of(tuple(turn.text for turn in d.turns)) for d in dialogues])
    return torch.tensor(found, dtype=torch.float32), [(d, t) for d in dialogues for t in range(len(d.turns))]


def gold_of(turns: Turns) -> torch.Tensor:
    """Index of each turn's gold."""
    return torch.tensor([SPACE.index[(d.turns[t].gold or (SPACE.labels[0],))[0]] for d, t in turns[1]])


class Policy:
    """A linear softmax policy."""

    def __init__(self, weights: torch.Tensor) -> None:
        self.weights = weights

    @classmethod
    def warmed(cls, turns: Turns) -> Policy:
        """As labelled turns have it."""
        policy, gold = cls(torch.zeros(turns[0].shape[1] + 1, len(SPACE.answers), requires_grad=True)), gold_of(turns)
        stepper = torch.optim.Adam([policy.weights], RATE)
        for _ in range(STEPS):
            stepper.zero_grad()
            (-policy.logs(turns[0])[range(len(gold)), gold].mean() + DECAY * policy.weights.square().sum()).backward()
            stepper.step()
        return policy

    def logs(self, features: torch.Tensor) -> torch.Tensor:
        """``log pi`` of every answer."""
        return (features @ self.weights[:-1] + self.weights[-1]).log_softmax(-1)

    def reads(self, features: torch.Tensor) -> Floats:
        """``pi`` of every answer."""
        with torch.no_grad():
            return self.logs(features).exp().double().numpy()

    def after(
        self,
        features: torch.Tensor,
        rewards: torch.Tensor,
        replay: Turns,
        passes: int,
        rate: float,
        tau: float,
        seed: int,
    ) -> Policy:
        """The policy after a round: the exact objective, and gold again by cross-entropy, as SELF-GRPO adds them up."""
        found = Policy(self.weights.detach().clone().requires_grad_())
        stepper, drawn, gold = (
            torch.optim.Adam([found.weights], rate),
            torch.Generator().manual_seed(seed),
            gold_of(replay),
        )
        steps = passes * max(1, round(len(features) / LEARNT))
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(stepper, steps)
        orders = torch.cat([torch.randperm(len(features), generator=drawn) for _ in range(passes)])
        for mine in orders.tensor_split(steps):
            logs = found.logs(features[mine])
            earned = objective(logs, rewards[mine], tau) / len(mine)
            again = torch.randint(len(gold), (10,), generator=drawn)
            kept = found.logs(replay[0][again])[range(10), gold[again]].mean()
            stepper.zero_grad()
            (-earned - kept).backward()
            stepper.step()
            fall.step()
        return found


class Loop:
    """A seed: its dialogues as features, its words, and rounds of one kind or another."""

    def __init__(self, trial: Trial, config: Config) -> None:
        self.trial, self.config, self.seed = trial, config, trial.config.seed
        self.words = words_of(trial.labelled, self.seed)["meld"]
        self.labelled, self.kept, self.scored = (turns_of(d) for d in (trial.labelled, trial.kept, trial.scored))
        self.start = Policy.warmed(self.labelled)
        self._read: dict[str, Any] = {}

    def rollouts(self, turns: Turns, chances: Floats, held_out: bool) -> list[Rollout]:
        """Turns as a round's rollouts."""
        found = []
        for (d, t), row in zip(turns[1], chances, strict=True):
            key = f"{d.id}/{t}"
            if key not in self._read:
                self._read[key] = written(self.words.read(d.turns[t].text, SPACE))
            found.append(
                Rollout(
                    id=f"r1/understanding/{key}",
                    round=1,
                    policy="linear",
                    corpus="meld",
                    dialogue=d.id,
                    task="understanding",
                    history=d.turns[max(0, t - 23) : t + 1],
                    role=d.turns[t].speaker,
                    gold=d.turns[t].gold,
                    held_out=held_out,
                    posteriors={"24": written(row), WORDS: self._read[key]},
                )
            )
        return found

    def rounds(
        self, count: int, dialogues: int, teacher: str, passes: int, rate: float
    ) -> tuple[list[Policy], list[float]]:
        """The policies after each round, the warm-up first, and how often targets were right."""
        policies, right = [self.start], []
        for round in range(1, count + 1):
            turns = turns_of(self.trial.unlabelled(round, dialogues))
            rows = []
            for some, held_out in ((turns, False), (self.kept, True)):
                rows += self.rollouts(some, teach(policies, some[0], teacher), held_out)
            kept = filter_rollouts(rows, SPACES, self.config, gold_counts(self.trial.labelled))
            right.append(kept.metrics["pseudo_label_accuracy"])
            places = {f"r1/understanding/{d.id}/{t}#understanding": i for i, (d, t) in enumerate(turns[1])}
            features = turns[0][[places[s.id] for s in kept.samples]]
            rewards = torch.tensor(
                np.array([rewards_of(s, SPACE, self.config) for s in kept.samples]), dtype=torch.float32
            )
            tau = self.config.grpo.entropy
            policies.append(policies[-1].after(features, rewards, self.labelled, passes, rate, tau, self.seed + round))
        return policies, right

    def answers(self, chances: Floats) -> list[Prediction]:
        """What is read in the turns that are scored."""
        return [scored(d, t, SPACE, row) for (d, t), row in zip(self.scored[1], chances, strict=True)]


def teach(policies: Sequence[Policy], features: torch.Tensor, teacher: str) -> Floats:
    """What the teacher of a round reads: the last policy, or a mean of all since the warm-up."""
    if teacher == "readings":
        mean: Floats = np.mean([p.reads(features) for p in policies], axis=0)
        return mean
    if teacher == "weights":
        return Policy(torch.stack([p.weights.detach() for p in policies]).mean(0)).reads(features)
    return policies[-1].reads(features)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--rate", type=float, default=3e-3)
    given = options.parse_args()
    print(f"{hardware.describe()}; MELD, seeds {given.seeds}, {given.rounds} rounds, rate {given.rate:g}", flush=True)
    whole = {
        "last round": (given.rounds, 150, "last", 1),
        "mean of readings": (given.rounds, 150, "readings", 1),
        "mean of weights": (given.rounds, 150, "weights", 1),
        "two passes": (given.rounds, 150, "last", 2),
        "four passes": (given.rounds, 150, "last", 4),
        "all 606 dialogues in one round": (1, 606, "last", 1),
        "all 606 in every round": (given.rounds, 606, "last", 1),
    }
    answers: dict[str, dict[int, list[Prediction]]] = {}
    for seed in given.seeds:
        trial = Trial.meld(argparse.Namespace(place=Path(), scored=APART // 2, base=""), seed)
        loop = Loop(trial, variant(seed))
        answers.setdefault("warm-up", {})[seed] = loop.answers(loop.start.reads(loop.scored[0]))
        for name, (count, dialogues, teacher, passes) in whole.items():
            policies, right = loop.rounds(count, dialogues, teacher, passes, given.rate)
            answers.setdefault(name, {})[seed] = loop.answers(policies[-1].reads(loop.scored[0]))
            print(f"  {name}: targets right {', '.join(f'{r:.3f}' for r in right)}", flush=True)
            if name == "last round":
                mean = teach(policies, loop.scored[0], "weights")
                answers.setdefault("last round, mean of weights published", {})[seed] = loop.answers(mean)
    over = {name: "last round" for name in answers if name not in ("warm-up", "last round")} | {"last round": "warm-up"}
    table("linear policy", answers, trial.purposes, over, trial.config)


if __name__ == "__main__":
    main()
