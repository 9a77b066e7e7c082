"""One pattern that finds the spellings of a label space in a text of any script (defined here).

Three rules: the longest spelling that fits wins, so that "joyful" is not read as "joy"; a spelling is no part of a
longer word, wherever its script shows where words end; and a letter is not cut from its marks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from selfemo.data.scripts import WITHIN_WORD


def pattern(spellings: Iterable[str]) -> Any:
    """Matches any of the spellings, which are of :func:`selfemo.data.scripts.fold`; group 1 is the one that was found.

    A text is folded but for its line ends before it is searched. Spellings in Latin letters may be in the plural.
    """
    import regex

    longest_first = sorted(spellings, key=lambda s: (-len(s), s))
    return regex.compile("(?V1)(?:" + "|".join(map(_bounded, longest_first)) + ")")


def _bounded(spelling: str) -> str:
    """A spelling with what must not stand beside it.

    Scripts without spaces have no bounds to look for: a label stands in the middle of a sentence there. Korean has
    spaces, but endings are written onto a word, so that only its beginning is looked for.
    """
    import regex

    letter = WITHIN_WORD
    body = r"\s+".join(map(regex.escape, spelling.split(" ")))
    first, last = spelling[0], spelling[-1]
    before = rf"(?<!{letter})" if regex.match(rf"(?V1){letter}", first) else ""
    after = r"(?!\p{M})"
    if regex.match(r"(?V1)[\p{L}&&\p{Latin}]", last):
        after = rf"(?:e?s)?(?!{letter})"
    elif regex.match(rf"(?V1)[{letter[1:-1]}--\p{{Hangul}}]", last):
        after = rf"(?!{letter})"
    return rf"{before}(?P<found>{body}){after}"
