"""SELF-GRPO's reward parts and advantages inside TRL, on a tiny real model."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from selfemo import config as configuration
from selfemo.config import Config
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.records import Sample
from selfemo.errors import UserError
from selfemo.method.prompts import Prompter
from selfemo.method.rewards import agreement, smoothed_iou
from selfemo.method.selfplay import Player
from selfemo.policies import Policies
from selfemo.policy import adapters
from selfemo.policy.weights import load_model, load_tokenizer
from selfemo.store.artifacts import Store
from selfemo.training import selfgrpo, selftraining
from selfemo.training.examples import collate, gold_examples, pseudo_labelled
from selfemo.training.reward_functions import GroupRewards
from selfemo.training.warmup import warm_up
from tests.conftest import SMALL
from tests.unit.test_selfplay import Scripted


def sample(index: int, task: str = "understanding", target: str = "joy", gold: bool = False) -> Sample:
    history = (Utterance(speaker="Mara", text=f"We won the cup number {index}!"),)
    return Sample.model_validate(
        dict(
            id=f"s{index}",
            round=1,
            policy="p",
            corpus="sample",
            dialogue="d",
            task=task,
            history=history,
            role="Theo",
            target=(target,),
            gold=gold,
            confidence=0.8,
            parents=("r",),
        )
    )


@pytest.fixture
def settings() -> Config:
    return configuration.load(None, [*SMALL, "grpo.confidence_low=0", "grpo.prompts_per_step=2", "grpo.beta=0.05"])


@pytest.fixture(scope="module")
def warmed(tiny: Path, dialogues: list[Dialogue], tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("warm")
    gold = [d for d in dialogues if d.split == "train"][:8]
    steps = warm_up(str(tiny), gold, configuration.load(None, [*SMALL, "warmup.epochs=10"]), base / "w", base / "out")
    assert steps == 20
    return base / "out"


def test_understanding_rewards_are_the_definitions(settings: Config) -> None:
    rewards = GroupRewards([sample(0)], settings, None)
    texts = [" joy", " joy, fear", "banana", " anger"]
    masks = np.array([[2, 2 | 64, 0, 8]], dtype=np.uint16)
    index = [0] * 4
    align, consistency, form = rewards.functions
    assert [f.__name__ for f in rewards.functions] == ["align", "consistency", "format"]  # what TRL logs them under
    assert align(texts, index) == pytest.approx(smoothed_iou(masks, 2)[0])
    assert consistency(texts, index) == pytest.approx(agreement(masks, 7)[0])
    assert form(texts, index) == [1, 1, 0, 1]


def test_expression_rewards_are_what_the_frozen_listener_reads(settings: Config, tiny: Path) -> None:
    prompter = Prompter(load_tokenizer(str(tiny)))
    listener = Player(Scripted(prompter, reading=" joy"), prompter, "p")  # type: ignore[arg-type]
    rewards = GroupRewards([sample(0, "expression")], settings, listener)
    texts = [" joy\nReply: Hooray!", " anger\nReply: Hooray!", "banana", " joy\nReply: no no no no no no no no no no"]
    align, consistency, fmt = rewards.parts(texts, [0] * 4).T
    assert align[0] == 1
    assert 0 < align[1] < 0.1
    assert consistency[:2] == pytest.approx(1)
    assert align[2:].tolist() == fmt[2:].tolist() == [0, 0]  # no answer, and a degenerate one
    assert rewards.parts(["x"] * 4, [0] * 4).sum() == 0


def test_warm_up_learns_to_answer_and_weighs_labels_above_replies(
    warmed: Path, tiny: Path, dialogues: list[Dialogue]
) -> None:
    history = json.loads((warmed / "training.json").read_text())
    assert np.mean([r["loss"] for r in history[-3:]]) < 0.7 * history[0]["loss"]
    assert (warmed / "model.safetensors").is_file()
    assert not list(warmed.glob("*.bin"))
    settings = configuration.load(None, [])
    learnt = gold_examples(dialogues[:2], Prompter(load_tokenizer(str(tiny))), settings, replies=2)
    assert learnt[0].weights == (1.0,) * len(dialogues[0].turns) + (0.2, 0.2)
    batch = collate(learnt)
    shares = [w * len(a) for w, a in zip(batch["weights"], batch["answers"], strict=True)]
    assert sum(shares) == pytest.approx(1)
    assert sum(shares[: len(learnt[0].weights)]) == pytest.approx(0.5)  # long and short dialogues count alike


def run(base: Path, config: Config, tmp_path: Path, name: str, samples: list[Sample] | None = None) -> Path:
    samples = samples or [sample(i, "expression" if i == 3 else "understanding", gold=i == 0) for i in range(4)]
    selfgrpo.train(str(base), "p", samples, [], config, tmp_path / f"{name}-work", tmp_path / name)
    return tmp_path / name


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
    selfgrpo.train(str(warmed), "p", samples, gold, still, tmp_path / "w", tmp_path / "out")
    losses = [row["replay_loss"] for row in json.loads((tmp_path / "out" / "training.json").read_text())]
    assert len(losses) == 8
    assert np.mean(losses[-2:]) < np.mean(losses[:2])


def test_self_training_learns_the_targets_as_if_they_were_gold(
    warmed: Path, settings: Config, dialogues: list[Dialogue], tmp_path: Path
) -> None:
    grpo = settings.grpo.model_copy(update={"replay": 1, "learning_rate": 0.003, "epochs": 6})
    config = settings.model_copy(update={"grpo": grpo})
    said = [sample(i, target="fear") for i in range(3)]
    said.append(sample(3, "expression").model_copy(update={"reply": "Hooray!"}))
    gold = [d for d in dialogues if d.split == "train"][:2]
    steps = selftraining.train(str(warmed), said, gold, config, tmp_path / "w", tmp_path / "out")
    prompter = Prompter(load_tokenizer(str(warmed)))
    example = pseudo_labelled(said, prompter, config)[0]
    assert example.answers[0] == prompter.answer(["fear"])
    assert example.answers[3] == prompter.answer(["joy"], "Hooray!")
    assert steps >= 6
    losses = [row["loss"] for row in json.loads((tmp_path / "out" / "training.json").read_text())]
    assert losses[-1] < losses[0]


def test_advantages_are_self_grpos_and_a_group_that_agrees_on_nothing_moves_nothing(
    warmed: Path, settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    scored = selfgrpo.SelfGrpoTrainer._generate_and_score_completions

    def spy(self, inputs):  # type: ignore[no-untyped-def]
        out = scored(self, inputs)
        seen.append((self._parts, out["advantages"].clone(), [r["index"] for r in inputs]))
        return out

    monkeypatch.setattr(selfgrpo.SelfGrpoTrainer, "_generate_and_score_completions", spy)
    strict = settings.model_copy(
        update={"grpo": settings.grpo.model_copy(update={"confidence_low": 0.99, "confidence_high": 1.0})}
    )
    run(warmed, strict, tmp_path, "strict", [sample(i, gold=i % 2 == 0) for i in range(4)])
    for parts, advantages, index in seen:
        groups = advantages.view(-1, 4)
        for group, rows, first in zip(groups, parts.reshape(-1, 4, 3), index[::4], strict=True):
            rewards = rows @ np.array([1.0, 0.25, 0.1])
            gold = first % 2 == 0
            expected = (rewards - rewards.mean()) / max(rewards.std(), 0.05) if gold else np.zeros(4)
            if gold or rows[:, 1].mean() <= 0.99:
                assert group.numpy() == pytest.approx(expected, abs=1e-4)


def test_a_run_killed_after_a_checkpoint_ends_as_an_undisturbed_one(
    warmed: Path, settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(warmed, settings, tmp_path, "whole")
    with monkeypatch.context() as patch:

        def stop(self, args, state, control, **_):  # type: ignore[no-untyped-def]
            raise KeyboardInterrupt

        patch.setattr("selfemo.training.common.Recorder.on_save", stop, raising=False)
        with pytest.raises(KeyboardInterrupt):
            run(warmed, settings, tmp_path, "killed")
    assert list((tmp_path / "killed-work").glob("checkpoint-1"))
    (tmp_path / "killed-work" / "checkpoint-2").mkdir()  # half-written when it was killed
    resumed = run(warmed, settings, tmp_path, "killed")
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

        def stop(self, args, state, control, **_):  # type: ignore[no-untyped-def]
            if state.global_step == 6:
                raise KeyboardInterrupt

        patch.setattr("selfemo.training.common.Recorder.on_save", stop, raising=False)
        with pytest.raises(KeyboardInterrupt):
            run(warmed, long, tmp_path, "killed")
    resumed = run(warmed, long, tmp_path, "killed")
    for name in ("model.safetensors", "training.json"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def test_a_token_budget_changes_memory_and_not_results(warmed: Path, settings: Config, tmp_path: Path) -> None:
    tight = settings.model_copy(update={"launch": settings.launch.model_copy(update={"pack_tokens": 1})})
    histories = [
        json.loads((run(warmed, c, tmp_path, name) / "training.json").read_text())
        for c, name in ((settings, "one-pass"), (tight, "row-by-row"))
    ]
    for row, other in zip(*histories, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], abs=1e-5)
        assert row["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)


def test_vllm_for_rollouts_is_trls_own(warmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not run here: TRL's colocated mode does not load weights on a CPU."""
    asked = configuration.load(
        None,
        [*SMALL, "grpo.rollouts=vllm-server", "grpo.vllm_server=http://127.0.0.1:9", "policy.vllm.tensor_parallel=2"],
    )
    seen = {}

    class Stop(Exception):
        pass

    def spy(**kwargs):  # type: ignore[no-untyped-def]
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

    trainer = SimpleNamespace(
        prompts=ids,
        num_generations=2,
        use_vllm=vllm,
        vllm_generation=SimpleNamespace(generate=generate),
        _sampled=lambda chosen: [[20 + row, 2] for row in range(2 * len(chosen))],
    )
    found = selfgrpo.SelfGrpoTrainer.rollouts(trainer, ["2", "2", "0", "0"])
    assert found["prompt_ids"] == [[8, 9, 10], [8, 9, 10], [5, 6], [5, 6]]
    assert found["completion_ids"] == [[20, 2], [21, 2], [22, 2], [23, 2]]
    assert found["logprobs"] == ([[-0.5, -0.25]] * 4 if vllm else None)  # of the token that was sampled
    assert asked == ([(found["prompt_ids"], 2)] if vllm else [])


