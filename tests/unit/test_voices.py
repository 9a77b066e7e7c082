"""Voices, the reading they come to, and what each counts."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import check_grad
from transformers import PreTrainedTokenizerFast

from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.records import Rollout
from selfemo.method.flywheel.filtering import filter_rollouts
from selfemo.method.player import COUNTED_TOKENS, Player, written
from selfemo.method.prompts import Prompter
from selfemo.method.rewards import posterior
from selfemo.method.voices import BELIEFS, RECOGNISER, RESPONDER, WORDS, fit_weights, loss_of, pool
from selfemo.method.words import WordModel, words_of
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.weights import load_model, load_tokenizer
from tests.spaces import SPACES
from tests.unit.flywheel.rollouts import CONFIG, reading, understanding

SPACE = SPACES["sample"]


def posteriors(rows: int = 5, answers: int = 7) -> st.SearchStrategy[np.ndarray]:
    logs = arrays(np.float64, (rows, answers), elements=st.floats(-6, 0))
    return logs.map(posterior)


@given(posteriors(), st.floats(0, 1))
def test_voices_that_agree_are_their_own_pool(chances: np.ndarray, share: float) -> None:
    pooled = pool({"a": chances, "b": chances}, {"a": share, "b": 1 - share})
    assert pooled == pytest.approx(chances, abs=1e-9)


@given(posteriors(), posteriors(), st.floats(0, 2))
def test_a_pool_is_a_posterior_whatever_its_voices_are_called(a: np.ndarray, b: np.ndarray, weight: float) -> None:
    pooled = pool({"a": a, "b": b}, {"a": 1.0, "b": weight})
    assert pooled.sum(1) == pytest.approx(np.ones(5))
    assert pooled == pytest.approx(pool({"b": b, "a": a}, {"b": weight, "a": 1.0}))


@given(posteriors(), posteriors())
def test_a_voice_that_counts_nothing_says_nothing(a: np.ndarray, b: np.ndarray) -> None:
    assert pool({"a": a, "b": b}, {"a": 1.0, "b": 0.0}) == pytest.approx(a)


def test_no_voice_alone_rules_an_answer_out() -> None:
    never, sure = np.array([[0.0, 1.0]]), np.array([[0.999, 0.001]])
    assert pool({"a": never, "b": sure}, {"a": 1.0, "b": 3.0}).argmax() == 0


@given(posteriors(), posteriors(), arrays(np.float64, 2, elements=st.floats(0, 2)))
def test_the_fits_slope_is_that_of_its_loss(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> None:
    value = loss_of({RECOGNISER: a, RESPONDER: b}, np.array([0, 3, 1, 6, 2]))
    assert check_grad(lambda w: value(w)[0], lambda w: value(w)[1], weights) < 1e-3


def _noisy(gold: np.ndarray, right: float, rng: np.random.Generator) -> np.ndarray:
    """A voice that is right so often, and says so."""
    said = np.where(rng.random(len(gold)) < right, gold, rng.integers(0, 7, len(gold)))
    return np.where(np.arange(7) == said[:, None], 0.7, 0.05)


def test_labelled_turns_say_which_voice_to_believe() -> None:
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 7, 400)
    good, poor = _noisy(gold, 0.9, rng), _noisy(gold, 0.0, rng)
    weights = fit_weights({RECOGNISER: poor, RESPONDER: good}, gold)
    assert weights[RESPONDER] > 0.9 > 0.3 > weights[RECOGNISER]
    few = fit_weights({RECOGNISER: poor[:3], RESPONDER: good[:3]}, gold[:3])
    assert abs(few[RECOGNISER] - BELIEFS[RECOGNISER]) < 0.4  # three turns are no reason to think otherwise


def _turn(name: str, recogniser: list[str], responder: list[str], gold: str | None = None, **of: bool) -> Rollout:
    views = {"24": reading(recogniser), RESPONDER: reading(responder)}
    return understanding(recogniser, name, gold=gold).model_copy(update={"posteriors": views, **of})


DOUBT = ["joy"] * 5 + ["fear"] * 4 + ["anger"]


def test_the_responder_decides_what_the_recogniser_doubts() -> None:
    [sample] = filter_rollouts([_turn("u", DOUBT, ["fear"] * 9 + ["joy"])], SPACES, CONFIG).samples
    assert sample.target == ("fear",)
    [alone] = filter_rollouts([understanding(DOUBT)], SPACES, CONFIG).samples
    assert alone.target == ("joy",)


def test_consistency_is_with_the_other_roles_reading() -> None:
    responder = ["fear"] * 6 + ["joy"] * 4
    [sample] = filter_rollouts([_turn("u", DOUBT, responder)], SPACES, CONFIG).samples
    assert sample.posterior == reading(responder)


def test_held_out_turns_weigh_the_voices_and_are_no_candidates() -> None:
    turn = _turn("u", DOUBT, ["fear"] * 9 + ["joy"])
    wrong = [_turn(f"h{i}", ["joy"] * 9 + ["fear"], ["fear"] * 9 + ["joy"], "joy", held_out=True) for i in range(60)]
    found = filter_rollouts([turn, *wrong], SPACES, CONFIG)
    assert found.metrics["candidates"] == 1
    assert found.metrics["voice_weight/sample/responder"] < 0.05
    assert [s.target for s in found.samples] == [("joy",)]
    assert {p for s in found.samples for p in s.parents} == {"u"}


def test_a_round_says_how_often_each_voice_is_right() -> None:
    turns = [
        _turn("a", DOUBT, ["fear"] * 9 + ["joy"], "fear"),
        _turn("b", DOUBT, ["joy"], "joy"),
        _turn("c", DOUBT, ["joy"]),
    ]
    metrics = filter_rollouts(turns, SPACES, CONFIG).metrics
    assert [metrics[f"voice_accuracy/sample/{name}"] for name in ("recogniser", "responder", "pool")] == [0.5, 1.0, 1.0]


def test_words_are_a_voice_of_labels_they_know(dialogues: list[Dialogue]) -> None:
    words = words_of(dialogues, 0)["sample"]
    found = words.read("I am so happy!", SPACE)
    assert found.shape == (len(SPACE.answers),)
    assert found.sum() == pytest.approx(1)
    assert found.argmax() == SPACE.index["joy"]


def test_words_know_little_of_a_label_they_have_not_met_and_do_not_rule_it_out(dialogues: list[Dialogue]) -> None:
    turns = [(u.text, u.gold) for d in dialogues for u in d.turns if u.gold and "fear" not in u.gold]
    few = tuple(Utterance(speaker="A", text=text, gold=gold) for text, gold in turns[:60])
    read = written(
        words_of([Dialogue(id="d", corpus="sample", split="train", turns=few)], 0)["sample"].read("Help!", SPACE)
    )
    sure = understanding(["fear"] * 14 + ["joy"])
    both = sure.model_copy(update={"posteriors": {**sure.posteriors, WORDS: read}})
    assert [s.target for s in filter_rollouts([both], SPACES, CONFIG).samples] == [("fear",)]


@pytest.mark.parametrize("text", ["😀", "..."])
def test_turns_without_a_word_are_no_bag_of_words(text: str) -> None:
    turns = tuple(Utterance(speaker="A", text=text, gold=(label,)) for label in ("joy", "fear"))
    assert words_of([Dialogue(id="d", corpus="sample", split="train", turns=turns)], 0) == {}


def test_words_can_decide_a_target(dialogues: list[Dialogue]) -> None:
    scared = next(u.text for d in dialogues for u in d.turns if u.gold == ("fear",))
    read = written(WordModel(dialogues, 0).read(scared, SPACE))
    turn = understanding(DOUBT)
    found = filter_rollouts([turn.model_copy(update={"posteriors": {**turn.posteriors, WORDS: read}})], SPACES, CONFIG)
    assert [s.target for s in found.samples] == [("fear",)]
    assert found.metrics["voice_weight/sample/words"] == BELIEFS["words"]


def test_one_label_is_nothing_to_tell_apart() -> None:
    turns = (Utterance(speaker="A", text="Good.", gold=("joy",)), Utterance(speaker="B", text="Yes.", gold=("joy",)))
    assert words_of([Dialogue(id="d", corpus="sample", split="train", turns=turns)], 0) == {}


def test_the_responder_is_asked_how_likely_it_would_have_said_this(tiny: Path, dialogues: list[Dialogue]) -> None:
    import torch

    prompter, model = Prompter(load_tokenizer(str(tiny))), load_model(str(tiny), bf16=False).eval()
    turns = dialogues[0].hidden().turns[:3]
    [heard] = Player(TransformersEngine(model, prompter.tokenizer), prompter, "p").hear([turns], [SPACE])
    plain, scores = load_model(str(tiny), bf16=False).eval(), []
    asked = prompter.expression(turns[:-1], turns[-1].speaker, SPACE)
    for answer in SPACE.answers:
        declared, reply = prompter.declared(answer, turns[-1].text)
        assert declared + reply == prompter.answer(answer, turns[-1].text)
        ids = torch.tensor([[*asked, *declared, *reply]])
        with torch.no_grad():
            logs = plain(ids).logits[0].log_softmax(-1)
        said = logs[-len(reply) - 1 : -1].gather(1, torch.tensor(reply)[:, None]).sum()
        scores.append(float(said) / len(reply) ** 0.5)
    assert heard == pytest.approx(posterior(scores), abs=1e-4)


def test_a_turn_that_nothing_was_said_before_says_nothing_to_the_responder(
    tiny: Path, dialogues: list[Dialogue]
) -> None:
    prompter = Prompter(load_tokenizer(str(tiny)))
    player = Player(TransformersEngine(load_model(str(tiny), bf16=False), prompter.tokenizer), prompter, "p")
    turns = dialogues[0].hidden().turns
    asked: list[int] = []
    first, second = player.hear([turns[:1], turns[:2]], [SPACE] * 2, asked.append)
    assert first == pytest.approx(np.full(len(SPACE.answers), 1 / len(SPACE.answers)))
    assert second != pytest.approx(first)
    assert sum(asked) == 2


def test_what_one_line_costs_has_a_bound(tiny: Path) -> None:
    prompter = Prompter(load_tokenizer(str(tiny)))
    lengths: list[int] = []

    class Counting:
        def log_likelihoods(self, prompts: Any, answers: Any, progress: Any) -> list[list[float]]:
            lengths.extend(len(answer) for some in answers for answer in some)
            return [[float(-len(answer)) for answer in some] for some in answers]

    hostile = [Utterance(speaker="A", text="Hi"), Utterance(speaker="B", text="\U0001f9ff" * 600)]
    Player(Counting(), prompter, "p").hear([hostile], [SPACE])  # type: ignore[arg-type]  # a stand-in of the test
    assert max(lengths) <= COUNTED_TOKENS + 16


TEXT = ["Did you? No!", "...", "-- well", "naïve 😀 ok", "“Quoted”", "a"]


@pytest.mark.parametrize("normalizer", ["bytes", "prepend", "one-piece"])
@pytest.mark.parametrize("text", TEXT)
def test_the_two_parts_of_a_completion_are_the_whole_whatever_the_tokenizer(normalizer: str, text: str) -> None:
    prompter = Prompter(_trained(normalizer))
    cuts = set()
    for answer in SPACE.answers:
        declared, reply = prompter.declared(answer, text)
        assert declared + reply == prompter.answer(answer, text)
        assert reply
        cuts.add(reply)
    assert len(cuts) == 1, "the same turn is heard, whatever was meant"


@functools.cache
def _trained(kind: str) -> PreTrainedTokenizerFast:
    """A small tokenizer of one of the kinds there are: GPT-2's, Llama 2's, Gemma's."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=kind != "bytes", unk_token=None))
    texts = [f" {label}\nReply: {text}" for label in SPACE.labels for text in TEXT] * 3
    alphabet = sorted({c for text in texts for c in text} | {"▁"})
    if kind == "bytes":
        made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    else:  # a space is a letter: words begin with it, or end
        spaces = tokenizers.normalizers.Replace(" ", "▁")
        first = [tokenizers.normalizers.Prepend("▁")] if kind == "prepend" else []
        made.normalizer = tokenizers.normalizers.Sequence([*first, spaces])
        side = "merged_with_next" if kind == "prepend" else "merged_with_previous"
        made.pre_tokenizer = tokenizers.pre_tokenizers.Split("▁", side)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=["</s>", "<pad>"], show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    chat = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", pad_token="<pad>", chat_template=chat)
