"""A training that was killed ends, when it is run again, as one that was not."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from selfemo.config import Config
from tests.unit.training.runs import run


def test_a_run_killed_after_a_checkpoint_ends_as_an_undisturbed_one(
    warmed: Path,
    settings: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = run(warmed, settings, tmp_path, "whole")
    with monkeypatch.context() as patch:

        def stop(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr("selfemo.training.common.Recorder.on_save", stop, raising=False)
        with pytest.raises(KeyboardInterrupt):
            run(warmed, settings, tmp_path, "killed")
    assert list((tmp_path / "killed-work").glob("checkpoint-1"))
    (tmp_path / "killed-work" / "checkpoint-2").mkdir()  # half-written when it was killed
    with caplog.at_level(logging.INFO, "selfemo.progress"):
        resumed = run(warmed, settings, tmp_path, "killed")
    assert caplog.messages[-1].startswith("SELF-GRPO 2/2 in ") and caplog.messages[-1].endswith(", 1 of them before")
    for name in ("model.safetensors", "training.json"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def test_a_resumed_run_goes_through_the_rest_of_its_epochs_in_their_order(
    warmed: Path, settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the second of three epochs, with two optimizer steps a batch of rollouts."""
    long = settings.model_copy(update={"grpo": settings.grpo.model_copy(update={"epochs": 3, "iterations": 2})})
    whole = run(warmed, long, tmp_path, "whole")
    assert len(json.loads((whole / "training.json").read_text())) == 3 * 2 * 2
    with monkeypatch.context() as patch:

        def stop(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 6:
                raise KeyboardInterrupt

        patch.setattr("selfemo.training.common.Recorder.on_save", stop, raising=False)
        with pytest.raises(KeyboardInterrupt):
            run(warmed, long, tmp_path, "killed")
    resumed = run(warmed, long, tmp_path, "killed")
    for name in ("model.safetensors", "training.json"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()
