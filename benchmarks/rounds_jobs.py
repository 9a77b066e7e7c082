"""The jobs of `rounds.py`: warm-ups, what policies read, rounds, and what waits for what."""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hindsight import keep_read_turns
from rounds_variants import VARIANTS, WORDINGS, Variant, matched
from side_by_side import Job
from subjects import SPACES
from transformers import TrainingArguments
from trial import Trial, digest, variant, with_settings
from trl import GRPOConfig

from selfemo.config import Config
from selfemo.data.records import Rollout
from selfemo.method.evaluation import predict
from selfemo.method.prompts import Prompter
from selfemo.method.voices import RESPONDER, WORDS
from selfemo.policy import compute
from selfemo.training import selfgrpo, selftraining, understanding, warmup

PACK, NODES, FOREST = 3_000, 8_192, 64_000
"""On a GPU: tokens of a training pass, nodes of a scoring pass, nodes of a forest."""
LARGEST = 65_535
"""What a probability of 1 is kept as."""


@dataclass(frozen=True)
class Case:
    """Where a variant is tried.

    Attributes:
        budget: Labelled dialogues.
        seed: Of all that is drawn.
        wording: Number of the wording of the two questions.
    """

    budget: int
    seed: int
    wording: int = 0

    @property
    def name(self) -> str:
        """Of its directory and jobs."""
        return f"{self.budget}-{self.seed}" + (f"-wording-{self.wording}" if self.wording else "")

    def trial(self, given: argparse.Namespace) -> Trial:
        """Its dialogues."""
        found = Trial.meld(given, self.seed, self.budget)
        return replace(found, place=given.place / self.name)


def settings(case: Case, of: Variant) -> Config:
    """A variant's configuration."""
    given = {"grpo__save_steps": 20, "flywheel__samples": 100_000, **of.settings}
    return variant(case.seed, of.of_study, case.budget, **given)


def policies_of(name: str, rounds: int) -> list[str]:
    """Names of a variant's policies, from the warm-up to the last of so many rounds."""
    which = VARIANTS[name]
    shared = policies_of(which.first, min(which.shared, rounds)) if which.first else ["warm-up"]
    return [*shared, *(f"{name}-{r}" for r in range(len(shared), rounds + 1))]


def rounds_of(name: str, most: int) -> list[tuple[str, str, list[str]]]:
    """A variant's rounds, so many at most: the policy, the one it starts from, and those whose readings it learns."""
    which = VARIANTS[name]
    chain = policies_of(name, min(which.rounds, most))
    found = []
    for round in range(1, len(chain)):
        before = chain[:round]
        teachers = (before if which.teacher == "mean" else before[-1:]) if which.reads else ["warm-up"]
        found.append((chain[round], "warm-up" if which.again else before[-1], teachers))
    return found


class Planner:
    """The jobs of all that is to be tried, each once, in the order in which it was asked for.

    Args:
        asked: Every case with the name of a variant and its rounds, at most.
        trials: By case.

    Attributes:
        jobs: By name.
    """

    def __init__(self, asked: Sequence[tuple[Case, str, int]], trials: Mapping[Case, Trial]) -> None:
        self.jobs: dict[str, Job] = {}
        both_roles = {
            (case, teacher)
            for case, name, most in asked
            for _, _, teachers in rounds_of(name, most)
            for teacher in teachers
            if settings(case, VARIANTS[name]).selfplay.cross_role
        }
        for case, name, most in asked:
            which, mine = VARIANTS[name], trials[case]
            config = settings(case, which)
            self._add(case, mine, "warm-up", _warm)
            for policy, start, teachers in rounds_of(name, most):
                read = {t: with_settings(mine.config, selfplay__cross_role=(case, t) in both_roles) for t in teachers}
                for teacher in teachers:
                    self._add(case, mine, f"read/{teacher}", partial(_read, teacher, read[teacher]), teacher)
                todo = partial(_round, policy, start, read, config, which)
                self._add(case, mine, policy, todo, start, *(f"read/{t}" for t in teachers))

    def replies(self, case: Case, mine: Trial, count: int) -> None:
        """Take up what `hindsight.py` looks at."""
        self._add(case, mine, "warm-up", _warm)
        self._add(case, mine, "replies", partial(_replies, count), "warm-up")

    def tidy(self, trials: Mapping[Case, Trial]) -> list[Job]:
        """The jobs; a policy that none of them starts from is removed once it is scored."""
        wanted = {need for job in self.jobs.values() for need in job.needs}
        places = {case.name: mine for case, mine in trials.items()}
        found = []
        for job in self.jobs.values():
            case, _, policy = job.name.partition("/")
            if job.name not in wanted and policy.partition("/")[0] not in ("read", "replies"):
                weights = places[case].place / "policies" / policy
                job = replace(job, do=partial(_removed, job.do, weights, answers_of(places[case], policy)))
            found.append(job)
        return found

    def _add(self, case: Case, mine: Trial, name: str, do: Callable[[Trial], None], *needs: str) -> None:
        whole = f"{case.name}/{name}"
        if whole not in self.jobs:
            self.jobs[whole] = Job(
                whole, partial(_prepared, case, mine, do), tuple(f"{case.name}/{need}" for need in needs)
            )


