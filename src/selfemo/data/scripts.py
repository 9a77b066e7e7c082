"""Text in any script: its words, how long it is, and the one form in which spellings are compared. Defined here.

Many scripts put no spaces between words: Chinese, Japanese, Thai, Khmer and others. Where a word ends in them takes a
dictionary for each language, and each dictionary cuts another way. What is measured here (repetition, near-duplicates,
a bag of words) does not need words, so their characters stand in: one character as people see it (a grapheme cluster,
``\\X``) is one item, and pairs and triples of items do what pairs and triples of words do elsewhere. That is what is
usually done for Chinese: distinct-n and BLEU are of characters, and pairs of characters classify as well as words do
(Zhang and LeCun 2017). The `regex` package knows scripts, clusters and marks; Python's own `re` takes the vowel signs
of Hindi, Thai or pointed Arabic for the end of a word.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any

from selfemo.data.text import nfc

IDEOGRAPHIC = r"\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Bopomofo}\p{scx=Yi}"
"""Scripts without spaces in which a word has about two characters."""
SYLLABIC = (
    r"\p{scx=Thai}\p{scx=Lao}\p{scx=Khmer}\p{scx=Myanmar}\p{scx=Tibetan}\p{scx=Tai_Le}\p{scx=New_Tai_Lue}"
    r"\p{scx=Tai_Tham}\p{scx=Javanese}\p{scx=Balinese}"
)
"""Scripts without spaces in which it has about four."""
UNSPACED = IDEOGRAPHIC + SYLLABIC
WITHIN_WORD = rf"[\w--[{UNSPACED}]]"
"""For a pattern of version 1: a letter of a script with spaces, or a digit. Next to one, no word begins or ends."""

_ASCII_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_ASCII_TERM = re.compile(r"\b\w+\b|[?!]")
_PLAIN = re.compile(r"[^\W_]+")


@cache
def _pattern(kind: str) -> Any:
    """A compiled pattern; `regex` is imported when a text first needs it: most are ASCII."""
    import regex

    one = rf"(?=[[{UNSPACED}]&&\w])\X"
    run = rf"[\w--[{UNSPACED}]--\p{{Pc}}]+"
    patterns = {
        "word": rf"{one}|{run}(?:['’]{run})?",
        "term": rf"{one}|{WITHIN_WORD}+|[?!？！؟⁇⁈⁉‽՞।॥]",
        "plain": rf"{one}|{run}",
        "ideographic": rf"(?=[[{IDEOGRAPHIC}]&&\w])\X",
        "syllabic": rf"(?=[[{SYLLABIC}]&&\w])\X",
        "letters": r"[\p{L}\p{M}\p{Join_Control}\s]",
    }
    return regex.compile(f"(?V1){patterns[kind]}")


def words(text: str) -> list[str]:
    """Words in lower case; where a script has no spaces, its characters: what repetition and duplicates count."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return list(_pattern("word").findall(nfc(text).lower()))


def terms(text: str) -> list[str]:
    """What a bag of words counts: words, characters where a script has no spaces, question and exclamation marks."""
    return _ASCII_TERM.findall(text) if text.isascii() else list(_pattern("term").findall(nfc(text)))


def copied(text: str) -> list[str]:
    """What two copies of an utterance share: words in lower case, whatever stands between them."""
    bare = text.lower().replace("'", "")
    return _PLAIN.findall(bare) if bare.isascii() else list(_pattern("plain").findall(nfc(bare)))


def unspaced(text: str) -> int:
    """How many characters of a text stand in for words."""
    if text.isascii():
        return 0
    return len(_pattern("ideographic").findall(text)) + len(_pattern("syllabic").findall(text))


def length(text: str, said: list[str] | None = None) -> int:
    """About how many words a text has: two characters of Chinese or Japanese count as one, four of Thai or Khmer.

    Args:
        text: To be measured.
        said: Its :func:`words`, if the caller has them.
    """
    said = words(text) if said is None else said
    if text.isascii():
        return len(said)
    han, thai = len(_pattern("ideographic").findall(text)), len(_pattern("syllabic").findall(text))
    return len(said) - han - thai + -(-han // 2) + -(-thai // 4)


def letters(text: str) -> int:
    """Letters with their marks, and spaces: what a text that says something is mostly made of."""
    if text.isascii():
        return sum(c.isalpha() or c.isspace() for c in text)
    return len(_pattern("letters").findall(text))


def fold(text: str) -> str:
    """The form in which two spellings are equal: Unicode's NFKC_Casefold, and spaces that are all alike.

    Width, ligatures and case go, and what cannot be seen (joiners, direction marks). Dotted and dotless i are one
    letter, since capitals of one language are those of the other.
    """
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", nfc(text)).casefold()
    folded = unicodedata.normalize("NFKC", folded).replace("i\u0307", "i").replace("ı", "i")
    seen = (c for c in folded if unicodedata.category(c) != "Cf" and not "\ufe00" <= c <= "\ufe0f")
    return " ".join("".join(seen).split())
