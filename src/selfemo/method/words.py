"""A bag of words: a reader of another kind than the policy, as one more voice (method.md, Both roles)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from selfemo.data.dialogue import Dialogue, gold_counts
from selfemo.data.labels import LabelSpace
from selfemo.data.scripts import terms
from selfemo.method.rewards import Floats


def fitted(features: Any, dialogues: Sequence[Dialogue], seed: int, class_weight: str | None) -> Any:
    """Logistic regression on features of the turns that have gold; its classes are labels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    turns = [(u.text, u.gold[0]) for d in dialogues for u in d.turns if u.gold]
    model = make_pipeline(
        features, LogisticRegression(C=4.0, class_weight=class_weight, max_iter=1000, random_state=seed)
    )
    return model.fit([t for t, _ in turns], [label for _, label in turns])


def bag_of_words() -> Any:
    """TF-IDF of words, and of pairs of words; question and exclamation marks are words.

    Where a script has no spaces, of characters and pairs of them (:mod:`selfemo.data.scripts`).
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, tokenizer=terms, token_pattern=None)


class WordModel:
    """A reader of another kind than the policy, as one more voice (co-training, Blum and Mitchell 1998).

    It knows the words of the last turn alone, and the same labelled turns as the policy; it errs in others.

    Args:
        dialogues: What the warm-up learns from.
        seed: Of the solver.
    """

    def __init__(self, dialogues: Sequence[Dialogue], seed: int) -> None:
        self._model = fitted(bag_of_words(), dialogues, seed, None)
        self._turns = sum(1 for d in dialogues for u in d.turns if u.gold)

    def read(self, turn: str, space: LabelSpace) -> Floats:
        """How likely each of the allowed answers is for a turn, ``(A,)``.

        As if each answer had occurred once more among the labelled turns: of what it has not met it knows little, not
        that there is none.
        """
        chances = dict(zip(self._model.classes_, self._model.predict_proba([turn])[0], strict=True))
        found_A = np.array([chances.get(a[0], 0.0) if len(a) == 1 else 0.0 for a in space.answers])
        return np.asarray((self._turns * found_A + 1) / (self._turns + len(found_A)))


def words_of(labelled: Sequence[Dialogue], seed: int) -> dict[str, WordModel]:
    """The bag of words of each corpus whose labelled dialogues have words, and two labels at least to tell apart.

    Args:
        labelled: What the warm-up learns from.
        seed: Of the solver.
    """
    words = bag_of_words().build_analyzer()
    found = {}
    for corpus, counts in gold_counts(labelled).items():
        mine = [d for d in labelled if d.corpus == corpus]
        if len(counts) > 1 and any(words(u.text) for d in mine for u in d.turns if u.gold):
            found[corpus] = WordModel(mine, seed)
    return found