def _prepared(case: Case, mine: Trial, do: Callable[[Trial], None]) -> None:
    """In a job's own process: what a GPU wants, and the case's words."""
    Prompter.READ, Prompter.REPLY = WORDINGS[case.wording]
    if torch.cuda.is_available():
        torch.set_num_threads(1)
        compute.FLEX_TOKENS = 1 << 30  # it would be compiled in each process
        compute.pack_tokens = lambda config, device: PACK
        compute.SCORE_TOKENS, compute.CACHE_TOKENS = NODES, FOREST
    roomy = torch.cuda.is_available() and torch.cuda.mem_get_info()[1] > 100e9
    changed: dict[str, Any] = (
        {"save_strategy": "no"} if torch.cuda.is_available() else {}
    )  # a round of minutes is begun anew
    changed |= {"gradient_checkpointing": False} if roomy else {}
    for module, arguments in (
        (warmup, TrainingArguments),
        (selftraining, TrainingArguments),
        (selfgrpo, TrainingArguments),
        (selfgrpo, GRPOConfig),
    ):
        setattr(module, arguments.__name__, partial(_with, arguments, changed))
    do(mine)


def _with(arguments: Callable[..., Any], changed: Mapping[str, Any], **given: Any) -> Any:
    """A trainer's arguments, some of them others than were given."""
    return arguments(**{**given, **changed})


def _removed(do: Callable[[], None], policy: Path, answers: Path) -> None:
    """A round whose policy nobody starts from."""
    if not answers.is_file():
        do()
    shutil.rmtree(policy, ignore_errors=True)


def _warm(mine: Trial) -> None:
    policy = mine.warmed()
    _answers(mine, "warm-up", policy)


def _replies(count: int, mine: Trial) -> None:
    keep_read_turns(mine, mine.place / "policies" / "warm-up", count)


def _read(policy: str, asked: Config, mine: Trial) -> None:
    rows = mine.read(policy, mine.place / "policies" / policy, mine.pool, asked)
    file = mine.place / "readings" / f"{policy}.npz"
    file.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {voice: _small([r.posteriors[voice] for r in rows]) for voice in rows[0].posteriors}
    np.savez(file, **found)


def _round(
    policy: str, start: str, teachers: Mapping[str, Config], config: Config, which: Variant, mine: Trial
) -> None:
    """A round: what is read is filtered and learnt, and the policy scored."""
    if not (mine.place / "policies" / policy).is_dir():  # scores of one that was removed are not this one's
        answers_of(mine, policy).unlink(missing_ok=True)
    elif answers_of(mine, policy).is_file():
        return
    began = time.perf_counter()
    read = [mine.read(teacher, Path(), mine.pool, asked) for teacher, asked in teachers.items()]
    rows = mean([[voices_of(row, config) for row in rows] for rows in read]) if which.reads else read[0]
    found = mine.filtered(rows, config)
    samples = found.samples
    if not which.reads:  # so many steps, of nothing but the labelled dialogues
        steps = round(len(samples) / config.grpo.prompts_per_step)
        samples, config = samples[:steps], with_settings(config, grpo__prompts_per_step=1)
    if which.matched:
        understanding.objective = matched
    filtered = time.perf_counter()
    weights = mine.learnt(policy, mine.place / "policies" / start, samples, config)
    learnt = time.perf_counter()
    _answers(mine, policy, weights)
    took = {"filter": filtered - began, "learn": learnt - filtered, "score": time.perf_counter() - learnt}
    figures = {k: v for k, v in found.metrics.items() if isinstance(v, (int, float))}
    kept = mine.place / "filter" / f"{policy}.json"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps({"seconds": took, **figures}))


def _answers(mine: Trial, name: str, policy: Path) -> None:
    """What a policy reads in all turns that are scored: posteriors ``(N, A)``, in their order."""
    file = answers_of(mine, name)
    if not file.is_file():
        rows = predict(mine.player(policy), mine.scored, SPACES)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, _small([r.posterior for r in rows]))


def answers_of(mine: Trial, policy: str) -> Path:
    """Where a case keeps what a policy reads in all turns that are scored."""
    return mine.place / f"posteriors-{digest([d.id for d in mine.scored])}" / f"{policy}.npy"


def _small(chances: Sequence[Sequence[float]]) -> np.ndarray:
    """Probabilities in two bytes each."""
    return np.round(np.array(chances) * LARGEST).astype(np.uint16)


def voices_of(row: Rollout, config: Config) -> Rollout:
    """A reading by the voices, and the views, that a variant asks."""
    play = config.selfplay
    views = {str(v) for v in play.views or (config.policy.history_turns,)}
    wanted = views | ({RESPONDER} if play.cross_role else set()) | ({WORDS} if play.words else set())
    if missing := wanted - set(row.posteriors):
        raise ValueError(f"{row.id} was not read by {', '.join(sorted(missing))}")
    return row.model_copy(update={"posteriors": {k: p for k, p in row.posteriors.items() if k in wanted}})


def mean(read: Sequence[Sequence[Rollout]]) -> list[Rollout]:
    """The mean of what several policies read in the same turns, voice by voice."""
    found = []
    for rows in zip(*read, strict=True):
        voices = rows[-1].posteriors
        means = {v: tuple(map(float, np.mean([r.posteriors[v] for r in rows], axis=0))) for v in voices}
        found.append(rows[-1].model_copy(update={"posteriors": means}))
    return found
