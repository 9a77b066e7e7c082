"""What decides whether a model fits on a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from selfemo.config import Config
from selfemo.policy import compute
from selfemo.policy.compute import Compute
from selfemo.training import common


@pytest.mark.parametrize("gpu", [True, False])
def test_every_training_step_recomputes_layers_where_there_is_a_gpu(
    settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: bool
) -> None:
    """Warm-up and self-training did not, and a pack of 4,000 tokens of a 4B model took 70 GB without an optimizer."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(compute, "compute", lambda _: Compute("cuda" if gpu else "cpu", gpu, 1))
    assert common.arguments(settings, tmp_path)["gradient_checkpointing"] is gpu
