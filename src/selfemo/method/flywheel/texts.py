"""What can be said of a reply from its text alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from selfemo.method.flywheel.reasons import Reason

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


def words_of(text: str) -> list[str]:
    """Lower-case words: what length, repetition and duplicates are measured in."""
    return _WORD.findall(text.lower())


def normalised(text: str) -> str:
    """Its words alone; where it has none ("😀", "..."), the text itself, so that such texts are not all alike."""
    return " ".join(words_of(text) or text.split())


def text_reason(reply: str, max_words: int) -> Reason:
    """What the text of a reply alone disqualifies it for: nothing said, too long, or degenerate.

    Degenerate is: no letters, one word filling half of eight or more words, or a repeated word 4-gram.
    """
    words = words_of(reply)
    if not reply.strip():
        return Reason.EMPTY
    if len(words) > max_words:
        return Reason.TOO_LONG
    letters = sum(c.isalpha() or c.isspace() for c in reply)
    grams = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
    repeats = any(n > 1 for n in grams.values())
    stuck = len(words) >= 8 and max(Counter(words).values()) > len(words) / 2
    if not words or letters < 0.5 * len(reply) or repeats or stuck or re.search(r"(.)\1{5,}", reply):
        return Reason.DEGENERATE_TEXT
    return Reason.KEPT


def shingles(text: str, size: int = 3) -> set[str]:
    """Word shingles of a text; a shorter text is one shingle."""
    words = words_of(text) or [normalised(text)]
    return {" ".join(words[i : i + size]) for i in range(max(1, len(words) - size + 1))}


def distinct_n(texts: Iterable[str], n: int) -> float:
    """Share of distinct word n-grams over all texts: 1 is all different, towards 0 is collapse."""
    grams: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        words = words_of(text)
        grams.update(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    total = sum(grams.values())
    return len(grams) / total if total else 0.0
