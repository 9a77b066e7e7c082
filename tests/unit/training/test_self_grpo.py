"""SELF-GRPO inside TRL on a tiny real model: what it learns from, its advantages, what it logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfemo.config import Config
from selfemo.data.dialogue import Dialogue
from selfemo.policy.weights import load_model
from selfemo.training import round_trainers, selfgrpo
from tests.spaces import SPACES
from tests.unit.training.runs import run, sampled
from tests.unit.training.samples import sample


def test_self_grpo_moves_the_policy_and_logs_what_it_must(warmed: Path, settings: Config, tmp_path: Path) -> None:
    out = run(warmed, settings, tmp_path, "out")
    history = json.loads((out / "training.json").read_text())
    assert len(history) == 2
    needed = {
        "rewards/align/mean",
        "rewards/consistency/mean",
        "rewards/format/mean",
        "group_confidence",
        "group_weight",
        "zero_variance",
        "entropy",
        "completions/mean_length",
        "reward/understanding",
        "reward/expression",
        "kl",
        "loss",
    }
    assert needed <= set(history[0]) | set(history[1])
    before, after = load_model(str(warmed)).state_dict(), load_model(str(out)).state_dict()
    assert any(not torch.equal(before[k], after[k]) for k in before)


def test_replayed_gold_dialogues_count_beside_the_rollouts(
    warmed: Path, settings: Config, dialogues: list[Dialogue], tmp_path: Path
) -> None:
    """With rewards that are the same for all there is no policy gradient: what moves the policy is the replay."""
    update = {"replay": 2, "learning_rate": 0.003, "epochs": 4}
    still = settings.model_copy(
        update={
            "grpo": settings.grpo.model_copy(update=update | {"beta": 0.0}),
            "rewards": settings.rewards.model_copy(update={"align": 0.0, "consistency": 0.0, "format": 0.0}),
        }
    )
    gold = [d for d in dialogues if d.split == "train"][8:12]
    samples = [sample(i) for i in range(4)]
    selfgrpo.self_grpo(str(warmed), "p", samples, gold, SPACES, still, tmp_path / "w", tmp_path / "out")
    losses = [row["replay_loss"] for row in json.loads((tmp_path / "out" / "training.json").read_text())]
    assert len(losses) == 8
    assert np.mean(losses[-2:]) < np.mean(losses[:2])


def test_advantages_are_self_grpos_and_a_group_that_agrees_on_nothing_moves_nothing(
    warmed: Path, settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    scored = round_trainers.SelfGrpoTrainer._generate_and_score_completions

    def spy(self: Any, inputs: Any) -> Any:
        out = scored(self, inputs)
        seen.append((self._parts, out["advantages"].cpu().clone(), [r["index"] for r in inputs]))
        return out

    monkeypatch.setattr(round_trainers.SelfGrpoTrainer, "_generate_and_score_completions", spy)
    strict = settings.model_copy(
        update={"grpo": settings.grpo.model_copy(update={"confidence_low": 0.99, "confidence_high": 1.0})}
    )
    run(warmed, sampled(strict), tmp_path, "strict", [sample(i, gold=i % 2 == 0) for i in range(4)])
    held = set()
    for parts, advantages, index in seen:
        groups = advantages.view(-1, 4)
        for group, rows, first in zip(groups, parts.reshape(-1, 4, 3), index[::4], strict=True):
            rewards = rows @ np.array([1.0, 0.25, 0.1])
            gold = first % 2 == 0
            expected = (rewards - rewards.mean()) / max(rewards.std(), 0.05) if gold else np.zeros(4)
            if gold or rows[:, 1].mean() <= 0.99:
                assert group.numpy() == pytest.approx(expected, abs=1e-4)
                held.add(gold)
    assert held == {True, False}


def test_a_token_budget_changes_memory_and_not_results(warmed: Path, settings: Config, tmp_path: Path) -> None:
    tight = settings.model_copy(update={"launch": settings.launch.model_copy(update={"pack_tokens": 1})})
    histories = [
        json.loads((run(warmed, c, tmp_path, name) / "training.json").read_text())
        for c, name in ((settings, "one-pass"), (tight, "row-by-row"))
    ]
    for row, other in zip(*histories, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], abs=1e-5)
        assert row["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)


def test_a_lone_sample_suffices(warmed: Path, settings: Config, tmp_path: Path) -> None:
    out = run(warmed, settings, tmp_path, "one", [sample(1)])
    assert len(json.loads((out / "training.json").read_text())) == 1
