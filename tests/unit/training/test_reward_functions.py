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
from selfemo.training.examples import prompt_of, rollout_prompt
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


def test_expression_rewards_are_what_the_frozen_listener_reads_of_what_the_target_declares(
    settings: Config, tiny: Path
) -> None:
    prompter = Prompter(load_tokenizer(str(tiny)))
    listener = Player(Scripted(prompter, reading=" joy"), prompter, "p")
    both = [sample(0, "expression"), sample(1, "expression", target="anger")]
    rewards = GroupRewards(both, SPACES, settings, listener)
    texts = [" Hooray!", "", " ", " no no no no no no no no no no"]
    align, consistency, fmt = rewards.parts(texts, [0] * 4).T
    assert align[0] == consistency[0] == fmt[0] == pytest.approx(1)
    assert align[1:].tolist() == fmt[1:].tolist() == [0, 0, 0]  # no reply, and a degenerate one
    align, consistency, _ = rewards.parts([" Hello!"] * 4, [1] * 4).T
    assert 0 < align[0] < 0.1  # meant anger, read joy
    assert consistency[0] == pytest.approx(1)


def test_the_replies_of_a_group_go_on_from_one_declaration_that_no_reply_can_change(
    settings: Config, tiny: Path
) -> None:
    """Else what is read most easily, neutral, would be declared ever more often."""
    prompter = Prompter(load_tokenizer(str(tiny)))
    of_anger = sample(0, "expression", target="anger").model_copy(update={"reply": "Go away!"})
    ids = rollout_prompt(of_anger, SPACES, prompter)
    assert prompter.tokenizer.decode(ids).endswith(" anger\nReply:")
    perfect = prompter.answer(("anger",), "Go away!")
    asked = prompter.expression(of_anger.history, of_anger.role, SPACES["sample"])
    assert (*asked, *perfect)[: len(ids)] == ids  # as it was learnt in the warm-up
    listener = Player(Scripted(prompter, reading=" joy"), prompter, "p")
    rewards = GroupRewards([of_anger], SPACES, settings, listener)
    group = rewards.read(of_anger, [" Hooray!", " joy\nReply: Hooray!", ' {"emotion": "joy", "reply": "Hooray!"}'])
    assert [a.labels for a in group.answers] == [("anger",)] * 3
    assert group.fit_G.max() < 0.1
    assert rollout_prompt(sample(0), SPACES, prompter) == prompt_of(sample(0), SPACES, prompter)
