"""Which gold dialogues an optimizer step learns again."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfemo import config as configuration
from selfemo.data.dialogue import Dialogue
from selfemo.errors import UserError
from selfemo.method.prompts import Prompter
from selfemo.policy.weights import load_tokenizer
from selfemo.training.replay import Replay
from tests.spaces import SPACES


def replay(tiny: Path, dialogues: list[Dialogue], per_step: int = 2) -> Replay:
    settings = configuration.load(None, [f"grpo.replay={per_step}"])
    return Replay(dialogues, SPACES, Prompter(load_tokenizer(str(tiny))), settings)


def test_every_dialogue_comes_once_before_any_comes_twice(tiny: Path, dialogues: list[Dialogue]) -> None:
    found = replay(tiny, dialogues[:4])
    first, second = ([example for step in steps for example in found.of_step(step)] for steps in ((0, 1), (2, 3)))
    assert len({id(example) for example in first}) == len({id(example) for example in second}) == 4


def test_a_resumed_run_goes_on_in_the_same_order(tiny: Path, dialogues: list[Dialogue]) -> None:
    one, other = replay(tiny, dialogues[:5]), replay(tiny, dialogues[:5])
    assert [one.of_step(s) for s in range(7)][5] == other.of_step(5)


def test_ranks_share_a_steps_dialogues(tiny: Path, dialogues: list[Dialogue], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = replay(tiny, dialogues[:5]).of_step(1)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    parts = []
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        parts += replay(tiny, dialogues[:5]).of_step(1)
    assert parts == whole
    with pytest.raises(UserError, match=r"grpo\.replay"):
        replay(tiny, dialogues[:5], 3)


def test_without_labelled_dialogues_nothing_is_replayed(tiny: Path) -> None:
    assert replay(tiny, []).of_step(3) == []
