"""SELF-GRPO on a few samples."""

from __future__ import annotations

from pathlib import Path

from selfemo.config import Config
from selfemo.data.records import Sample
from selfemo.training import selfgrpo
from tests.spaces import SPACES
from tests.unit.training.samples import sample


def sampled(config: Config) -> Config:
    """The same, with understanding learnt from sampled groups, as stock GRPO does."""
    return config.model_copy(update={"grpo": config.grpo.model_copy(update={"understanding": "sampled"})})


def run(base: Path, config: Config, tmp_path: Path, name: str, samples: list[Sample] | None = None) -> Path:
    samples = samples or [sample(i, "expression" if i == 3 else "understanding", gold=i == 0) for i in range(4)]
    selfgrpo.self_grpo(str(base), "p", samples, [], SPACES, config, tmp_path / f"{name}-work", tmp_path / name)
    return tmp_path / name
