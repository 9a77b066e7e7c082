"""What a study consists of: variants, label budgets and seeds, each combination a run of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError, field_validator

from selfemo.config import Config, validate
from selfemo.config.anchors import anchored
from selfemo.config.overrides import put
from selfemo.config.reading import with_labels
from selfemo.config.section import Section
from selfemo.data.yamls import read_yaml
from selfemo.errors import UserError


class Variant(Section):
    """One way to run the flywheel."""

    title: str
    """In the table."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """What differs from the study's configuration, such as `loop.rounds: 0`."""
    start: str | None = None
    """The variant whose policy it starts from, and is compared with; null is the warm-up."""
    budgets: tuple[str, ...] | None = None
    """Only at these label budgets; null is all."""
    seeds: tuple[int, ...] | None = None
    """Only with these seeds; null is all."""


class StudyPlan(Section):
    """A study, as `configs/study/*.yaml` has it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, coerce_numbers_to_str=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,20}$")
    title: str
    config: dict[str, Any]
    """What all runs have in common: a configuration as `selfemo run` takes it."""
    seeds: tuple[int, ...] = Field(min_length=1)
    budgets: dict[str, dict[str, Any]] = Field(min_length=1)
    """Settings of each label budget."""
    variants: dict[str, Variant] = Field(min_length=2)
    """The first is the warm-up alone: the others of its budget and seed start from its policy, or their `start`'s."""
    ours: str
    """The variant that the others are compared with."""

    @field_validator("variants")
    @classmethod
    def _first_is_warmup(cls, variants: dict[str, Variant]) -> dict[str, Variant]:
        first = next(iter(variants.values()))
        if first.settings.get("loop.rounds") != 0 or first.budgets or first.seeds:
            raise ValueError("the first variant is the warm-up: loop.rounds: 0, for all budgets and seeds")
        for name, variant in variants.items():
            if variant.start is None:
                continue
            start = variants.get(variant.start)
            if start is None or not _own_start(start) or _own_start(variant):
                raise ValueError(f"{name} can start from a variant with a warm-up of its own, if it has none itself")
            if not (_within(variant.seeds, start.seeds) and _within(variant.budgets, start.budgets)):
                raise ValueError(
                    f"{variant.start} does not run at all budgets and seeds of {name}, which starts from it"
                )
        return variants

    @field_validator("ours")
    @classmethod
    def _known(cls, ours: str, info: Any) -> str:
        if ours not in info.data.get("variants", {ours: None}):
            raise ValueError(f"no such variant: {ours}")
        return ours

    @property
    def warmup(self) -> str:
        """Name of the warm-up's variant."""
        return next(iter(self.variants))

    def start(self, variant: str) -> str:
        """The variant that a variant starts from or, of a warm-up longer than the first, is compared with."""
        return self.variants[variant].start or self.warmup


@dataclass(frozen=True)
class StudyRun:
    """One run of a study.

    Attributes:
        variant, budget, seed: Which.
        settings: What the plan sets for it, and the labels that it names.
        config: Its configuration; a variant that starts from another's policy is told its address later.
        start: The variant whose policy it starts from; empty if it trains from the base model, as the warm-up does.
    """

    variant: str
    budget: str
    seed: int
    settings: Mapping[str, Any]
    config: Config
    start: str

    @property
    def name(self) -> str:
        """Its name within the study."""
        return f"{self.budget}-{self.variant}-{self.seed}"

    @property
    def digest(self) -> str:
        """Hash of what the plan and its label files say of it: a record stands until one of them changes."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:16]

    def starting_from(self, policy: str) -> Config:
        """Its configuration, with another variant's policy in place of a warm-up of its own."""
        if not self.start:
            return self.config
        data = self.config.model_dump(mode="json")
        put(data, "policy.base", policy)
        put(data, "warmup.epochs", 0)
        return validate(data, partial(_place, f"{self.name}: start from {self.start}"))


def load(path: Path) -> StudyPlan:
    """Read a study.

    Raises:
        UserError: Names the file and what is wrong with it.
    """
    try:
        return StudyPlan.model_validate(read_yaml(path).data)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{path}: {'.'.join(map(str, first['loc']))}"
        raise UserError(first["msg"].removeprefix("Value error, "), where=where) from None


def study_runs(plan: StudyPlan, path: Path) -> list[StudyRun]:
    """All runs: budget by budget, seed by seed, so that a study cut short has whole rows to show.

    Args:
        plan: Of :func:`load`.
        path: Its file, for errors.

    Raises:
        UserError: For a configuration that is none.
    """
    found = []
    base = partial(_folder, path.parent.resolve())
    for budget, settings in plan.budgets.items():
        for seed in plan.seeds:
            for variant, what in plan.variants.items():
                if seed not in (what.seeds or plan.seeds) or budget not in (what.budgets or plan.budgets):
                    continue
                data = deepcopy(plan.config)
                for key, value in {**settings, **what.settings}.items():
                    try:
                        put(data, key, value)
                    except KeyError as error:
                        where = f"{path}: {budget}, variant {variant}: {key}"
                        raise UserError(f"{error.args[0]} is not a section", where=where) from None
                data |= {"run": f"{plan.name}-{budget}-{variant}-{seed}", "seed": seed}
                place = partial(_place, f"{path}: variant {variant}")
                config = validate(with_labels(anchored(deepcopy(data), base, place), place), place)
                start = "" if _own_start(what) else plan.start(variant)
                # A record stands by its settings' hash: `start` is among them only where the plan states it.
                said = data | {"start": what.start} if what.start else data
                if own := _own_labels(config):
                    said |= {"labels": own}
                found.append(StudyRun(variant, budget, seed, said, config, start))
    return found


def _own_labels(config: Config) -> dict[str, Any]:
    """What the label files of a run's own corpora say, whose names alone are in its settings."""
    return {c.name: c.labels.model_dump(mode="json") for c in config.corpora if c.labels is not None}


def _own_start(variant: Variant) -> bool:
    """Whether a variant trains from the base model: it changes the warm-up, or is nothing else."""
    return variant.settings.get("loop.rounds") == 0 or any(k.startswith("warmup.") for k in variant.settings)


def _within(mine: Sequence[object] | None, others: Sequence[object] | None) -> bool:
    """Whether the other variant runs wherever this one does; None is everywhere."""
    return others is None or (mine is not None and set(mine) <= set(others))


def _place(where: str, _: object) -> str:
    return where


def _folder(folder: Path, _: object) -> Path:
    return folder
