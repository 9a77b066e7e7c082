"""The exact gradient of understanding: against its definition, against what sampled groups estimate, and dealt out."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st

from selfemo import config as configuration
from selfemo.config import Config
from selfemo.data.dialogue import Dialogue
from selfemo.method.prompts import Prompter
from selfemo.method.rewards import smoothed_iou
from selfemo.policy.trees.attention import enable
from selfemo.policy.weights import load_model, load_tokenizer
from selfemo.training import understanding
from selfemo.training.selfgrpo import plan
from selfemo.training.understanding import Understanding, objective, rewards_of
from tests.spaces import SPACES
from tests.unit.training.runs import run
from tests.unit.training.samples import sample

SPACE = SPACES["sample"]


def test_rewards_are_the_definitions(settings: Config) -> None:
    joy, neutral = SPACE.mask(["joy"]), SPACE.mask(["neutral"])
    found = rewards_of(sample(0), SPACES["sample"], settings)  # joy in four of five cases, else neutral
    for answer, reward in zip(SPACE.answers, found, strict=True):
        with_joy = float(smoothed_iou(SPACE.mask(answer), joy))
        agreement = 0.8 * with_joy + 0.2 * float(smoothed_iou(SPACE.mask(answer), neutral))
        assert reward == pytest.approx(with_joy + 0.25 * agreement + 0.1)


def test_a_target_in_doubt_is_worth_what_is_expected_of_it(settings: Config) -> None:
    doubt = tuple(0.7 if a == ("fear",) else 0.3 if a == ("joy",) else 0.0 for a in SPACE.answers)
    certain, doubted = (
        rewards_of(s, SPACES["sample"], settings)
        for s in (sample(0), sample(0).model_copy(update={"consensus": doubt}))
    )
    with_each = {x: smoothed_iou(SPACE.answer_masks, SPACE.mask([x])) for x in ("joy", "fear")}
    assert doubted - certain == pytest.approx(0.7 * with_each["fear"] + 0.3 * with_each["joy"] - with_each["joy"])
    stock = settings.model_copy(update={"grpo": settings.grpo.model_copy(update={"understanding": "sampled"})})
    assert rewards_of(sample(0).model_copy(update={"consensus": doubt}), SPACES["sample"], stock) == pytest.approx(
        certain
    )


@pytest.fixture(scope="module")
def prompter(warmed: Path) -> Prompter:
    return Prompter(load_tokenizer(str(warmed)))


@pytest.mark.parametrize(("pack_tokens", "tau"), [(1, 0.25), (10_000, 0.25), (10_000, 0.0)])
def test_its_gradient_is_that_of_the_expected_reward_and_of_entropy(
    warmed: Path, prompter: Prompter, settings: Config, pack_tokens: int, tau: float
) -> None:
    settings = settings.model_copy(update={"grpo": settings.grpo.model_copy(update={"entropy": tau})})
    samples = [sample(i, target=label) for i, label in enumerate(("joy", "fear", "anger"))]
    weight = np.array([1.0, 0.5, 2.0])
    model = load_model(str(warmed))
    enable(model)
    ours = Understanding(samples, SPACES, weight, 1, prompter, settings)
    noted: list[float] = []
    for loss in ours.losses(model, 0, pack_tokens, Accelerator(), lambda _, value: noted.append(value)):
        loss().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    for one, w in zip(samples, weight, strict=True):  # sequence by sequence
        prompt = list(prompter.understanding(one.history, SPACE))
        scores = []
        for answer in SPACE.answers:
            ids = [*prompt, *prompter.answer(answer)]
            logprobs = model(torch.tensor([ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            scores.append(logprobs[range(len(ids) - len(prompt)), ids[len(prompt) :]].sum())
        chances = torch.stack(scores).softmax(0)
        expected = (chances * torch.tensor(rewards_of(one, SPACES["sample"], settings))).sum()
        assert any(value == pytest.approx(expected.item(), abs=1e-4) for value in noted)
        gain = expected / tau - (chances * chances.log()).sum() if tau else expected
        (-w * gain / 3).backward()
    for name, p in model.named_parameters():
        assert torch.allclose(found[name], p.grad, atol=1e-4), name


def test_what_is_best_is_as_much_in_doubt_as_its_rewards() -> None:
    """For a policy that is a table: ``exp(r / tau)``, where reward alone would end at the best answer."""
    rewards, tau = torch.tensor([0.5, 0.4, 0.1]), 0.25
    table = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([table], lr=0.05)
    for _ in range(500):
        optimizer.zero_grad()
        logs = table.log_softmax(0)
        (-objective(logs, rewards, tau)).backward()
        optimizer.step()
    assert table.detach().softmax(0).numpy() == pytest.approx((rewards / tau).softmax(0).numpy(), abs=1e-3)


def test_it_is_the_mean_of_what_sampled_groups_give() -> None:
    """REINFORCE with the group's mean as baseline, over many groups, for a policy that is a table."""
    rng, group, groups = np.random.default_rng(0), 8, 40_000
    logits, rewards = np.array([0.5, 0.0, -1.0]), np.array([0.2, 1.0, 0.0])
    chances = np.exp(logits) / np.exp(logits).sum()
    exact = chances * (rewards - chances @ rewards)
    drawn = rng.choice(3, (groups, group), p=chances)
    advantage = (rewards[drawn] - rewards[drawn].mean(1, keepdims=True)) * group / (group - 1)
    score = np.eye(3)[drawn] - chances
    assert (advantage[..., None] * score).mean((0, 1)) == pytest.approx(exact, abs=0.003)
    table = torch.tensor(logits, requires_grad=True)
    (table.softmax(0) * torch.tensor(rewards)).sum().backward()
    assert table.grad is not None
    assert table.grad.numpy() == pytest.approx(exact)


