"""What LoRA trains is published as an adapter, or merged into whole weights."""

from __future__ import annotations

from pathlib import Path

import torch

from selfemo.config import Config
from selfemo.policies import Policies
from selfemo.policy import adapters
from selfemo.policy.weights import load_model
from selfemo.store.artifacts import Store
from selfemo.training import selfgrpo
from tests.spaces import SPACES
from tests.unit.training.runs import run
from tests.unit.training.samples import sample


def test_an_adapter_is_published_over_its_base_and_trained_on_in_the_next_round(
    warmed: Path, settings: Config, tmp_path: Path
) -> None:
    apart = settings.model_copy(update={"grpo": settings.grpo.model_copy(update={"lora_rank": 2, "lora_merge": False})})
    store, cache = Store((tmp_path / "store").as_uri(), tmp_path / "fetched"), tmp_path / "cache"
    samples = [sample(i, gold=i == 0) for i in range(4)]
    policy, weights, seen = str(warmed), str(warmed), []
    for name in ("first", "second"):
        selfgrpo.self_grpo(weights, policy, samples, [], SPACES, apart, tmp_path / f"{name}-work", tmp_path / name)
        assert not (tmp_path / name / "model.safetensors").exists()
        assert adapters.settings(tmp_path / name)["base_model_name_or_path"] == str(warmed)
        policy = str(tmp_path / name)
        weights = Policies(apart, store, dict[str, str]().__getitem__, cache).find(policy).directory
        seen.append(load_model(weights).state_dict())
    before = load_model(str(warmed)).state_dict()
    assert before.keys() == seen[0].keys() == seen[1].keys()
    for old, new in ((before, seen[0]), (seen[0], seen[1])):
        assert any(not torch.equal(old[k], new[k]) for k in old)


def test_lora_trains_an_adapter_and_saves_a_whole_model(warmed: Path, settings: Config, tmp_path: Path) -> None:
    lora = settings.model_copy(update={"grpo": settings.grpo.model_copy(update={"lora_rank": 2})})
    out = run(warmed, lora, tmp_path, "lora")
    before, after = load_model(str(warmed)).state_dict(), load_model(str(out)).state_dict()
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[k], after[k]) for k in before)
