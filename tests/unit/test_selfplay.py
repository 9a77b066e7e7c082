from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from selfemo import config as configuration
from selfemo.config import Config
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.records import Rollout, read_records, write_records
from selfemo.errors import CorruptArtifact
from selfemo.method.evaluation import predict
from selfemo.method.player import Player
from selfemo.method.prompts import Prompter
from selfemo.method.selfplay import choose_dialogues, next_role, play_episodes, understand_corpus
from selfemo.policy.engine import Completion, Sampling
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.weights import load_model, load_tokenizer
from tests.spaces import SPACES


class Scripted:
    """An engine that answers from a script by task: what the policy says is then known, and so is what follows.

    It reads one emotion in every turn: the answer ``reading`` is all but sure.
    """

    def __init__(self, prompter: Prompter, reading: str = " joy", replies: tuple[str, ...] = ()) -> None:
        self.prompter, self.reading, self.replies = prompter, reading, replies
        self.asked: list[str] = []

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        sampling: Sampling,
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[list[Completion]]:
        results = []
        for prompt in prompts:
            text = self.prompter.tokenizer.decode(prompt)
            self.asked.append(text)
            answers = self.replies if "what is the reply" in text else (self.reading,)
            results.append([Completion((1,), answers[i % len(answers)], (0.0,)) for i in range(sampling.n)])
            progress(1)
        return results

    def log_likelihoods(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[Sequence[int]]],
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[tuple[float, ...]]:
        asked = [self.prompter.tokenizer.decode(prompt) for prompt in prompts]
        texts = [[self.prompter.tokenizer.decode(a, skip_special_tokens=True) for a in some] for some in answers]
        self.asked += asked
        progress(len(prompts))
        likeliest = map(self.reads, asked)
        return [tuple(0.0 if text == r else -99.0 for text in some) for r, some in zip(likeliest, texts, strict=True)]

    def reads(self, prompt: str) -> str:
        """The answer to an understanding prompt that is all but sure."""
        return self.reading


@pytest.fixture(scope="module")
def prompter(tiny: Path) -> Prompter:
    return Prompter(load_tokenizer(str(tiny)))


REPLIES = (" joy\nReply: Wonderful!", " anger\nReply: Go away!", "nonsense", " joy\nReply: Hooray!")


def test_each_view_of_the_history_is_asked(prompter: Prompter, dialogues: list[Dialogue]) -> None:
    engine = Scripted(prompter)
    config = configuration.load(None, ["selfplay.views=[24,1]"])
    chosen = dialogues[0]
    rollouts = understand_corpus(Player(engine, prompter, "p"), [chosen], SPACES, 1, config, lambda _: None)
    assert [list(r.posteriors) for r in rollouts] == [["24", "1"]] * len(chosen.turns)
    whole, last = engine.asked[len(chosen.turns) - 1], engine.asked[-1]
    first_words = prompter.neutralise(chosen.turns[0].text)
    assert first_words in whole
    assert first_words not in last
    assert rollouts[-1].history == chosen.hidden().turns  # what is trained on is the whole


def _talk(turns: int) -> Dialogue:
    said = tuple(Utterance(speaker="AB"[i % 2], text=f"line {i}", gold=("joy",)) for i in range(turns))
    return Dialogue(id="meld/train/0", corpus="meld", split="train", turns=said)


@pytest.mark.parametrize("views", ["[]", "[1,9]"])
def test_records_keep_what_prompts_show_and_give_the_prompts_of_the_whole(prompter: Prompter, views: str) -> None:
    short = Prompter(prompter.tokenizer, history_turns=6)
    config = configuration.load(None, ["selfplay.turns=3", f"selfplay.views={views}"])
    talk = _talk(40)
    player = Player(Scripted(short, replies=REPLIES), short, "p")
    space = SPACES[talk.corpus]
    shown = talk.hidden().turns
    for t, rollout in enumerate(understand_corpus(player, [talk], SPACES, 1, config, lambda _: None)):
        assert len(rollout.history) <= 6
        assert short.understanding(rollout.history, space) == short.understanding(shown[: t + 1], space)
    whole: list[Utterance] = []
    for rollout in play_episodes(player, [talk], SPACES, 1, config, lambda _: None):
        assert len(rollout.history) <= 6
        assert rollout.chosen is not None
        first = int(rollout.history[0].text.removeprefix("line ")) if not whole else 0
        whole = whole or list(shown[: first + len(rollout.history)])
        reply = Utterance(speaker=rollout.role, text=rollout.candidates[rollout.chosen].reply or "")
        assert short.expression(rollout.history, rollout.role, space) == short.expression(whole, rollout.role, space)
        heard = short.understanding([*rollout.history, reply], space)  # what is learnt of a reply that was kept
        whole.append(reply)
        assert heard == short.understanding(whole, space)


