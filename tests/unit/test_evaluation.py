"""Metrics against scikit-learn; readers outside the loop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from selfemo import config as configuration
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.records import Prediction, Reply
from selfemo.errors import UserError
from selfemo.method.evaluation import confusion, consistency, summarise
from selfemo.method.reader import ClassifierReader, ProbeReader, readers_for
from selfemo.method.tallies import bootstrap, interval, resample, scores_of
from tests.spaces import MELD, SPACES

CONFIG = configuration.load()
labels = st.sampled_from(MELD.labels)


def rows(pairs: Sequence[tuple[str, str | None]], per_dialogue: int = 3, corpus: str = "sample") -> list[Prediction]:
    return [
        Prediction(
            corpus=corpus,
            dialogue=str(i // per_dialogue),
            turn=i % per_dialogue,
            gold=(gold,),
            predicted=(said,) if said else (),
            posterior=tuple(float(answer == (said,)) for answer in SPACES[corpus].answers),
        )
        for i, (gold, said) in enumerate(pairs)
    ]


@given(st.lists(st.tuples(labels, labels), min_size=1, max_size=40))
def test_scores_are_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    gold, said = zip(*pairs, strict=True)
    scores = scores_of(confusion(rows(list(pairs)), MELD).sum(0))
    known = dict(labels=list(MELD.labels), zero_division=0)
    assert scores.accuracy == pytest.approx(accuracy_score(gold, said))
    assert scores.weighted_f1 == pytest.approx(f1_score(gold, said, average="weighted", **known))
    assert scores.macro_f1 == pytest.approx(f1_score(gold, said, average="macro", **known))
    assert scores.f1 == pytest.approx(f1_score(gold, said, average=None, **known))


def test_sets_are_scored_by_iou_and_the_primary_label_by_f1() -> None:
    row = rows([("joy", "joy")])[0].model_copy(update={"gold": ("joy", "surprise"), "predicted": ("joy", "fear")})
    summary = summarise([row], SPACES["sample"], CONFIG)
    assert summary["accuracy"] == 1
    assert summary["mean_iou"] == pytest.approx(1 / 3)


def test_resamples_draw_whole_dialogues() -> None:
    drawn = resample(10, 200, seed=1)
    assert drawn.shape == (200, 10)
    assert np.all(drawn.sum(axis=1) == 10)
    assert np.array_equal(drawn, resample(10, 200, seed=1))


def test_intervals_hold_the_point_and_shrink_with_data() -> None:
    rng = np.random.default_rng(0)

    def width(n: int) -> float:
        pairs = [("joy", "joy" if rng.random() < 0.7 else "fear") for _ in range(n)]
        counts = confusion(rows(pairs), MELD)
        low, high = interval(bootstrap(counts, 500, 1).accuracy)
        assert low <= scores_of(counts.sum(0)).accuracy <= high
        return high - low

    assert width(900) < width(60)


def _pairs(right: float, n: int = 240) -> list[tuple[str, str | None]]:
    return [("joy" if i % 2 else "fear", ("joy" if i % 2 else "fear") if i < right * n else "anger") for i in range(n)]


@pytest.mark.parametrize("name", ["tfidf", "embedding", "characters"])
def test_a_probe_knows_plain_emotions(name: str, dialogues: list[Dialogue]) -> None:
    reader = readers_for(name, [d for d in dialogues if d.split == "train"], SPACES, 1)["sample"]
    assert isinstance(reader, ProbeReader)
    assert reader.label([Utterance(speaker="A", text="I'm so happy, this is wonderful!")]) == "joy"
    held_out = [u for d in dialogues if d.split == "test" for u in d.turns if u.gold]
    right = np.mean([reader.label([u]) == (u.gold or ("",))[0] for u in held_out])
    assert right > 0.5
    with pytest.raises(UserError, match="fewer than two labels"):
        ProbeReader(name, [], 1)


def test_the_embedding_is_of_english_and_says_so_where_turns_are_not(
    dialogues: list[Dialogue], caplog: pytest.LogCaptureFixture
) -> None:
    def talk(*turns: tuple[str, str]) -> list[Dialogue]:
        said = tuple(Utterance(speaker="甲", text=text, gold=(label,)) for text, label in turns)
        return [Dialogue(id="d", corpus="zh", split="train", turns=said)]

    chinese = talk(("我太高兴了", "joy"), ("你怎么能这样", "anger"), ("真开心", "joy"), ("气死我了", "anger"))
    spaces = {"zh": MELD, **SPACES}
    readers_for("embedding", [d for d in dialogues if d.split == "train"], spaces, 1)
    readers_for("characters", chinese, spaces, 1)
    assert not caplog.messages
    readers_for("embedding", chinese, spaces, 1)
    assert "embedding is of English, which zh seems not to be" in caplog.text
    assert readers_for("characters", chinese, spaces, 1)["zh"].label(talk(("今天很开心", "joy"))[0].turns) == "joy"


def _said(declared: str, read: str) -> Reply:
    return Reply(corpus="sample", dialogue="d", declared=tuple(declared.split()), reply="x", own=read, judge=read)


def test_kappa_is_no_better_for_meaning_all_to_be_neutral() -> None:
    """The share that is read back is: so much of what is said is neutral."""
    told = [_said("joy", "joy"), _said("anger", "anger"), _said("neutral", "neutral"), _said("fear", "neutral")]
    flat = [_said("neutral", "neutral"), _said("neutral", "neutral"), _said("neutral", "neutral"), _said("fear", "joy")]
    assert consistency(told)["own"] == consistency(flat)["own"] == 0.75
    # By hand: agreement 3/4; by chance 1/4 * 1/4 + 1/4 * 1/4 + 1/4 * 2/4 = 1/4, so (3/4 - 1/4) / (1 - 1/4).
    assert consistency(told)["own_kappa"] == consistency(told)["judge_kappa"] == pytest.approx(2 / 3)
    # Agreement 3/4; by chance 3/4 * 3/4.
    assert consistency(flat)["own_kappa"] == pytest.approx((3 / 4 - 9 / 16) / (1 - 9 / 16))
    # Who declares everything is read back always, and by chance as well.
    assert consistency([_said("joy anger fear", "anger"), _said("joy anger fear", "joy")])["own_kappa"] == 0
    assert consistency([_said("joy anger", "anger"), _said("fear", "joy")])["own_kappa"] == 0
    assert consistency([_said("neutral", "neutral")] * 3)["own_kappa"] == 0


def test_a_judge_is_none_of_those_that_taught() -> None:
    with pytest.raises(UserError, match="set judge: embedding"):
        configuration.load(None, ["selfplay.words=true", "evaluation.judge=tfidf"])
    assert configuration.load(None, ["selfplay.words=true"]).evaluation.judge == "embedding"


def test_any_text_classifier_with_emotion_names_can_read(tiny: Path, tmp_path: Path) -> None:
    from transformers import Qwen3Config, Qwen3ForSequenceClassification

    from selfemo.policy.weights import load_tokenizer

    def classifier(names: list[str]) -> str:
        directory = tmp_path / "-".join(names)
        base = Qwen3Config.from_pretrained(tiny)
        base.num_labels, base.id2label = len(names), dict(enumerate(names))
        Qwen3ForSequenceClassification(base).save_pretrained(directory)
        load_tokenizer(str(tiny)).save_pretrained(directory)
        return str(directory)

    reader = ClassifierReader(classifier(["Happy", "Angry"]), MELD)
    assert reader.label([Utterance(speaker="A", text="Hello")]) in ("joy", "anger")
    with pytest.raises(UserError, match="none of meld's"):
        ClassifierReader(classifier(["LABEL_0", "LABEL_1"]), MELD)


def test_expression_consistency_counts_what_is_read_back(dialogues: list[Dialogue], tiny: Path) -> None:
    from selfemo.method.evaluation import prefixes
    from selfemo.method.evaluation import reply as replies_of
    from selfemo.method.player import Player
    from selfemo.method.prompts import Prompter
    from selfemo.policy.weights import load_tokenizer
    from tests.unit.test_selfplay import Scripted

    class Always:
        def __init__(self, label: str) -> None:
            self.said = label

        def label(self, history: object) -> str:
            return self.said

    held_out = [d for d in dialogues if d.split == "dev"]
    prompter = Prompter(load_tokenizer(str(tiny)))
    settings = configuration.load(None, ["evaluation.replies=5"])

    def score(reply: str, reading: str, judge: str) -> dict[str, float]:
        player = Player(Scripted(prompter, reading=reading, replies=(reply,)), prompter, "p")
        cut = prefixes(held_out, settings)
        return consistency(replies_of(player, cut, SPACES, {"sample": Always(judge)}, settings))

    read = score(" joy, surprise\nReply: What a day!", " joy", "surprise")
    assert (read["own"], read["judge"], read["answered"], read["replies"]) == (1, 1, 1, 5)
    misread = score(" joy\nReply: What a day!", " anger, joy", "fear")
    assert (misread["own"], misread["judge"], misread["answered"]) == (0, 0, 1)
    assert (read["own_kappa"], misread["own_kappa"]) == (0, 0)  # a reader that says one thing to all tells nothing
    silent = score("nonsense", " joy", "joy")
    assert (silent["own_kappa"], silent["judge_kappa"]) == (0, 0)
    assert (silent["own"], silent["judge"], silent["answered"]) == (0, 0, 0)
    assert consistency(replies_of(Player(None, prompter, "p"), [], SPACES, {}, settings)) == {}  # type: ignore[arg-type]  # a stand-in of the test