def test_an_adapter_is_published_over_its_base_and_trained_on_in_the_next_round(
    warmed: Path, settings: Config, tmp_path: Path
) -> None:
    apart = settings.model_copy(update={"grpo": settings.grpo.model_copy(update={"lora_rank": 2, "lora_merge": False})})
    store, cache = Store((tmp_path / "store").as_uri(), tmp_path / "fetched"), tmp_path / "cache"
    samples = [sample(i, gold=i == 0) for i in range(4)]
    policy, weights, seen = str(warmed), str(warmed), []
    for name in ("first", "second"):
        selfgrpo.train(weights, policy, samples, [], apart, tmp_path / f"{name}-work", tmp_path / name)
        assert not (tmp_path / name / "model.safetensors").exists()
        assert adapters.settings(tmp_path / name)["base_model_name_or_path"] == str(warmed)
        policy = str(tmp_path / name)
        weights = Policies(apart, store, {}.__getitem__, cache).find(policy).directory
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


def test_samples_of_one_prompt_are_each_trained_on_for_their_own_target(
    warmed: Path, settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    scored = selfgrpo.SelfGrpoTrainer._generate_and_score_completions

    def spy(self: Any, inputs: Any) -> Any:
        out = scored(self, inputs)
        texts = self.processing_class.batch_decode(out["completion_ids"], skip_special_tokens=True)
        for start in range(0, len(inputs), 4):
            index = inputs[start]["index"]
            seen[self.samples[index].target[0]] = (texts[start : start + 4], self._parts[start : start + 4, 0])
        return out

    monkeypatch.setattr(selfgrpo.SelfGrpoTrainer, "_generate_and_score_completions", spy)
    # Two turns that are alike in all that the prompt shows of them: the window has cut off what told them apart.
    alike = [sample(1, target="joy"), sample(1, target="anger").model_copy(update={"id": "another"})]
    alike.append(sample(2, "expression", target="fear"))
    thrice = settings.model_copy(update={"grpo": settings.grpo.model_copy(update={"epochs": 3})})
    run(warmed, thrice, tmp_path, "o", alike)
    for label in ("joy", "anger"):
        texts, align = seen[label]
        own = GroupRewards([sample(1, target=label)], settings, None)
        assert align == pytest.approx(own.functions[0](texts, [0] * 4), abs=1e-6)
    assert seen["joy"][0] != seen["anger"][0], "each is sampled for itself"


def test_a_lone_sample_suffices(warmed: Path, settings: Config, tmp_path: Path) -> None:
    out = run(warmed, settings, tmp_path, "one", [sample(1)])
    assert len(json.loads((out / "training.json").read_text())) == 1