@pytest.mark.parametrize(("ranks", "steps"), [(1, 6), (2, 6), (1, 5), (4, 7), (2, 24)])
def test_each_pass_deals_every_sample_out_once_dialogues_side_by_side(
    prompter: Prompter, ranks: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [sample(i).model_copy(update={"dialogue": f"d{i % 6}"}) for i in range(12)]
    twice = configuration.load(None, ["grpo.epochs=2"])
    monkeypatch.setattr(understanding, "world", lambda: ranks)
    dealt = []
    for step in range(steps):
        for rank in range(ranks):
            monkeypatch.setattr(understanding, "rank", lambda rank=rank: rank)
            dealt += Understanding(samples, SPACES, np.ones(12), steps, prompter, twice).of_step(step)
    assert sorted(dealt[:12]) == sorted(dealt[12:]) == list(range(12))
    assert dealt[:12] != dealt[12:]
    dialogues = [samples[i].dialogue for i in dealt[:12]]
    assert sum(a != b for a, b in itertools.pairwise(dialogues)) == 5


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 9))
def test_every_sample_counts_alike_however_many_there_are_of_its_kind(exact: int, sampled: int, per_step: int) -> None:
    if not exact + sampled:
        return
    made = plan(exact, sampled, configuration.load(None, [f"grpo.prompts_per_step={per_step}"]))
    assert made.exact + made.sampled == pytest.approx(1)
    if exact and sampled:
        assert made.exact / exact == pytest.approx(made.sampled / sampled)
    assert made.steps == max(1, round((exact + sampled) / per_step))
    assert made.steps * made.groups >= sampled
    assert (made.groups > 0) == (sampled > 0)


def test_understanding_alone_is_trained_without_a_sample_and_its_reward_grows(
    warmed: Path, settings: Config, dialogues: list[Dialogue], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was sampled")

    monkeypatch.setattr("selfemo.policy.trees.sampler.TransformersEngine.sample", never)
    grpo = settings.grpo.model_copy(update={"epochs": 4, "learning_rate": 0.003})
    samples = [sample(i, target=("joy", "fear")[i % 2]) for i in range(6)]
    out = run(warmed, settings.model_copy(update={"grpo": grpo}), tmp_path, "out", samples)
    history = json.loads((out / "training.json").read_text())
    assert len(history) == 12  # three steps of two samples, four times
    rewards = [row["reward/understanding"] for row in history]
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3])


def test_a_run_of_it_that_was_killed_ends_as_an_undisturbed_one(
    warmed: Path, settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [sample(i, target=("joy", "fear")[i % 2]) for i in range(6)]
    whole = run(warmed, settings, tmp_path, "whole", samples)
    with monkeypatch.context() as patch:

        def stop(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("selfemo.training.common.Recorder.on_save", stop, raising=False)
        with pytest.raises(KeyboardInterrupt):
            run(warmed, settings, tmp_path, "killed", samples)
    resumed = run(warmed, settings, tmp_path, "killed", samples)
    for name in ("model.safetensors", "training.json"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()
