"""The one configuration of a run: typed, validated, from YAML with command-line overrides.

Each step hashes only the sections it reads (:data:`SECTIONS`), so changing the gate does not make a
finished generation run again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from selfemo import __version__
from selfemo.errors import UserError
from selfemo.overrides import apply, line_of
from selfemo.pods import Cluster
from selfemo.sections import (
    Corpus,
    Evaluation,
    Flywheel,
    Gate,
    Gitops,
    Grpo,
    Guard,
    Launch,
    Loop,
    Mlflow,
    Policy,
    Rewards,
    Section,
    SelfPlay,
    Store,
    Warmup,
)


class Config(Section):
    """A whole run. `configs/*.yaml` are instances; `selfemo run --set loop.rounds=3` overrides."""

    run: str = Field("demo", pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    """Name of the run: running the same name again resumes it."""
    seed: int = Field(7, ge=0, lt=2**31)
    workdir: str = ".selfemo"
    """Services' data, caches and logs of this machine."""
    corpora: tuple[Corpus, ...] = Field((Corpus(name="sample"),), min_length=1)
    """The first is the gate corpus."""
    policy: Policy = Policy()
    warmup: Warmup = Warmup()
    selfplay: SelfPlay = SelfPlay()
    rewards: Rewards = Rewards()
    flywheel: Flywheel = Flywheel()
    grpo: Grpo = Grpo()
    launch: Launch = Launch()
    evaluation: Evaluation = Evaluation()
    guard: Guard = Guard()
    gate: Gate = Gate()
    loop: Loop = Loop()
    store: Store = Store()
    mlflow: Mlflow = Mlflow()
    cluster: Cluster = Cluster()
    gitops: Gitops = Gitops()

    def to_json(self) -> str:
        """One line of JSON that :meth:`from_json` reads back; how a config travels into a step."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Config:
        """The inverse of :meth:`to_json`.

        Raises:
            UserError: If the text is not a configuration.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(first["msg"], where="config: " + ".".join(map(str, first["loc"]))) from None

    def digest(self, step: str) -> str:
        """Hash of what a step's result depends on besides its inputs: its sections and the code version."""
        data = self.model_dump(mode="json")
        used = {name: data[name] for name in SECTIONS[step]}
        text = json.dumps([step, __version__, used], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


SECTIONS: dict[str, tuple[str, ...]] = {
    "prepare": ("seed", "corpora", "warmup", "evaluation"),
    "warmup": ("seed", "policy", "warmup"),
    "generate": ("seed", "policy", "selfplay", "rewards"),
    "generate_shard": ("seed", "policy", "selfplay", "rewards"),
    "filter": ("seed", "rewards", "flywheel", "guard"),
    "train": ("seed", "policy", "warmup", "rewards", "grpo", "selfplay", "flywheel"),
    "evaluate": ("seed", "policy", "evaluation", "selfplay"),
    "evaluate_shard": ("seed", "policy", "evaluation", "selfplay"),
    "decide": ("seed", "guard", "gate", "loop", "evaluation", "mlflow"),
}
"""The sections each step reads."""


def load(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration.

    Args:
        path: A YAML file; None is all defaults.
        overrides: ``section.key=value`` strings, the value in YAML, applied over the file.

    Raises:
        UserError: Names the file and line, or the override, that is wrong, and the fix.
    """
    data: Any = {}
    root: yaml.Node | None = None
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
            root = yaml.compose(text, yaml.SafeLoader)
            data = yaml.safe_load(text) or {}
        except FileNotFoundError:
            raise UserError("no such file", where=str(path), fix="see configs/ for examples") from None
        except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{path}:{mark.line + 1}" if mark else str(path)
            raise UserError(f"not YAML: {getattr(error, 'problem', None) or error}", where=where) from None
        if not isinstance(data, dict):
            raise UserError("not a mapping of sections", where=str(path), fix="see configs/demo.yaml")
    set_by: dict[tuple[str, ...], str] = {}
    for override in overrides:
        set_by[apply(data, override)] = override

    def place(loc: tuple[int | str, ...]) -> str:
        names = tuple(map(str, loc))
        blame = next((o for keys, o in set_by.items() if names[: len(keys)] == keys), None)
        if blame is not None:
            return f"--set {blame}"
        return "config" if path is None else f"{path}:{line_of(root, loc)}"

    return validate(data, place)


def validate(data: dict[str, Any], place: Callable[[tuple[int | str, ...]], str]) -> Config:
    """Nested plain data to a configuration.

    Args:
        data: Sections.
        place: Says where a setting comes from, for errors.

    Raises:
        UserError: Names the setting that is wrong, where it stands, and the fix.
    """
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        fix = "remove it or correct its name" if first["type"] == "extra_forbidden" else None
        message = f"{name}: {first['msg'].removeprefix('Value error, ')}"
        raise UserError(message, where=place(first["loc"]), fix=fix) from None
