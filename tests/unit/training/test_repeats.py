"""A reply that is said to many prompts shares one reward among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainerState

from selfemo.config import Config
from selfemo.method.player import Player
from selfemo.method.prompts import Prompter
from selfemo.policy.weights import load_tokenizer
from selfemo.training import repeats
from selfemo.training.checkpoints import RepeatsKeeper
from selfemo.training.repeats import WINDOW, Repeats
from selfemo.training.reward_functions import GroupRewards
from tests.spaces import SPACES
from tests.unit.test_selfplay import Scripted
from tests.unit.training.runs import run
from tests.unit.training.samples import sample

REPLIES = st.sampled_from(["No.", "no!", "Oh dear.", "Oh dear, oh dear.", ""])


@given(st.lists(st.lists(REPLIES, min_size=4, max_size=4), min_size=1, max_size=2 * WINDOW))
def test_a_phrase_earns_little_more_than_once_however_many_prompts_it_is_said_to(groups: list[list[str]]) -> None:
    kept = Repeats().shared([f"s{i}" for i in range(len(groups))], groups)
    for phrase in ("no", "oh dear", "oh dear oh dear"):
        earned = sum(
            float(np.mean([k if repeats._phrase(r) == phrase else 0 for r, k in zip(group, kept_G, strict=True)]))
            for group, kept_G in zip(groups, kept, strict=True)
        )
        assert earned <= max(1, len(groups) / WINDOW) + 1e-9
    assert all(k == 1 for g, kept_G in zip(groups, kept, strict=True) for r, k in zip(g, kept_G, strict=True) if not r)


def test_what_counts_is_how_many_other_prompts_heard_the_same_lately() -> None:
    said = Repeats()
    assert said.shared(["a"], [["No.", "No.", "Why?", "Never!"]])[0].tolist() == [1, 1, 1, 1]
    assert said.shared(["b"], [["NO!", "Why, why?", "why", ""]])[0] == pytest.approx([1 / 1.5, 1, 1 / 1.25, 1])
    assert said.shared(["a"], [["No."]])[0] == pytest.approx([1 / 1.25])  # of the same prompt its own do not count
    for i in range(WINDOW):
        said.shared([f"other {i}"], [["Something else."]])
    assert said.shared(["c"], [["No."]])[0].tolist() == [1]


def test_a_stock_phrase_is_worth_less_than_a_reply_of_its_own(settings: Config, tiny: Path) -> None:
    prompter = Prompter(load_tokenizer(str(tiny)))
    listener = Player(Scripted(prompter, reading=" joy"), prompter, "p")
    asked = [sample(i, "expression") for i in range(4)]
    rewards = GroupRewards(asked, SPACES, settings, listener)
    stock, own = [" Hooray!"] * 3, [f" You did it, number {i}!" for i in range(4)]
    texts = [text for i in range(4) for text in (*stock, own[i])]
    align, _, form = rewards.parts(texts, [i for i in range(4) for _ in range(4)]).T
    assert align.reshape(4, 4)[:, :3] == pytest.approx(1 / (1 + 3 * 0.75))
    assert align.reshape(4, 4)[:, 3] == pytest.approx(1)
    assert form.tolist() == [1] * 16


def test_what_was_said_before_a_training_was_killed_is_known_after_it(
    warmed: Path, settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[object]] = {}
    shared = Repeats.shared

    def spy(self: Repeats, *given: object) -> object:
        found = shared(self, *given)  # type: ignore[arg-type]
        seen.setdefault(name, []).append([(sample, dict(said)) for sample, said in self.groups])
        return found

    monkeypatch.setattr(Repeats, "shared", spy)
    name = "whole"
    run(warmed, settings, tmp_path, "whole")
    with monkeypatch.context() as patch:

        def stop(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("selfemo.training.common.Recorder.on_save", stop, raising=False)
        name = "killed"
        with pytest.raises(KeyboardInterrupt):
            run(warmed, settings, tmp_path, "killed")
    name = "resumed"
    run(warmed, settings, tmp_path, "killed")
    first, second = seen["whole"]
    assert seen["killed"] == [first]
    assert seen["resumed"] == [second]
    assert second[: len(first)] == first != second  # type: ignore[arg-type, index]


def test_a_checkpoint_that_knows_nothing_of_replies_is_gone_on_from() -> None:
    keeper, state = RepeatsKeeper(Repeats()), TrainerState()
    keeper.on_train_begin(None, state, None)
    assert keeper.repeats.groups == []
    assert state.stateful_callbacks == {"RepeatsKeeper": keeper.state()}  # or the next checkpoint could not be written
