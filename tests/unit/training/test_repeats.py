"""Replies to many prompts that say the same share one reward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainerState

from selfemo.config import Config
from selfemo.method.flywheel.texts import phrase, shingles
from selfemo.method.player import Player
from selfemo.method.prompts import Prompter
from selfemo.method.rewards import Floats
from selfemo.policy.weights import load_tokenizer
from selfemo.training import selfgrpo
from selfemo.training.checkpoints import RepeatsKeeper
from selfemo.training.repeats import WINDOW, Repeats, Said, likeness
from selfemo.training.reward_functions import GroupRewards
from tests.spaces import SPACES
from tests.unit.test_selfplay import Scripted
from tests.unit.training.runs import run
from tests.unit.training.samples import sample

REPLIES = st.sampled_from(["No.", "no!", "Don't.", "Don’t!", "Oh dear.", "Oh dear, oh dear.", ""])


GROUPS = st.lists(st.lists(REPLIES, min_size=4, max_size=4), min_size=1, max_size=2 * WINDOW)


@given(GROUPS)
def test_in_one_step_a_phrase_earns_once_in_every_sixteen_prompts(groups: list[list[str]]) -> None:
    kept = Repeats().shared([f"s{i}" for i in range(len(groups))], groups)
    assert all(earned <= max(1, len(groups) / WINDOW) + 1e-9 for earned in _earned(groups, kept).values())


@given(GROUPS)
def test_in_steps_of_one_group_it_earns_more_until_sixteen_were_seen(groups: list[list[str]]) -> None:
    said = Repeats()
    kept = [said.shared([f"s{i}"], [group])[0] for i, group in enumerate(groups)]
    first = sum(1 / (i + 1) for i in range(min(WINDOW, len(groups))))
    later = max(0, len(groups) - WINDOW) / WINDOW
    assert all(earned <= first + later + 1e-9 for earned in _earned(groups, kept).values())


def _earned(groups: list[list[str]], kept: list[Floats]) -> dict[str, float]:
    """Over all groups, in whole rewards; an empty reply keeps all of its nothing."""
    found = {phrase(r): 0.0 for group in groups for r in group}
    for group, kept_G in zip(groups, kept, strict=True):
        for reply, part in zip(group, kept_G, strict=True):
            found[phrase(reply)] += part / len(group)
            assert reply or part == 1
    found.pop("", None)
    return found


def test_what_counts_is_how_many_other_prompts_were_told_the_same_lately() -> None:
    said = Repeats()
    assert said.shared(["a"], [["No.", "No.", "Why?", "Never!"]])[0].tolist() == [1, 1, 1, 1]
    assert said.shared(["b"], [["NO!", "Why, why?", "why", ""]])[0] == pytest.approx([1 / 1.5, 1, 1 / 1.25, 1])
    assert said.shared(["a"], [["No."]])[0] == pytest.approx([1 / 1.25])  # of the same prompt its own do not count
    for i in range(WINDOW):
        said.shared([f"other {i}"], [["Something else."]])
    assert said.shared(["c"], [["No."]])[0].tolist() == [1]


def test_a_stock_sentence_with_another_last_word_shares_as_well() -> None:
    said = Repeats()
    said.shared(["a"], [["I don't know anything about hospitals."]])
    shared = said.shared(["b"], [["I don't know anything about music!", "What is it about hospitals?", "Oh!"]])[0]
    assert shared == pytest.approx([1 / (1 + 3 / 5), 1, 1])


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=6).map(" ".join), min_size=1, max_size=6))
def test_likeness_is_the_jaccard_similarity_of_shingles(phrases: list[str]) -> None:
    found = likeness(phrases, phrases)
    for i, one in enumerate(phrases):
        for j, other in enumerate(phrases):
            a, b = shingles(one), shingles(other)
            assert found[i, j] == pytest.approx(len(a & b) / len(a | b))


def test_a_stock_phrase_is_worth_less_than_a_reply_of_its_own(settings: Config, tiny: Path) -> None:
    prompter = Prompter(load_tokenizer(str(tiny)))
    listener = Player(Scripted(prompter, reading=" joy"), prompter, "p")
    asked = [sample(i, "expression") for i in range(4)]
    rewards = GroupRewards(asked, SPACES, settings, listener)
    stock, own = [" Hooray!"] * 3, [" You did it!", " What a day.", " I am so glad.", " Let us dance!"]
    texts = [text for i in range(4) for text in (*stock, own[i])]
    align, _, form = rewards.parts(texts, [i for i in range(4) for _ in range(4)]).T
    assert align.reshape(4, 4)[:, :3] == pytest.approx(1 / (1 + 3 * 0.75))
    assert align.reshape(4, 4)[:, 3] == pytest.approx(1)
    assert form.tolist() == [1] * 16


def test_understanding_groups_of_the_same_step_say_nothing_and_lose_nothing(settings: Config, tiny: Path) -> None:
    prompter = Prompter(load_tokenizer(str(tiny)))
    listener = Player(Scripted(prompter, reading=" joy"), prompter, "p")
    asked = [sample(i, "expression" if i % 2 else "understanding") for i in range(4)]
    rewards = GroupRewards(asked, SPACES, settings, listener)
    texts = [text for i in range(4) for text in ([" Hooray!"] * 4 if i % 2 else [" joy"] * 4)]
    align, consistency, _ = rewards.parts(texts, [i for i in range(4) for _ in range(4)]).T
    assert align == pytest.approx(([1] * 4 + [0.5] * 4) * 2)
    assert consistency[4:8] == pytest.approx(0.5)
    assert [s for s, _ in rewards.repeats.groups] == ["s1", "s3"]


@pytest.mark.parametrize("steps", [[2, 2], [0, 2, 1], [WINDOW, 1]])
def test_ranks_know_of_each_others_replies(steps: list[int]) -> None:
    """Two of them, of which the second has as many groups as a step says, the first two."""
    alone, ranks, on_both = Repeats(), [Repeats(), Repeats()], list[Said]()
    for rank in ranks:
        rank.gather = lambda mine: [*on_both]
    for step, count in enumerate(steps):
        groups = [[["No.", "Why?"]] * 2, [["No.", f"Yes {step}"]] * count]
        names = [[f"{step}-{r}-{i}" for i in range(len(g))] for r, g in enumerate(groups)]
        on_both[:] = [
            (name, {phrase(reply): 0.5 for reply in group})
            for r in (0, 1)
            for name, group in zip(names[r], groups[r], strict=True)
        ]
        found = [r.shared(n, g) for r, n, g in zip(ranks, names, groups, strict=True)]
        whole = alone.shared(names[0] + names[1], groups[0] + groups[1])
        for part_G, expected_G in zip(found[0] + found[1], whole, strict=True):
            assert part_G == pytest.approx(expected_G)
        assert ranks[0].groups == ranks[1].groups == alone.groups


def test_what_was_said_before_a_training_was_killed_is_known_after_it(
    warmed: Path, settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[list[Said]]] = {}
    shared = Repeats.shared

    def spy(self: Repeats, samples: Sequence[str], replies: Sequence[Sequence[str]]) -> list[Floats]:
        found = shared(self, samples, replies)
        seen.setdefault(name, []).append([(sample, dict(said)) for sample, said in self.groups])
        return found

    gathered: list[list[Said]] = []

    def gather(mine: list[Said]) -> list[Said]:
        gathered.append(mine)
        return mine

    monkeypatch.setattr(Repeats, "shared", spy)
    monkeypatch.setattr(selfgrpo, "gather_object", gather)
    name = "whole"
    run(warmed, settings, tmp_path, "whole")
    assert len(gathered) == 2  # once a step, from all ranks
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
    assert second[: len(first)] == first != second


def test_a_checkpoint_that_knows_nothing_of_replies_is_gone_on_from() -> None:
    keeper, state = RepeatsKeeper(Repeats()), TrainerState()
    keeper.on_train_begin(None, state, None)
    assert keeper.repeats.groups == []
    assert state.stateful_callbacks == {"RepeatsKeeper": keeper.state()}  # or the next checkpoint could not be written
