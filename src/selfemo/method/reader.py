"""A reader of emotions outside the loop: it is asked what replies express, is not trained, and nothing learns from it.

Settings, records and figures have it as ``judge``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from selfemo.config.anchors import JUDGES
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.labels import LabelSpace, Spaces
from selfemo.data.scripts import terms
from selfemo.errors import UserError
from selfemo.method.words import bag_of_words, fitted

TFIDF, EMBEDDING, CHARACTERS = "tfidf", "embedding", "characters"
ENGLISH = {"the", "and", "you", "that", "what", "it", "of", "with", "this", "have", "your", "my", "they", "would"}
"""Words that English conversations are full of (0.19 of MELD's, 0.20 of the sample corpus's), and no other language."""
LEAST = 0.06
"""Share of them from which on turns are taken to be English."""

log = logging.getLogger(__name__)


class Reader(Protocol):
    """Names the emotion of the last turn of a history."""

    def label(self, history: Sequence[Utterance]) -> str | None:
        """The label, or None if the reader's answer is not one of the corpus's."""
        ...


def sentence_embedding() -> Any:
    """WordLlama's sentence embedding, whose weights are part of its package: 256 numbers a turn."""
    import wordllama
    from sklearn.preprocessing import FunctionTransformer

    # Without the directory it would look for its tokenizer on the hub, though it is part of the package as well.
    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    return FunctionTransformer(lambda texts: np.nan_to_num(model.embed(list(texts), norm=True)))  # a text of no words


def _characters() -> Any:
    """TF-IDF of up to four characters in a row: it asks nothing of a language, not even where its words end."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(analyzer="char", ngram_range=(1, 4), sublinear_tf=True)


def english(dialogues: Sequence[Dialogue]) -> bool:
    """Whether turns are in English, as far as function words tell."""
    said = [word for d in dialogues for turn in d.turns for word in terms(turn.text.lower())]
    return not said or sum(word in ENGLISH for word in said) >= LEAST * len(said)


def doubts(name: str, training: Sequence[Dialogue]) -> list[str]:
    """What speaks against a judge, a line a corpus: the embedding is of English.

    Args:
        name: Of the judge.
        training: What it would be fitted on.
    """
    corpora = dict.fromkeys(d.corpus for d in training) if name == EMBEDDING else {}
    return [
        f"evaluation.judge: embedding is of English, which {corpus} seems not to be: what it says of replies means "
        "little; set it to characters, or to a text classifier of that language"
        for corpus in corpora
        if not english([d for d in training if d.corpus == corpus])
    ]


class ProbeReader:
    """Logistic regression on the last turn's words, characters or sentence embedding, fitted on gold.

    Args:
        name: ``embedding``, ``tfidf`` or ``characters``.
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
        features = {TFIDF: bag_of_words, EMBEDDING: sentence_embedding, CHARACTERS: _characters}[name]()
        # Balanced, words tell rare labels better; an embedding, of few numbers, would say them too often.
        self._model = fitted(features, dialogues, seed, None if name == EMBEDDING else "balanced")

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


def readers_for(name: str, training: Sequence[Dialogue], spaces: Spaces, seed: int) -> dict[str, Reader]:
    """A reader for each corpus of the training dialogues.

    Args:
        name: ``embedding``, ``tfidf``, ``characters``, or a classifier by name.
        training: Dialogues with gold labels.
        spaces: Their labels.
        seed: For fitting.
    """
    corpora = dict.fromkeys(d.corpus for d in training)
    if name in JUDGES:
        for doubt in doubts(name, training):
            log.warning(doubt)
        return {c: ProbeReader(name, [d for d in training if d.corpus == c], seed) for c in corpora}
    return {c: ClassifierReader(name, spaces[c]) for c in corpora}
