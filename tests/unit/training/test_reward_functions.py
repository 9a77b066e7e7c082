"""The reward parts that TRL is given: of an understanding, and of an expression that a listener reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selfemo.config import Config
from selfemo.method.player import Player
from selfemo.method.prompts import Prompter
from selfemo.method.rewards import smoothed_iou
from selfemo.policy.weights import load_tokenizer
from selfemo.training.reward_functions import GroupRewards
from tests.spaces import SPACES
from tests.unit.test_selfplay import Scripted
from tests.unit.training.samples import sample


def test_understanding_rewards_are_the_definitions(settings: Config) -> None:
    read = sample(0)  # joy in four of five cases, else neutral
    rewards = GroupRewards([read], SPACES, settings, None)
    texts = [" joy", " joy, fear", "banana", " anger"]
    masks = np.array([2, 2 | 64, 0, 8], dtype=np.uint64)
    index = [0] * 4
    align, consistency, form = rewards.functions
    assert [f.__name__ for f in rewards.functions] == ["align", "consistency", "format"]  # what TRL logs them under
    assert align(texts, index) == pytest.approx(smoothed_iou(masks, 2))
    assert consistency(texts, index) == pytest.approx(0.8 * smoothed_iou(masks, 2) + 0.2 * smoothed_iou(masks, 1))
    assert form(texts, index) == [1, 1, 0, 1]


def test_expression_rewards_are_what_the_frozen_listener_reads(settings: Config, tiny: Path) -> None:
    prompter = Prompter(load_tokenizer(str(tiny)))
    listener = Player(Scripted(prompter, reading=" joy"), prompter, "p")
    rewards = GroupRewards([sample(0, "expression")], SPACES, settings, listener)
    texts = [" joy\nReply: Hooray!", " anger\nReply: Hooray!", "banana", " joy\nReply: no no no no no no no no no no"]
    align, consistency, fmt = rewards.parts(texts, [0] * 4).T
    assert align[0] == 1
    assert 0 < align[1] < 0.1
    assert consistency[:2] == pytest.approx(1)
    assert align[2:].tolist() == fmt[2:].tolist() == [0, 0]  # no answer, and a degenerate one
    assert rewards.parts(["x"] * 4, [0] * 4).sum() == 0
