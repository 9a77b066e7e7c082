"""The sample corpus is large, varied, and split by dialogue."""

from __future__ import annotations

from collections import Counter

from selfemo.data.corpora import leakage
from selfemo.data.dialogue import Dialogue


def test_the_sample_corpus_is_large_and_varied_enough(dialogues: list[Dialogue]) -> None:
    turns = [u for d in dialogues for u in d.turns]
    assert len(dialogues) >= 120
    assert len(turns) >= 900
    shares = Counter(u.gold[0] for u in turns if u.gold)
    assert set(shares) == {"neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear"}
    assert max(shares.values()) / len(turns) < 0.65
    assert min(shares.values()) >= 20
    assert sum(len(u.gold or ()) > 1 for u in turns) >= 10


def test_the_sample_corpus_is_split_by_dialogue_without_leakage(dialogues: list[Dialogue]) -> None:
    assert {d.split for d in dialogues} == {"train", "dev", "test"}
    assert len({d.id for d in dialogues}) == len(dialogues)
    held_out = [d for d in dialogues if d.split != "train"]
    assert leakage.remove([d for d in dialogues if d.split == "train"], held_out)[1] == 0
