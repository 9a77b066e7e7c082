"""Who reads sampled replies, and how much of the history each sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfemo import config as configuration
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.records import Rollout
from selfemo.method.flywheel.filtering import filter_rollouts
from selfemo.method.player import Player
from selfemo.method.prompts import Prompter
from selfemo.method.selfplay import listen, play_episodes
from selfemo.policy.weights import load_tokenizer
from selfemo.training.reward_functions import GroupRewards
from tests.spaces import SPACES
from tests.unit.test_selfplay import Scripted


@pytest.fixture(scope="module")
def prompter(tiny: Path) -> Prompter:
    return Prompter(load_tokenizer(str(tiny)))


class TwoMinds(Scripted):
    """Reads joy in a reply that it sees alone, fear in one whose history it sees."""

    def reads(self, prompt: str) -> str:
        """See :meth:`Scripted.reads`."""
        return " fear" if "How are you?" in prompt else " joy"


@pytest.mark.parametrize(("listeners", "least"), [("[]", 0.05), ("[1]", 1.0), ("[24,1]", 0.05), ("[1,24]", 0.05)])
def test_a_reply_counts_as_the_listener_reads_it_who_finds_least(
    prompter: Prompter, listeners: str, least: float
) -> None:
    asked = tuple(Utterance(speaker="AB"[i], text="How are you?", gold=("joy",)) for i in range(2))
    talk = Dialogue(id="meld/train/0", corpus="meld", split="train", turns=asked)
    config = configuration.load(None, ["selfplay.turns=1", f"selfplay.listeners={listeners}"])
    player = Player(TwoMinds(prompter, replies=(" joy\nReply: Wonderful!",)), prompter, "p")
    (rollout,) = play_episodes(player, [talk], SPACES, 1, config, lambda _: None)
    scores = {round(c.score, 2) for c in rollout.candidates}
    assert scores == {least}
    heard = rollout.candidates[0].reading
    space = SPACES["meld"]
    joy, fear = (heard[space.answers.index((label,))] for label in ("joy", "fear"))
    assert (joy, fear) == {"[]": (0, 1), "[1]": (1, 0)}.get(listeners, (0.5, 0.5))  # what is read is the mean
    # Training asks the same listeners as self-play.
    (sample,) = [s for s in filter_rollouts([_mixed(rollout)], SPACES, config).samples if s.task == "expression"]
    group = GroupRewards([sample], SPACES, config, player).read(sample, [" Wonderful!"])
    assert group.fit_G == pytest.approx([rollout.candidates[0].score])


def _mixed(rollout: Rollout) -> Rollout:
    """The same with one candidate that is read and one that is not: else there is nothing to learn from it."""
    graded = [c.model_copy(update={"score": float(i == 0)}) for i, c in enumerate(rollout.candidates)]
    return rollout.model_copy(update={"candidates": tuple(graded)})


def test_listeners_of_a_long_conversation_see_in_training_what_they_saw_in_self_play(prompter: Prompter) -> None:
    short = Prompter(prompter.tokenizer, history_turns=6)
    config = configuration.load(None, ["selfplay.listeners=[6,3]"])
    space = SPACES["meld"]
    for turns in range(4, 14):
        whole = [Utterance(speaker="AB"[i % 2], text=f"line {i}") for i in range(turns)]
        asked = []
        for history in (whole, [*short.window(whole[:-1]), whole[-1]]):  # as played, and as samples keep it
            engine = Scripted(short)
            listen(Player(engine, short, "p"), [history], [space], config)
            asked.append(engine.asked)
        assert asked[0] == asked[1]
        one = Scripted(short)
        listen(Player(one, short, "p"), [whole], [space], configuration.load())
        assert one.asked == asked[0][:1]  # who sees the most sees what prompts show
