"""A reader of emotions outside the loop: it is asked what replies express, is not trained, and nothing learns from it.

Settings, records and figures have it as ``judge``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from selfemo.data.corpora.table import SPACES
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError


class Reader(Protocol):
    """Names the emotion of the last turn of a history."""

    def label(self, history: Sequence[Utterance]) -> str | None:
        """The label, or None if the reader's answer is not one of the corpus's."""
        ...


class TfidfReader:
    """Logistic regression on TF-IDF words of the last turn, fitted on gold.

    Args:
        dialogues: Training dialogues with gold labels; never held-out ones.
        seed: Of the solver.

    Raises:
        UserError: If the gold has fewer than two labels.
    """

    def __init__(self, dialogues: Sequence[Dialogue], seed: int) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        turns = [(u.text, u.gold[0]) for d in dialogues for u in d.turns if u.gold]
        if len({label for _, label in turns}) < 2:
            raise UserError(
                "fewer than two labels to fit a reader on", where="evaluation.judge", fix="name a classifier"
            )
        self._model: Any = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b|[?!]"),
            LogisticRegression(C=4.0, class_weight="balanced", max_iter=1000, random_state=seed),
        )
        self._model.fit([t for t, _ in turns], [label for _, label in turns])

    def label(self, history: Sequence[Utterance]) -> str | None:
        """See :meth:`Reader.label`."""
        return str(self._model.predict([history[-1].text])[0])


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


def readers_for(name: str, training: Sequence[Dialogue], seed: int) -> dict[str, Reader]:
    """A reader for each corpus of the training dialogues.

    Args:
        name: ``tfidf``, or a classifier by name.
        training: Dialogues with gold labels.
        seed: For fitting.
    """
    corpora = dict.fromkeys(d.corpus for d in training)
    if name == "tfidf":
        return {c: TfidfReader([d for d in training if d.corpus == c], seed) for c in corpora}
    return {c: ClassifierReader(name, SPACES[c]) for c in corpora}
