"""What can be said of a reply from its text alone, in any script (:mod:`selfemo.data.scripts`).

Words, where a script separates them by spaces; where it does not, characters. So distinct-2 and shingles are of words
or of characters, and figures of two languages are not compared.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from selfemo.data.labels import LabelSpace
from selfemo.data.scripts import fold, length, letters, unspaced, words
from selfemo.method.flywheel.reasons import Reason

REPEATED = 4
"""Words in a row that no reply says twice; of characters, twice as many."""


def words_alone(text: str) -> str:
    """Its words alone; where it has none ("😀", "..."), the text itself, so that such texts are not all alike."""
    return " ".join(words(text) or text.split())


def phrase(reply: str) -> str:
    """Its words in one spelling: two replies with the same phrase differ in punctuation, case or width alone."""
    return words_alone(fold(reply).replace("’", "'"))


def text_reason(reply: str, max_words: int, space: LabelSpace) -> Reason:
    """What the text of a reply alone disqualifies it for: nothing said, too long, or degenerate.

    Degenerate is: no letters, one word filling half of eight or more words, a repeated word 4-gram (of characters
    that stand in for words, an 8-gram), or nothing but names of emotions, which expresses none ("Neutral.").

    Args:
        reply: As it was said.
        max_words: Most that it may have.
        space: Names of emotions.
    """
    if not reply.strip():
        return Reason.EMPTY
    said = words(reply)
    if length(reply, said) > max_words:
        return Reason.TOO_LONG
    size = 2 * REPEATED if unspaced(reply) > len(said) / 2 else REPEATED
    repeats = any(n > 1 for n in _grams(said, size).values())
    stuck = len(said) >= 8 and max(Counter(said).values()) > len(said) / 2
    if not words(space.own_pattern.sub(" ", fold(reply))):
        return Reason.DEGENERATE_TEXT
    if not said or letters(reply) < 0.5 * len(reply) or repeats or stuck or re.search(r"(.)\1{5,}", reply):
        return Reason.DEGENERATE_TEXT
    return Reason.KEPT


def _grams(said: list[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(said[i:] for i in range(size)), strict=False))


def shingles(text: str, size: int = 3) -> set[str]:
    """Word shingles of a text; a shorter text is one shingle."""
    said = words(text) or [words_alone(text)]
    return {" ".join(said[i : i + size]) for i in range(max(1, len(said) - size + 1))}


def most_frequent(texts: Sequence[str]) -> float:
    """Share of the phrase that is said most often: 1 is one phrase said to everything.

    A policy that says "No." to all has no word n-grams at all, and :func:`distinct_n` sees the others alone. Does not
    depend on how many texts there are, as the share of those that differ does.
    """
    said = Counter(map(phrase, texts))
    return max(said.values()) / len(texts) if said else 0.0


def distinct_n(texts: Iterable[str], n: int) -> float:
    """Share of distinct word n-grams over all texts: 1 is all different, towards 0 is collapse."""
    grams: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        grams.update(_grams(words(text), n))
    total = sum(grams.values())
    return len(grams) / total if total else 0.0