def test_each_view_of_a_long_dialogue_is_cut_from_the_whole_of_it(prompter: Prompter) -> None:
    short = Prompter(prompter.tokenizer, history_turns=6)
    engine = Scripted(short)
    config = configuration.load(None, ["selfplay.views=[1,9]"])
    talk = _talk(20)
    understand_corpus(Player(engine, short, "p"), [talk], SPACES, 1, config, lambda _: None)
    ends = [(view, t) for view in (1, 9) for t in range(20)]
    asked = [short.understanding(talk.turns[: t + 1][-view:], SPACES["meld"]) for view, t in ends]
    assert engine.asked == [short.tokenizer.decode(prompt) for prompt in asked]


def test_a_dialogue_is_hidden_once_however_many_turns_are_asked(
    prompter: Prompter, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, hide = list[str](), Dialogue.hidden

    def noted(dialogue: Dialogue) -> Dialogue:
        hidden.append(dialogue.id)
        return hide(dialogue)

    monkeypatch.setattr(Dialogue, "hidden", noted)
    player = Player(Scripted(prompter), prompter, "p")
    understand_corpus(player, [_talk(40)], SPACES, 1, configuration.load(), lambda _: None)
    assert len(hidden) == 1
    assert len(predict(player, [_talk(40)], SPACES)) == 40
    assert len(hidden) == 2


@pytest.fixture
def settings() -> Config:
    return configuration.load(None, ["selfplay.turns=3", "selfplay.tau=0.02"])


def play(prompter: Prompter, dialogues: list[Dialogue], settings: Config, **script: Any) -> list[Rollout]:
    engine = Scripted(prompter, **{"replies": REPLIES, **script})
    return play_episodes(Player(engine, prompter, "p"), dialogues, SPACES, 1, settings, lambda _: None)


def test_an_episode_goes_on_for_h_turns_with_roles_swapping(
    prompter: Prompter, dialogues: list[Dialogue], settings: Config
) -> None:
    rollouts = play(prompter, dialogues[:4], settings)
    assert len(rollouts) == 12
    by_episode = Counter(r.episode for r in rollouts)
    assert set(by_episode.values()) == {3}
    for before, after in itertools.pairwise(rollouts):
        if before.episode == after.episode:
            assert before.chosen is not None
            spoken = before.candidates[before.chosen]
            assert after.history == (*before.history, Utterance(speaker=before.role, text=spoken.reply or ""))
            assert after.role != before.role


def test_candidates_are_scored_by_what_a_listener_reads(
    prompter: Prompter, dialogues: list[Dialogue], settings: Config
) -> None:
    for rollout in play(prompter, dialogues[:3], settings):
        scores = [c.score for c in rollout.candidates]
        assert scores[0] == scores[3] == 1  # meant joy, read joy
        assert 0 < scores[1] < 0.1  # meant anger, read joy
        assert rollout.candidates[2].labels is None
        assert rollout.candidates[2].reading == ()
        assert rollout.chosen in (0, 3)  # at a low tau the well-read ones are drawn


def test_the_listener_sees_the_reply_and_never_what_was_meant(
    prompter: Prompter, dialogues: list[Dialogue], settings: Config
) -> None:
    engine = Scripted(prompter, reading=" fear", replies=(" disgust\nReply: Hooray!",))
    play_episodes(Player(engine, prompter, "p"), dialogues[:2], SPACES, 1, settings, lambda _: None)
    readings = [a for a in engine.asked if "in the last line?" in a]
    assert readings
    assert all("Hooray!" in a for a in readings)
    assert all("disgust" not in a.split("user\n")[1] for a in readings)


def test_an_episode_ends_when_no_candidate_is_an_answer(
    prompter: Prompter, dialogues: list[Dialogue], settings: Config
) -> None:
    rollouts = play(prompter, dialogues[:3], settings, replies=("nonsense",))
    assert len(rollouts) == 3
    assert all(r.chosen is None for r in rollouts)


@pytest.mark.parametrize("responder", [False, True])
def test_corpus_turns_are_predicted_without_showing_a_label(
    prompter: Prompter, dialogues: list[Dialogue], responder: bool
) -> None:
    settings = configuration.load(None, ["selfplay.cross_role=true"] if responder else [])
    engine = Scripted(prompter)
    rollouts = understand_corpus(Player(engine, prompter, "p"), dialogues[:2], SPACES, 1, settings, lambda _: None)
    assert len(rollouts) == sum(len(d.turns) for d in dialogues[:2])
    space = SPACES["sample"]
    sure = tuple(float(answer == ("joy",)) for answer in space.answers)
    voices = ["24", "6", "2", "1", *(["responder"] if responder else [])]
    assert all(list(r.posteriors) == voices for r in rollouts)
    assert all(r.posteriors[view] == sure for r in rollouts for view in ("24", "6", "2", "1"))
    assert (rollouts[0].seed, rollouts[0].temperature) == (None, None)  # nothing is drawn
    assert all(u.gold is None for r in rollouts for u in r.history)
    assert [r.gold for r in rollouts[: len(dialogues[0].turns)]] == [u.gold for u in dialogues[0].turns]


def test_the_same_seed_gives_identical_records_and_another_does_not(
    tiny: Path, dialogues: list[Dialogue], tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(str(tiny))
    player = Player(TransformersEngine(load_model(str(tiny)), tokenizer), Prompter(tokenizer), "p")

    def records(seed: int, name: str) -> bytes:
        settings = configuration.load(None, [f"seed={seed}", "selfplay.max_reply_tokens=8"])
        rollouts = understand_corpus(player, dialogues[:2], SPACES, 1, settings, lambda _: None)
        rollouts += play_episodes(player, dialogues[2:4], SPACES, 1, settings, lambda _: None)
        write_records(tmp_path / name, rollouts)
        assert list(read_records(tmp_path / name, Rollout)) == rollouts
        return (tmp_path / name).read_bytes()

    assert records(1, "a") == records(1, "b")
    assert records(1, "a") != records(2, "c")


def test_a_corrupt_record_is_named(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "r.jsonl.gz"
    whole = gzip.compress(b'{"id": 1}\n')
    for data in (whole, gzip.compress(b"\xff\n"), whole[:-9], whole[:12] + b"xx" + whole[14:], b"{}"):
        path.write_bytes(data)
        with pytest.raises(CorruptArtifact, match=r"r\.jsonl\.gz:1"):
            list(read_records(path, Rollout))


def test_the_next_role_is_who_spoke_before_the_last_speaker() -> None:
    a, b = Utterance(speaker="A", text="x"), Utterance(speaker="B", text="y")
    assert next_role([a, b], ["A", "B"]) == "A"
    assert next_role([a], ["A", "B"]) == "B"
    assert next_role([a, a], ["A"]) == "Friend"


def test_rounds_walk_through_the_pool_before_they_repeat(dialogues: list[Dialogue]) -> None:
    pool = dialogues[:10]
    first = choose_dialogues(pool, 5, 1, 7, "x")
    second = choose_dialogues(pool, 5, 2, 7, "x")
    assert {d.id for d in first} | {d.id for d in second} == {d.id for d in pool}
    assert choose_dialogues(pool, 5, 3, 7, "x") == first
    assert len(choose_dialogues(pool, 99, 1, 7, "x")) == 10
    assert choose_dialogues([], 5, 1, 7, "x") == []
