"""Packed GRPO against stock TRL: the same loss and the same gradients, for every loss and both architectures."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from selfemo.policy.weights import load_model, load_tokenizer
from selfemo.training.order import StepOrder
from selfemo.training.packed_grpo import PackedGrpoTrainer

GROUP = 4


class Gradients(TrainerCallback):
    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
        self.seen.append(torch.cat([p.grad.flatten().clone() for p in model.parameters()]))


def prompts() -> list[list[int]]:
    """Two turns of one dialogue, and two prompts by themselves."""
    rng = np.random.default_rng(0)
    history = rng.integers(10, 300, 30).tolist()
    return [[*history[:20], 301, 302], [*history, 301, 302], *rng.integers(10, 300, (2, 12)).tolist()]


def train(base: type, directory: Path, place: Path, loss: str, iterations: int, **extra: Any) -> Any:
    """Two steps on given completions of ragged length, some of them equal."""
    asked = prompts()

    def answered(prompts: list[str], trainer: Any) -> dict[str, Any]:
        rng = np.random.default_rng(len(trainer.state.log_history))
        completions = [[*rng.integers(10, 13, rng.integers(1, 6)).tolist(), 2] for _ in prompts]
        return {"prompt_ids": [asked[int(p)] for p in prompts], "completion_ids": completions, "logprobs": None}

    packed = base is PackedGrpoTrainer
    settings = GRPOConfig(
        output_dir=str(place),
        use_cpu=True,
        bf16=False,
        seed=0,
        max_steps=2,
        num_generations=GROUP,
        beta=0.1,
        max_completion_length=8,
        learning_rate=0.5,
        optim="sgd",
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        loss_type=loss,
        num_iterations=iterations,
        shuffle_dataset=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=GROUP * len(asked),
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        logging_steps=1,
        dataloader_pin_memory=False,
        temperature=0.8,
    )
    gradients = Gradients()
    trainer = base(
        model=load_model(str(directory)),
        args=settings,
        processing_class=load_tokenizer(str(directory)),
        rollout_func=answered,
        reward_funcs=[lambda completions, **_: [float(sum(map(ord, c)) % 7) for c in completions]],
        train_dataset=Dataset.from_dict({"prompt": [str(i) for i in range(len(asked))]}),
        callbacks=[gradients],
        **({"pack_tokens": 60} if packed else {}),
        **extra,
    )
    trainer.train()
    return trainer.state.log_history, gradients.seen


def agree(ours: Any, stock: Any) -> None:
    (our_log, our_gradients), (log, gradients) = ours, stock
    for a, b in zip(our_gradients, gradients, strict=True):
        assert b.norm() > 1e-3
        assert (a - b).norm() / b.norm() < 1e-4
    for a, b in zip(our_log[:2], log[:2], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4, abs=1e-6)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)
    assert our_log[0]["entropy"] == pytest.approx(log[0]["entropy"], rel=0.2)  # a mean of the packs' means


@pytest.mark.parametrize("loss", ["dapo", "grpo", "dr_grpo", "bnpo"])
def test_loss_and_gradients_are_those_of_stock_trl(tiny: Path, tmp_path: Path, loss: str) -> None:
    agree(*(train(base, tiny, tmp_path, loss, 1) for base in (PackedGrpoTrainer, GRPOTrainer)))


def test_so_they_are_for_each_architecture_with_old_log_probabilities(tiny_of_each_kind: Path, tmp_path: Path) -> None:
    ours, stock = (train(base, tiny_of_each_kind, tmp_path, "dapo", 2) for base in (PackedGrpoTrainer, GRPOTrainer))
    agree(ours, stock)
    assert stock[0][1]["kl"] > 0  # the second step's policy is not the one that was sampled from


@given(
    st.lists(st.sampled_from("abcde"), min_size=1, max_size=20),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 3),
)
def test_steps_are_whole_groups_with_dialogues_side_by_side(
    dialogues: list[str], per_step: int, steps: int, group: int, repeats: int, epoch: int
) -> None:
    order = StepOrder(dialogues, per_step, steps, group, repeats, 7, lambda: epoch)
    rows = list(order)
    assert len(rows) == len(order)
    assert rows == list(order)
    step = np.array(rows).reshape(steps, repeats, per_step, group)
    assert (step == step[:, :1, :, :1]).all()
    chosen = step[:, 0, :, 0].ravel().tolist()
    if len(dialogues) >= per_step * steps:
        assert len(set(chosen)) == len(chosen)
        runs = [dialogues[i] for i in chosen]
        assert sum(a != b for a, b in itertools.pairwise(runs)) <= len(set(dialogues)) - 1
    else:
        assert set(chosen) == set(range(len(dialogues)))


def test_another_epoch_takes_another_order() -> None:
    orders = {tuple(StepOrder(list("abcdefgh"), 2, 4, 1, 1, 7, partial(int, e))) for e in range(4)}
    assert len(orders) == 4
