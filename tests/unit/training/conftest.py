"""Small settings of SELF-GRPO, and a tiny model that has had its warm-up."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfemo import config as configuration
from selfemo.config import Config
from selfemo.data.dialogue import Dialogue
from selfemo.training.warmup import warm_up
from tests.conftest import SMALL
from tests.spaces import SPACES

ALL_PARTS = ("rewards.consistency=0.25",)
"""One is off by default."""


@pytest.fixture
def settings() -> Config:
    return configuration.load(
        None, [*SMALL, *ALL_PARTS, "grpo.confidence_low=0", "grpo.prompts_per_step=2", "grpo.beta=0.05"]
    )


@pytest.fixture(scope="session")
def warmed(tiny: Path, dialogues: list[Dialogue], tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("warm")
    gold = [d for d in dialogues if d.split == "train"][:8]
    steps = warm_up(
        str(tiny), gold, SPACES, configuration.load(None, [*SMALL, "warmup.epochs=10"]), base / "w", base / "out"
    )
    assert steps == 20
    return base / "out"
