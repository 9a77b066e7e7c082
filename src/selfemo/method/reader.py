"""Readers of another kind than the policy.

One is outside the loop: it is asked what replies express, and nothing learns from it; settings, records and figures
have it as ``judge``. One is a voice of the consensus, :class:`Words`. They are never the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from selfemo.data.corpora.table import SPACES
from selfemo.data.dialogue import Dialogue, Utterance, gold_counts
from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError
from selfemo.method.rewards import Floats

TFIDF, EMBEDDING = "tfidf", "embedding"
PROBES = (TFIDF, EMBEDDING)
"""What is fitted here; any other judge is a classifier by name."""


class Reader(Protocol):
    """Names the emotion of the last turn of a history."""

    def label(self, history: Sequence[Utterance]) -> str | None:
        """The label, or None if the reader's answer is not one of the corpus's."""
        ...


def _fitted(features: Any, dialogues: Sequence[Dialogue], seed: int, class_weight: str | None) -> Any:
    """Logistic regression on features of the turns that have gold; its classes are labels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    turns = [(u.text, u.gold[0]) for d in dialogues for u in d.turns if u.gold]
    model = make_pipeline(
        features, LogisticRegression(C=4.0, class_weight=class_weight, max_iter=1000, random_state=seed)
    )
    return model.fit([t for t, _ in turns], [label for _, label in turns])


def _bag_of_words() -> Any:
    """TF-IDF of words, and of pairs of words; question and exclamation marks are words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b|[?!]")


def _embedding() -> Any:
    """WordLlama's sentence embedding, whose weights are part of its package: 256 numbers a turn."""
    import wordllama
    from sklearn.preprocessing import FunctionTransformer

    # Without the directory it would look for its tokenizer on the hub, though it is part of the package as well.
    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    return FunctionTransformer(lambda texts: np.nan_to_num(model.embed(list(texts), norm=True)))  # a text of no words


class ProbeReader:
    """Logistic regression on the last turn's words or on its sentence embedding, fitted on gold.

    Args:
        name: ``embedding`` or ``tfidf``.
        dialogues: Training dialogues with gold labels; never held-out ones.
        seed: Of the solver.

    Raises:
        UserError: If the gold has fewer than two labels.
    """

    def __init__(self, name: str, dialogues: Sequence[Dialogue], seed: int) -> None:
        if len({u.gold[0] for d in dialogues for u in d.turns if u.gold}) < 2:
            raise UserError(
                "fewer than two labels to fit a reader on", where="evaluation.judge", fix="name a classifier"
            )
        features = _bag_of_words() if name == TFIDF else _embedding()
        # Balanced, words tell rare labels better; an embedding, of few numbers, would say them too often.
        self._model = _fitted(features, dialogues, seed, "balanced" if name == TFIDF else None)

    def label(self, history: Sequence[Utterance]) -> str | None:
        """See :meth:`Reader.label`."""
        return str(self._model.predict([history[-1].text])[0])


class Words:
    """A reader of another kind than the policy, as one more voice (co-training, Blum and Mitchell 1998).

    It knows the words of the last turn alone, and the same labelled turns as the policy; it errs in others.

    Args:
        dialogues: What the warm-up learns from.
        seed: Of the solver.
    """

    def __init__(self, dialogues: Sequence[Dialogue], seed: int) -> None:
        self._model = _fitted(_bag_of_words(), dialogues, seed, None)
        self._turns = sum(1 for d in dialogues for u in d.turns if u.gold)

    def read(self, turn: str, space: LabelSpace) -> Floats:
        """How likely each of the allowed answers is for a turn, ``(A,)``.

        As if each answer had occurred once more among the labelled turns: of what it has not met it knows little, not
        that there is none.
        """
        chances = dict(zip(self._model.classes_, self._model.predict_proba([turn])[0], strict=True))
        found_A = np.array([chances.get(a[0], 0.0) if len(a) == 1 else 0.0 for a in space.answers])
        return np.asarray((self._turns * found_A + 1) / (self._turns + len(found_A)))


class ClassifierReader:
    """Any Hugging Face text classifier whose label names are words of the corpus's space.

    Args:
        name: Hub id or directory.
        space: The labels to map to.

    Raises:
        UserError: If none of the classifier's labels is one of the space's.
    """

    def __init__(self, name: str, space: LabelSpace) -> None:
        from transformers import pipeline

        self._pipe = pipeline(
            "text-classification", model=name, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
        self._space = space
        known = self._pipe.model.config.id2label.values()
        if not any(space.lookup(str(label)) for label in known):
            raise UserError(
                f"its labels {sorted(map(str, known))} are none of {space.name}'s",
                where=f"evaluation.judge: {name}",
                fix="use a classifier whose labels are emotions of this corpus",
            )

    def label(self, history: Sequence[Utterance]) -> str | None:
        """See :meth:`Reader.label`."""
        return self._space.lookup(str(self._pipe(history[-1].text, truncation=True)[0]["label"]))


def words_of(labelled: Sequence[Dialogue], seed: int) -> dict[str, Words]:
    """The bag of words of each corpus whose labelled dialogues have words, and two labels at least to tell apart.

    Args:
        labelled: What the warm-up learns from.
        seed: Of the solver.
    """
    words = _bag_of_words().build_analyzer()
    found = {}
    for corpus, counts in gold_counts(labelled).items():
        mine = [d for d in labelled if d.corpus == corpus]
        if len(counts) > 1 and any(words(u.text) for d in mine for u in d.turns if u.gold):
            found[corpus] = Words(mine, seed)
    return found


def readers_for(name: str, training: Sequence[Dialogue], seed: int) -> dict[str, Reader]:
    """A reader for each corpus of the training dialogues.

    Args:
        name: ``embedding``, ``tfidf``, or a classifier by name.
        training: Dialogues with gold labels.
        seed: For fitting.
    """
    corpora = dict.fromkeys(d.corpus for d in training)
    if name in PROBES:
        return {c: ProbeReader(name, [d for d in training if d.corpus == c], seed) for c in corpora}
    return {c: ClassifierReader(name, SPACES[c]) for c in corpora}
