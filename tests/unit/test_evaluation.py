"""Metrics against scikit-learn, the gate against what it promises."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from selfemo import config as configuration
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.labels import MELD
from selfemo.data.records import Scored
from selfemo.errors import UserError
from selfemo.method import gate
from selfemo.method.evaluation import bootstrap, confusion, interval, resample, scores_of, summarise
from selfemo.method.judge import ClassifierJudge, TfidfJudge, judges_for

CONFIG = configuration.load()
labels = st.sampled_from(MELD.labels)


def rows(pairs: list[tuple[str, str | None]], per_dialogue: int = 3, corpus: str = "sample") -> list[Scored]:
    return [
        Scored(
            corpus=corpus, dialogue=str(i // per_dialogue), turn=i % per_dialogue, gold=(gold,),
            predicted=(said,) if said else (),
        )
        for i, (gold, said) in enumerate(pairs)
    ]  # fmt: skip


@given(st.lists(st.tuples(labels, labels), min_size=1, max_size=40))
def test_scores_are_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    gold, said = zip(*pairs, strict=True)
    scores = scores_of(confusion(rows(list(pairs)), MELD).sum(0))
    known = dict(labels=list(MELD.labels), zero_division=0)
    assert scores.accuracy == pytest.approx(accuracy_score(gold, said))
    assert scores.weighted_f1 == pytest.approx(f1_score(gold, said, average="weighted", **known))
    assert scores.macro_f1 == pytest.approx(f1_score(gold, said, average="macro", **known))
    assert scores.f1 == pytest.approx(f1_score(gold, said, average=None, **known))


def test_an_unparseable_prediction_is_wrong_for_every_label() -> None:
    summary = summarise(rows([("joy", None), ("joy", "joy")]), CONFIG)
    assert summary["accuracy"] == 0.5
    assert summary["unparseable"] == 0.5
    assert summary["mean_iou"] == pytest.approx(0.5)
    assert summary["f1"]["joy"] == pytest.approx(2 / 3)  # type: ignore[index]


def test_sets_are_scored_by_iou_and_the_primary_label_by_f1() -> None:
    row = Scored(corpus="sample", dialogue="a", turn=0, gold=("joy", "surprise"), predicted=("joy", "fear"))
    summary = summarise([row], CONFIG)
    assert summary["accuracy"] == 1
    assert summary["mean_iou"] == pytest.approx(1 / 3)


def test_label_entropy_is_of_the_primary_labels_that_are_scored() -> None:
    pairs = [Scored(corpus="sample", dialogue=d, turn=0, gold=("joy",), predicted=("neutral", "joy")) for d in "abc"]
    assert summarise(pairs, CONFIG)["label_entropy"] == 0, "one set for everything, whatever its size"
    even = summarise(rows([(label, label) for label in MELD.labels]), CONFIG)
    assert even["label_entropy"] == pytest.approx(np.log(len(MELD)))
    assert summarise(rows([("joy", None)]), CONFIG)["label_entropy"] == 0


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


def test_a_better_challenger_is_promoted_and_the_evidence_is_kept() -> None:
    decision = gate.decide(rows(_pairs(0.5)), rows(_pairs(0.7)), CONFIG)
    assert decision.promoted
    found = decision.gains["sample"]
    gain, low, high = found.gain, found.low, found.high
    assert found.p <= gate.LEVEL
    assert low > 0
    assert low <= gain <= high


def test_equal_or_uncertain_challengers_are_not() -> None:
    same = rows(_pairs(0.5))
    assert not gate.decide(same, same, CONFIG).promoted
    few = gate.decide(rows(_pairs(0.5, 30)), rows(_pairs(0.54, 30)), CONFIG)
    assert not few.promoted
    assert "p = " in few.reason


def test_the_gate_corpus_is_the_configurations_first_whatever_comes_first_in_the_rows() -> None:
    """A selection is sorted by id, and so alphabetically by corpus: emorynlp comes before meld."""
    config = configuration.load(None, ["corpora=[{name: meld, path: a}, {name: sample}]"])
    better, worse, same = _pairs(0.8), _pairs(0.5), _pairs(0.6)
    before = rows(same, corpus="sample") + rows(worse, corpus="meld")
    after = rows(same, corpus="sample") + rows(better, corpus="meld")
    assert gate.decide(before, after, config).promoted
    other = rows(better, corpus="sample") + rows(worse, corpus="meld")
    unmoved = rows(worse, corpus="sample") + rows(worse, corpus="meld")
    assert not gate.decide(unmoved, other, config).promoted  # a gain where it does not count
    with pytest.raises(UserError, match="no turn of the gate corpus meld"):
        gate.decide(rows(same, corpus="sample"), rows(same, corpus="sample"), config)


def test_few_dialogues_promote_nobody() -> None:
    worst, best = _pairs(0.0, 7 * 3), _pairs(1.0, 7 * 3)
    decision = gate.decide(rows(worst), rows(best), CONFIG)
    assert not decision.promoted
    assert "too few to tell: the gate needs 8" in decision.reason
    assert gate.decide(rows(worst), rows(best), configuration.load(None, ["gate.min_gain=-1"])).promoted  # an open gate
    assert gate.decide(rows(worst), rows(best), configuration.load(None, ["gate.min_dialogues=7"])).promoted


def test_the_permutation_test_is_exact_where_all_permutations_are_few() -> None:
    """Of 2 ** D ways to swap the answers, as many give a gain as large as the p says."""
    rng = np.random.default_rng(3)
    old, new = rng.integers(0, 4, (2, 6, 3, 4))
    wanted = gate._weighted_f1(new.sum(0)) - gate._weighted_f1(old.sum(0))
    gains = []
    for swap in itertools.product((False, True), repeat=6):
        mask = np.array(swap)[:, None, None]
        gains.append(
            gate._weighted_f1(np.where(mask, old, new).sum(0)) - gate._weighted_f1(np.where(mask, new, old).sum(0))
        )
    assert gate.permutation_p(old, new, 0) == pytest.approx(np.mean(np.array(gains) >= wanted - 1e-12))
    assert gate.permutation_p(old, old, 0) == 1


def test_a_fall_on_any_corpus_closes_the_gate() -> None:
    before = rows(_pairs(0.5)) + rows(_pairs(0.7), corpus="meld")
    after = rows(_pairs(0.8)) + rows(_pairs(0.6), corpus="meld")
    decision = gate.decide(before, after, CONFIG)
    assert not decision.promoted
    assert "meld fell" in decision.reason
    assert gate.decide(before, after, configuration.load(None, ["gate.max_drop=0.5"])).promoted


def test_the_first_policy_needs_no_gate_and_different_turns_cannot_be_compared() -> None:
    assert gate.decide([], rows(_pairs(0.1)), CONFIG).promoted
    with pytest.raises(UserError, match="different turns"):
        gate.decide(rows(_pairs(0.5, 60)), rows(_pairs(0.5, 66)), CONFIG)


def test_the_tfidf_judge_reads_plain_emotions(dialogues: list[Dialogue]) -> None:
    judge = judges_for("tfidf", [d for d in dialogues if d.split == "train"], 1)["sample"]
    assert isinstance(judge, TfidfJudge)
    assert judge.label([Utterance(speaker="A", text="I'm so happy, this is wonderful!")]) == "joy"
    held_out = [u for d in dialogues if d.split == "test" for u in d.turns if u.gold]
    right = np.mean([judge.label([u]) == (u.gold or ("",))[0] for u in held_out])
    assert right > 0.5
    with pytest.raises(UserError, match="fewer than two labels"):
        TfidfJudge([], 1)


def test_any_text_classifier_with_emotion_names_can_judge(tiny: Path, tmp_path: Path) -> None:
    from transformers import Qwen3Config, Qwen3ForSequenceClassification

    from selfemo.policy.weights import load_tokenizer

    def classifier(names: list[str]) -> str:
        directory = tmp_path / "-".join(names)
        base = Qwen3Config.from_pretrained(tiny)
        base.num_labels, base.id2label = len(names), dict(enumerate(names))
        Qwen3ForSequenceClassification(base).save_pretrained(directory)
        load_tokenizer(str(tiny)).save_pretrained(directory)
        return str(directory)

    judge = ClassifierJudge(classifier(["Happy", "Angry"]), MELD)
    assert judge.label([Utterance(speaker="A", text="Hello")]) in ("joy", "anger")
    with pytest.raises(UserError, match="none of meld's"):
        ClassifierJudge(classifier(["LABEL_0", "LABEL_1"]), MELD)


def test_expression_consistency_counts_what_is_read_back(dialogues: list[Dialogue], tiny: Path) -> None:
    from selfemo.method.evaluation import consistency, prefixes
    from selfemo.method.evaluation import reply as replies_of
    from selfemo.method.prompts import Prompter
    from selfemo.method.selfplay import Player
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
        player = Player(Scripted(prompter, reading=reading, replies=(reply,)), prompter, "p")  # type: ignore[arg-type]
        cut = prefixes(held_out, settings)
        return consistency(replies_of(player, cut, {"sample": Always(judge)}, settings))  # type: ignore[dict-item]

    read = score(" joy, surprise\nReply: What a day!", " joy", "surprise")
    assert (read["own"], read["judge"], read["answered"], read["replies"]) == (1, 1, 1, 5)
    misread = score(" joy\nReply: What a day!", " anger, joy", "fear")
    assert (misread["own"], misread["judge"], misread["answered"]) == (0, 0, 1)
    silent = score("nonsense", " joy", "joy")
    assert (silent["own"], silent["judge"], silent["answered"]) == (0, 0, 0)
    assert consistency(replies_of(Player(None, prompter, "p"), [], {}, settings)) == {}  # type: ignore[arg-type]
