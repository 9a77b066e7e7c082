"""SELF-GRPO's rollouts: who samples them, of which prompts, and for whose target they count."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selfemo import config as configuration
from selfemo.config import Config
from selfemo.errors import UserError
from selfemo.training import round_trainers, selfgrpo
from selfemo.training.reward_functions import GroupRewards
from tests.conftest import SMALL
from tests.spaces import SPACES
from tests.unit.training.runs import run, sampled
from tests.unit.training.samples import sample


def test_vllm_for_rollouts_is_trls_own(warmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not run here: TRL's colocated mode does not load weights on a CPU."""
    asked = configuration.load(
        None,
        [*SMALL, "grpo.rollouts=vllm-server", "grpo.vllm_server=http://127.0.0.1:9", "policy.vllm.tensor_parallel=2"],
    )
    seen = {}

    class Stop(Exception):
        pass

    def spy(**kwargs: Any) -> None:
        seen.update(kwargs)
        raise Stop

    monkeypatch.setattr(selfgrpo, "GRPOConfig", spy)
    with pytest.raises(Stop):
        run(warmed, asked, tmp_path, "vllm")
    assert seen["use_vllm"]
    assert seen["vllm_mode"] == "server"
    assert seen["vllm_server_base_url"] == "http://127.0.0.1:9"
    assert seen["vllm_tensor_parallel_size"] == 2
    with pytest.raises(UserError, match="set vllm_server"):
        configuration.load(None, ["grpo.rollouts=vllm-server"])


@pytest.mark.parametrize("vllm", [False, True])
def test_rollouts_are_of_our_own_prompts_ids_a_group_side_by_side(vllm: bool) -> None:
    """What TRL would make of a prompt's text might be other ids than those that played."""
    ids = [(5, 6), (7,), (8, 9, 10)]
    asked: list[Any] = []

    def generate(prompts: list[list[int]], images: None, num_generations: int) -> tuple[Any, ...]:
        asked.append((prompts, num_generations))
        completions = [[20 + row, 2] for row in range(len(prompts))]
        return prompts, completions, [[[-0.5, -9.0], [-0.25, -9.0]] for _ in prompts], None

    trainer: Any = SimpleNamespace(
        prompts=ids,
        num_generations=2,
        use_vllm=vllm,
        vllm_generation=SimpleNamespace(generate=generate),
        _sampled=lambda chosen: [[20 + row, 2] for row in range(2 * len(chosen))],
    )
    found = round_trainers.SelfGrpoTrainer.rollouts(trainer, ["2", "2", "0", "0"])
    assert found["prompt_ids"] == [[8, 9, 10], [8, 9, 10], [5, 6], [5, 6]]
    assert found["completion_ids"] == [[20, 2], [21, 2], [22, 2], [23, 2]]
    assert found["logprobs"] == ([[-0.5, -0.25]] * 4 if vllm else None)  # of the token that was sampled
    assert asked == ([(found["prompt_ids"], 2)] if vllm else [])


def test_samples_of_one_prompt_are_each_trained_on_for_their_own_target(
    warmed: Path, settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, lengths = {}, list[int]()
    scored = round_trainers.SelfGrpoTrainer._generate_and_score_completions

    def spy(self: Any, inputs: Any) -> Any:
        out = scored(self, inputs)
        texts = self.processing_class.batch_decode(out["completion_ids"], skip_special_tokens=True)
        for start in range(0, len(inputs), 4):
            index = inputs[start]["index"]
            target = self.samples[index].target[0]
            if self.samples[index].task == "expression":  # its replies go on from what it declares
                prompt = self.processing_class.decode(self.prompts[index])
                assert prompt.endswith(f" {target}\nReply:")
                lengths.append(int(out["completion_mask"][start : start + 4].sum(1).max()))
            seen[target] = (texts[start : start + 4], self._parts[start : start + 4, 0], self.state.global_step)
        return out

    monkeypatch.setattr(round_trainers.SelfGrpoTrainer, "_generate_and_score_completions", spy)
    # Two turns that are alike in all that the prompt shows of them: the window has cut off what told them apart.
    alike = [sample(1, target="joy"), sample(1, target="anger").model_copy(update={"id": "another"})]
    alike.append(sample(2, "expression", target="fear"))
    # All are of one step: what is sampled then differs by the sample alone.
    at_once = settings.model_copy(update={"grpo": settings.grpo.model_copy(update={"prompts_per_step": 3})})
    run(warmed, sampled(at_once), tmp_path, "o", alike)
    assert seen["joy"][2] == seen["anger"][2]
    for label in ("joy", "anger"):
        texts, align, _ = seen[label]
        own = GroupRewards([sample(1, target=label)], SPACES, settings, None)
        assert align == pytest.approx(own.functions[0](texts, [0] * 4), abs=1e-6)
    assert seen["joy"][0] != seen["anger"][0], "each is sampled for itself"
    assert lengths
    assert max(lengths) <= settings.selfplay.max_reply_tokens
